"""Fetching model files: asked for by name, resumable, from several mirrors, hashed before they get their name."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from facefusion.errors import FaceFusionError, FetchFailed, HashMismatch
from facefusion.models.licences import check_licence
from facefusion.models.spec import ModelFile, ModelSpec
from facefusion.models.store import ModelStore, OnBytes, sha256_of
from facefusion.version import __version__
from facefusion.wording import agreed, counted
from facefusion.workplace import LOCK, take

MAX_REDIRECTS = 5
MAX_CUTS = 4
"""Times that a broken transfer is taken up again at one mirror without a byte of progress in between."""
TIMEOUT = httpx.Timeout(20.0, read=30.0)
_ROOM = 64 << 20
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def fetch(spec: ModelSpec, store: ModelStore, on_bytes: OnBytes, timeout: httpx.Timeout = TIMEOUT) -> list[Path]:
    """Fetch every file of a model that is not here yet.

    Parameters
    ----------
    spec
        The model; its licence is asked first.
    store
        Files go to its home.
    on_bytes
        Called as bytes arrive.
    timeout
        Of one connection and one read.

    Returns
    -------
    Paths of the files that were fetched.

    Raises
    ------
    LicenceRefused, FetchFailed, HashMismatch
        A file that does not match is deleted; a file that is cut short stays, to be taken up again.
    """
    check_licence(spec, store.licences)
    fetched = []
    for file in spec.files:
        path = store.find(spec, file)
        if path is None:
            path = fetch_file(spec, file, store.home, on_bytes, timeout)
            fetched.append(path)
        else:
            _forget_half(file, store.home)
        store.check_hash(spec, file, store.hash_of(path), path)
    return fetched


def fetch_file(spec: ModelSpec, file: ModelFile, folder: Path, on_bytes: OnBytes, timeout: httpx.Timeout) -> Path:
    """Fetch one file from the first mirror that has the right one."""
    if not file.urls:
        raise FetchFailed(f"Nobody has said where {file.name} ({spec.id}) can be fetched.", f"Put it into {folder}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _half(file, folder) as partial:
            return _fetch_half(spec, file, folder, partial, on_bytes, timeout)
    except OSError as error:
        raise _unwritable(error, folder) from error


@contextmanager
def _half(file: ModelFile, folder: Path) -> Iterator[Path]:
    """What has arrived of a file. It stays when the transfer is cut, and is written by one process at a time."""
    partial = folder / f".{file.name}.part"
    lock = take(folder.resolve() / f"{partial.name}{LOCK}")
    if lock is None:
        raise FetchFailed(f"Another process is fetching {file.name} just now.", "Wait until it is done.")
    try:
        if os.path.lexists(partial) and not stat.S_ISREG(partial.lstat().st_mode):
            raise FetchFailed(f"{partial} is no file of ours.", "Take it away; it was not touched.")
        yield partial
    finally:
        lock.release(is_removing=True)


def _forget_half(file: ModelFile, folder: Path) -> None:
    """Take away what an earlier transfer left of a file that has come otherwise."""
    if os.path.lexists(folder / f".{file.name}.part"):
        with suppress(FaceFusionError, OSError), _half(file, folder) as partial:
            partial.unlink()


def _unwritable(error: OSError, path: Path) -> FetchFailed:
    reason = error.message if isinstance(error, FaceFusionError) else f"{path} cannot be written: {error.strerror}."
    return FetchFailed(reason, "Make room or choose another folder.")


def _fetch_half(
    spec: ModelSpec, file: ModelFile, folder: Path, partial: Path, on_bytes: OnBytes, timeout: httpx.Timeout
) -> Path:
    failures = []
    for url in file.urls:
        try:
            _transfer(url, file, partial, on_bytes, timeout)
            _check(file, partial)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failures.append(f"{url}: {_say(error)}")
        except HashMismatch as error:
            partial.unlink(missing_ok=True)
            failures.append(f"{url}: {error.message}")
        except OSError as error:
            raise _unwritable(error, partial) from error
        else:
            path = folder / file.name
            partial.replace(path)
            return path
    kind = HashMismatch if all("SHA-256" in failure or "bytes" in failure for failure in failures) else FetchFailed
    raise kind(
        f"{file.name} ({spec.id}) could not be fetched. " + " ".join(failures),
        "Check the network and try again; what has arrived is kept. Without a network, use "
        "'facefusion models import' with a bundle or a FaceFusion folder.",
    )


def _say(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answers {error.response.status_code}."
    if isinstance(error, httpx.TooManyRedirects):
        return "it redirects in a circle."
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time."
    if isinstance(error, httpx.ConnectError):
        return "no connection (offline?)."
    return f"{error or type(error).__name__}."


def _transfer(url: str, file: ModelFile, partial: Path, on_bytes: OnBytes, timeout: httpx.Timeout) -> None:
    """Bring a file in, going on where an earlier try was cut."""
    cuts = 0
    headers = {"User-Agent": f"facefusion/{__version__}", "Accept-Encoding": "identity"}
    with httpx.Client(follow_redirects=True, max_redirects=MAX_REDIRECTS, timeout=timeout, headers=headers) as client:
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            try:
                _transfer_once(client, url, file, partial, before, on_bytes)
                return
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.ReadTimeout):
                now = partial.stat().st_size if partial.exists() else 0
                cuts = 0 if now > before else cuts + 1
                if cuts >= MAX_CUTS:
                    raise


def _transfer_once(
    client: httpx.Client, url: str, file: ModelFile, partial: Path, have: int, on_bytes: OnBytes
) -> None:
    if file.size_bytes and have > file.size_bytes:
        partial.unlink()
        have = 0
    if file.size_bytes and have == file.size_bytes:
        return
    ask = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=ask) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()  # what is here is no beginning of what is there
            raise httpx.ReadError("the part that is here does not fit")
        response.raise_for_status()
        is_continued = response.status_code == httpx.codes.PARTIAL_CONTENT
        have = have if is_continued else 0
        total = have + int(response.headers.get("Content-Length", 0))
        total = total if total > have else file.size_bytes
        if file.size_bytes and total and total != file.size_bytes:
            raise HashMismatch(f"it has {counted(total, 'byte')}, not {file.size_bytes}.")
        room = shutil.disk_usage(partial.parent).free
        if total - have > room - _ROOM:
            raise OSError(
                28,
                f"{counted(total - have, 'byte is', 'bytes are')} needed and {room} {agreed(room, 'is', 'are')} free",
            )
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if is_continued else os.O_TRUNC) | _PLAIN
        with os.fdopen(os.open(partial, flags, 0o666), "ab" if is_continued else "wb") as out:
            # As it arrives: what is collected into larger pieces would be lost when the connection breaks.
            for chunk in response.iter_raw():
                out.write(chunk)
                have += len(chunk)
                if file.size_bytes and have > file.size_bytes:
                    raise HashMismatch(f"it has more than {counted(file.size_bytes, 'byte')}.")
                on_bytes(file.name, have, total)


def _check(file: ModelFile, partial: Path) -> None:
    size = partial.stat().st_size
    if file.size_bytes and size != file.size_bytes:
        raise HashMismatch(f"it has {counted(size, 'byte')}, not {file.size_bytes}.")
    if file.sha256 and (found := sha256_of(partial)) != file.sha256:
        raise HashMismatch(f"its SHA-256 is {found[:12]}…, not {file.sha256[:12]}….")
