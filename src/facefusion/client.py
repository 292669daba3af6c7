"""A client of the service: upload, ask, follow, fetch. Needs nothing but httpx.

from facefusion.client import Client

with Client("http://127.0.0.1:5000") as service:
    source, target = service.upload("face.jpg"), service.upload("film.mp4")
    job = service.create_job({"target": target.id, "sources": [source.id]})
    done = service.wait(job.id, on_progress=lambda progress: print(progress.stage, progress.done, progress.total))
    service.download(done.output, "out.mp4")
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from facefusion.errors import (
    AccessRefused,
    Conflict,
    FaceFusionError,
    KindRefused,
    LimitReached,
    NotThere,
    RequestRefused,
    ScopeMissing,
    ServiceError,
    ServiceUnreachable,
    TooLarge,
)

PIECE_BYTES = 8 << 20
"""Files are sent in pieces of this size, each of which is sent again alone where the connection breaks."""
TRIES = 6
"""How often a request is sent that does no harm when it comes twice."""
_KINDS: dict[int, type[ServiceError]] = {
    400: RequestRefused, 401: AccessRefused, 403: ScopeMissing, 404: NotThere, 409: Conflict, 413: TooLarge,
    415: KindRefused, 429: LimitReached,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that the service has.

    Attributes
    ----------
    id, kind, role, name, media_type, bytes, sha256, width, height, duration_s, frame_rate, has_sound
        As docs/rest.md says.
    """

    id: str
    kind: str
    role: str
    name: str
    media_type: str
    bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    frame_rate: float | None = None
    has_sound: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Asset:
        """From what the service says; what a newer one says besides is passed over."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage of a job is.

    Attributes
    ----------
    stage, done, total
        Which, and how many frames of how many.
    frames_per_s, time_left_s
        How fast, and how long still; None where nobody knows.
    """

    stage: str
    done: int
    total: int
    frames_per_s: float = 0.0
    time_left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes
    ----------
    id, status, label, share
        Which, how it is, what its owner calls it, and how much of its work is done, 0 to 1.
    output
        What it made, when it is done.
    error
        ``code``, ``message`` and ``hint``, where something is wrong.
    notes, models, has_report
        What is not as one would expect, what ran, and whether there are figures.
    policy
        What the policy of the site said, as docs/rest.md has it; None where that is not known yet.
    """

    id: str
    status: str
    label: str = ""
    share: float = 0.0
    output: Asset | None = None
    error: dict[str, str] | None = None
    notes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    has_report: bool = False
    policy: dict[str, Any] | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_over(self) -> bool:
        """Whether nobody goes on with it unless told to."""
        return self.status in ("done", "failed", "cancelled")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Job:
        """From what the service says."""
        output = values.get("output")
        return cls(
            values["id"], values["status"], values.get("label", ""), values.get("progress", {}).get("share", 0.0),
            None if output is None else Asset.of(output), values.get("error"), tuple(values.get("notes", ())),
            tuple(values.get("models", ())), bool(values.get("has_report")), values.get("policy"), dict(values),
        )  # fmt: skip


OnProgress = Callable[[Progress], None]
OnBytes = Callable[[str, int, int], None]


def _ignore(*_: object) -> None:
    """Nobody listens."""


class Client:
    """A service, over the network.

    Parameters
    ----------
    url
        Where it is, such as ``http://127.0.0.1:5000``.
    key
        Of ``facefusion keys create``, or a token. On this machine the service may need none.
    timeout_s
        For an answer.
    transport
        Of httpx, for tests.
    has_flags
        Whether sentences call options as the command line does (``--faces``), and not as recipes do.

    Raises
    ------
    ServiceError
        From any call, with the code and hint of the service; `ServiceUnreachable` where it does not answer.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        has_flags: bool = False,
    ) -> None:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise RequestRefused(f"{url!r} is no URL: {error}.", "For example http://127.0.0.1:5000.") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise RequestRefused(f"{url!r} is no URL of a service.", "For example http://127.0.0.1:5000.")
        if not (key.isascii() and key.isprintable()):  # no header can carry it
            raise AccessRefused("This is no key of a service.", "Use one of 'facefusion keys create'.")
        self.url = str(parsed).rstrip("/")
        self._key = key
        headers = {"User-Agent": "facefusion-client", **({"Authorization": f"Bearer {key}"} if key else {})}
        headers |= {"Facefusion-Words": "flags"} if has_flags else {}
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout_s, transport=transport, follow_redirects=False
        )
        self._has_asked = bool(key)
        self._has_met = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    # Files

    def upload(self, path: str | os.PathLike[str], name: str = "", on_bytes: OnBytes = _ignore) -> Asset:
        """Send a file. A connection that breaks on the way costs the last piece and no more.

        Parameters
        ----------
        path
            The file.
        name
            How it is called; its own name where that is empty.
        on_bytes
            Called with its name, bytes sent and bytes in all.
        """
        file = Path(path)
        name = name or file.name
        try:
            with file.open("rb") as held:  # a folder, or what may not be read, is told before anything is sent
                size = os.fstat(held.fileno()).st_size
        except OSError as error:
            if file.is_dir():
                raise RequestRefused(f"{file} is a folder.", "Send its files one by one.") from error
            raise RequestRefused(f"{file} cannot be read: {error.strerror or error}.", "Check the path.") from error
        metadata = f"filename {base64.b64encode(name.encode()).decode()}"
        tus = {"Tus-Resumable": "1.0.0"}
        made = self._send(
            "POST", "/v1/uploads", headers={**tus, "Upload-Length": str(size), "Upload-Metadata": metadata}
        )
        place = made.headers["location"]
        asset_id, offset, failures = "", 0, 0
        with file.open("rb") as held:
            while not asset_id:
                held.seek(offset)
                piece = held.read(min(PIECE_BYTES, size - offset))
                headers = {**tus, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
                try:
                    answer = self._send("PATCH", place, content=piece, headers=headers, tries=1)
                    offset, failures = int(answer.headers["upload-offset"]), 0
                    asset_id = answer.headers.get("facefusion-asset", "")
                    on_bytes(name, offset, size)
                except (ServiceUnreachable, Conflict) as error:
                    failures += 1
                    if failures >= TRIES:
                        raise
                    time.sleep(min(0.3 * 2**failures, 10.0))
                    with suppress(ServiceUnreachable):
                        state = self._send("HEAD", place, headers=tus)
                        offset = int(state.headers["upload-offset"])
                        asset_id = state.headers.get("facefusion-asset", "")
                    if isinstance(error, Conflict) and offset > size:
                        raise
        return self.asset(asset_id)

    def asset(self, asset_id: str) -> Asset:
        """What is known of a file."""
        return Asset.of(self._send("GET", f"/v1/assets/{asset_id}/about").json())

    def assets(self, kind: str = "", role: str = "") -> Iterator[Asset]:
        """All files, the newest first."""
        for one in self._pages("/v1/assets", {"kind": kind, "role": role}):
            yield Asset.of(one)

    def delete_asset(self, asset_id: str) -> None:
        """Take a file away."""
        self._send("DELETE", f"/v1/assets/{asset_id}")

    def provenance(self, asset: Asset) -> dict[str, Any]:
        """What a file says of how it was made, and whether it was changed since."""
        return dict(self._send("GET", f"/v1/assets/{asset.id}/provenance").json())

    def manifest(self, asset: Asset) -> bytes | None:
        """The manifest that lies beside a file, or None where it is inside or there is none."""
        try:
            return self._send("GET", f"/v1/assets/{asset.id}/provenance/manifest").content
        except NotThere:
            return None

    def download(self, asset: Asset | None, path: str | os.PathLike[str], on_bytes: OnBytes = _ignore) -> Path:
        """Fetch a file, whole or not at all; a connection that breaks is taken up where it was.

        Parameters
        ----------
        asset
            Such as the output of a job that is done.
        path
            Where it goes.
        on_bytes
            Called with its name, bytes that came and bytes in all.
        """
        if asset is None:
            raise NotThere("There is no output.", "Wait until the job is done.")
        goal = Path(path)
        if goal.is_dir():
            raise RequestRefused(f"{goal} is a folder.", f"Name a file in it, such as {goal / asset.name}.")
        part = goal.with_name(f".facefusion-{os.getpid()}-{goal.name}"[:200])
        digest, failures, done = hashlib.sha256(), 0, 0
        try:
            with part.open("wb") as held:
                while done < asset.bytes:
                    try:
                        headers = {"Range": f"bytes={done}-"} if done else {}
                        with self._stream("GET", f"/v1/assets/{asset.id}", headers) as answer:
                            for piece in answer.iter_bytes(1 << 20):
                                held.write(piece)
                                digest.update(piece)
                                done += len(piece)
                                on_bytes(asset.name, done, asset.bytes)
                    except httpx.HTTPError as error:
                        self._check_passing(error)
                        failures += 1
                        if failures >= TRIES:
                            raise _unreachable(self.url, error) from error
                        time.sleep(min(0.3 * 2**failures, 10.0))
            if digest.hexdigest() != asset.sha256:
                raise ServiceUnreachable(f"{asset.name} arrived damaged.", "Fetch it again.")
            part.replace(goal)
        except OSError as error:
            raise RequestRefused(
                f"{goal} cannot be written: {error.strerror or error}.", "Check the folder."
            ) from error
        finally:
            part.unlink(missing_ok=True)
        return goal

    def faces(self, asset_id: str) -> list[dict[str, Any]]:
        """People in a target, when they have been found."""
        while True:
            answer = self._send("GET", f"/v1/assets/{asset_id}/faces")
            told = answer.json()
            if answer.status_code == 200:
                if told["state"] == "failed":
                    error = told["error"]
                    raise ServiceError(error["message"], error["hint"], code=error["code"])
                return list(told["people"])
            time.sleep(float(answer.headers.get("retry-after", 1)))

    # Jobs

    def create_job(
        self,
        recipe: Mapping[str, Any],
        output: Mapping[str, Any] | None = None,
        report: bool = False,
        label: str = "",
        webhook: Mapping[str, str] | None = None,
        idempotency_key: str = "",
    ) -> Job:
        """Ask for a job.

        Parameters
        ----------
        recipe
            ``target``, ``sources``, ``steps`` and options, as docs/rest.md says.
        output
            ``format`` and ``name``.
        report, label, webhook
            As there.
        idempotency_key
            The same key makes it once; one is made up where there is none, so that sending again does no harm.
        """
        body: dict[str, Any] = {"recipe": dict(recipe), "report": report, "label": label}
        body |= {"output": dict(output)} if output else {}
        body |= {"webhook": dict(webhook)} if webhook else {}
        headers = {"Idempotency-Key": idempotency_key or base64.b32encode(os.urandom(20)).decode()}
        return Job.of(self._send("POST", "/v1/jobs", json=body, headers=headers).json())

    def job(self, job_id: str) -> Job:
        """How a job is."""
        return Job.of(self._send("GET", f"/v1/jobs/{job_id}").json())

    def jobs(self, statuses: Sequence[str] = ()) -> Iterator[Job]:
        """All jobs, the newest first."""
        for one in self._pages("/v1/jobs", {"status": list(statuses)}):
            yield Job.of(one)

    def cancel(self, job_id: str) -> Job:
        """Stop a job."""
        return Job.of(self._send("POST", f"/v1/jobs/{job_id}/cancel").json())

    def retry(self, job_id: str) -> Job:
        """Have a job tried again that failed or was cancelled."""
        return Job.of(self._send("POST", f"/v1/jobs/{job_id}/retry", tries=1).json())

    def delete_job(self, job_id: str, *, inputs: bool = False) -> None:
        """Take a job away, with its output.

        Parameters
        ----------
        job_id
            Which.
        inputs
            With the uploads that it read and no other job does, and with what was made of them (needs `assets:write`).
        """
        self._send("DELETE", f"/v1/jobs/{job_id}", params={"inputs": "true"} if inputs else {})

    def report(self, job_id: str, kind: str = "json") -> bytes:
        """Figures of an output: ``json``, or ``html`` for the page."""
        return self._send("GET", f"/v1/jobs/{job_id}/report", params={"format": kind}).content

    def preview(self, recipe: Mapping[str, Any], at_s: float = 0.0, show: str = "after", size: int = 1280) -> bytes:
        """One frame as it will be, as WebP."""
        body = {"recipe": dict(recipe), "at_s": at_s, "show": show, "size": size}
        return self._send("POST", "/v1/previews", json=body).content

    def events(self, job_id: str, after: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens to a job until it is over: status, progress and history, with values. Goes on when cut off."""
        failures = 0
        while True:
            try:
                headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {})}
                with self._stream("GET", f"/v1/jobs/{job_id}/events", headers, httpx.Timeout(60.0)) as answer:
                    for kind, data, number in _read_events(answer.iter_lines()):
                        failures = 0
                        after = int(number) if number.isdigit() else after
                        yield kind, data
                        if kind == "status" and data["status"] in ("done", "failed", "cancelled", "deleted"):
                            return
            except httpx.HTTPError as error:
                self._check_passing(error)
                failures += 1
                if failures >= TRIES:
                    raise _unreachable(self.url, error) from error
            time.sleep(min(0.3 * 2**failures, 10.0))

    def wait(self, job_id: str, on_progress: OnProgress = _ignore) -> Job:
        """The job when it is over.

        Parameters
        ----------
        job_id
            Which.
        on_progress
            Called now and then.
        """
        for kind, values in self.events(job_id):
            if kind == "progress":
                on_progress(
                    Progress(
                        values["stage"], values["done"], values["total"], values["frames_per_s"], values["time_left_s"]
                    )
                )
        return self.job(job_id)

    def capabilities(self) -> dict[str, Any]:
        """What can be asked for."""
        return dict(self._send("GET", "/v1/capabilities").json())

    # Requests

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        asked = {name: value for name, value in params.items() if value}
        cursor = ""
        while True:
            page = self._send(
                "GET", path, params={**asked, "limit": 100, **({"cursor": cursor} if cursor else {})}
            ).json()
            yield from page["items"]
            cursor = page["cursor"]
            if not cursor:
                return

    def _admit(self) -> None:
        """Without a key: ask a service on this machine for the session that its page has."""
        if self._has_asked:
            return
        self._has_asked = True
        try:
            answer = self._http.get("/")
        except httpx.HTTPError as error:
            self._check_passing(error)
        else:
            self._has_met = True
            cookie = answer.cookies.get("facefusion_session") or ""
            self._http.cookies.clear()
            if cookie.startswith("local."):
                self._http.headers["Authorization"] = f"Bearer {cookie}"

    def _check_passing(self, error: httpx.HTTPError) -> None:
        """Refuse to try again where nobody was ever met: no connection is a wrong address then, and does not pass.

        Raises
        ------
        ServiceUnreachable
        """
        if not self._has_met and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            raise _unreachable(self.url, error) from error

    def _send(self, method: str, path: str, tries: int = TRIES, **rest: Any) -> httpx.Response:
        self._admit()
        failures = 0
        while True:
            try:
                answer = self._http.request(method, path, **rest)
                self._has_met = True
                if answer.status_code < 400:
                    return answer
                problem = _problem(answer)
            except httpx.HTTPError as error:
                self._check_passing(error)
                problem = _unreachable(self.url, error)
            failures += 1
            may_pass = isinstance(problem, ServiceUnreachable) or problem.status in (429, 503)
            if not may_pass or failures >= tries:
                raise problem
            time.sleep(min(max(0.3 * 2**failures, problem.retry_after_s), 60.0))

    def _stream(self, method: str, path: str, headers: Mapping[str, str], timeout: Any = None) -> _Streamed:
        self._admit()
        options = {} if timeout is None else {"timeout": timeout}
        return _Streamed(self._http.stream(method, path, headers=dict(headers), **options), self._meet)

    def _meet(self) -> None:
        self._has_met = True


class _Streamed:
    def __init__(self, held: Any, on_met: Callable[[], None]) -> None:
        self._held, self._on_met = held, on_met

    def __enter__(self) -> httpx.Response:
        answer: httpx.Response = self._held.__enter__()
        self._on_met()
        if answer.status_code >= 400:
            try:
                answer.read()
                raise _problem(answer)
            finally:
                self._held.__exit__(None, None, None)
        return answer

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)


def _read_events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Kind, values and number of every server-sent event."""
    kind, number = "message", ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                with suppress(ValueError):
                    yield kind, json.loads("\n".join(data)), number
            kind, data, number = "message", [], ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            number = value


def _problem(answer: httpx.Response) -> ServiceError:
    """The error that an answer tells of."""
    wait = answer.headers.get("retry-after", "0")
    wait_s = float(wait) if wait.isdigit() else 0.0
    kind = _KINDS.get(answer.status_code, ServiceError)
    try:
        told = answer.json()
        return kind(str(told["detail"]), str(told["hint"]), wait_s, str(told["code"]), answer.status_code)
    except (ValueError, KeyError, TypeError):
        return ServiceUnreachable(
            f"{answer.url.host} answers with {answer.status_code}, and not as a FaceFusion service does.",
            "Check the URL.", status=answer.status_code,
        )  # fmt: skip


def _unreachable(url: str, error: Exception) -> ServiceUnreachable:
    reason = " ".join(str(error).split()) or type(error).__name__
    if url.startswith("https:") and "WRONG_VERSION_NUMBER" in reason:
        return ServiceUnreachable(
            f"The answer of {url} is not https.", f"Check the address: http{url.removeprefix('https')} may be meant."
        )
    return ServiceUnreachable(f"{url} does not answer: {reason}.", "Check that the service runs, and its address.")


__all__ = ["Asset", "Client", "FaceFusionError", "Job", "Progress"]
