"""What stands before every route: host names, sizes and pace of bodies, headers, request ids, the log of deeds."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facefusion import journal, traces
from facefusion.errors import FaceFusionError, Fault, MediaError, RequestRefused, ServiceError, TooLarge, own_error
from facefusion.jobs.ledger import Deed
from facefusion.server.config import ServerConfig
from facefusion.server.problems import FLAGS_HEADER, has_flags, respond, status_of
from facefusion.wording import counted

BODY_BYTES = 1_000_000
"""Largest body that is no file."""
BODY_VALUES = 30_000
"""As many values are in it: ids of that length are fewer, and telling what is wrong with each of more takes long."""
FILES = re.compile(r"/v1/(assets|uploads(/[^/]*)?)/?")
"""Where files come in; they are counted there."""
IDLE_S = 30.0
"""A body of which nothing comes for so long is given up."""
SLOW_AFTER_S, SLOWEST = 60.0, 1000
"""After so many seconds a body has to have come with so many bytes a second."""
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
CSP_OF_FILES = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""For what others brought: nothing in it runs."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()",
    "Content-Security-Policy": CSP,
    "Cache-Control": "no-store",
}
log = logging.getLogger("facefusion.server")


class Guard:
    """ASGI middleware around the whole service.

    Parameters
    ----------
    app
        What is guarded.
    config
        Host names.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app, self._hosts = app, config.known_hosts
        self._is_any = config.host in ("0.0.0.0", "::") and not config.names
        self._has_tls = bool(config.certificate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        has_flags.set((FLAGS_HEADER, b"flags") in scope["headers"])
        began, told = time.perf_counter(), {"status": 0, "is_replaced": 0}
        journal.begin(request=request_id)
        body = _Body(receive, FILES.fullmatch(scope["path"]) is not None)

        async def answer(message: Message) -> None:
            if told["is_replaced"]:
                return
            if body.problem is not None and not told["status"]:  # a framework that reads bodies says something else
                told["is_replaced"] = 1
                await respond(body.problem, request_id)(scope, receive, dressed)
            else:
                await dressed(message)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                self._dress(message, request_id)
            await send(message)

        with traces.request(lambda: Headers(scope=scope)) as tell:
            try:
                self._check_host(scope)
                self._check_coding(scope)
                body.announce(_header(scope, b"content-length"))
                await self._app(scope, body, answer)
            except Exception as error:
                known = own_error(error)
                if isinstance(known, Fault):
                    log.error("request %s: %s", request_id, known.message, exc_info=error)
                if told["status"]:
                    raise
                await respond(known, request_id)(scope, receive, dressed)
            except asyncio.CancelledError:  # the service ends, and has waited long enough for this request
                if not told["status"]:
                    await respond(_stopping(), request_id)(scope, receive, dressed)
            finally:
                _note(scope, told["status"], request_id)
                seconds = time.perf_counter() - began
                log.info("request", extra={
                    "method": scope["method"], "route": _template(scope), "status": told["status"],
                    "seconds": round(seconds, 4), "request": request_id,
                })  # fmt: skip
                _count(scope, told["status"], seconds)
                tell(
                    f"{scope['method']} {_template(scope)}",
                    **{
                        "http.request.method": scope["method"],
                        "http.route": _template(scope),
                        "http.response.status_code": told["status"],
                        "facefusion.request": request_id,
                    },
                )

    def _check_host(self, scope: Scope) -> None:
        """Refuse names that are not ours: a page elsewhere may have its own name lead here (DNS rebinding)."""
        name = _header(scope, b"host")
        host = re.sub(r":\d+$", "", name).strip("[]").lower()
        if host in self._hosts or (self._is_any and _is_address(host)):
            return
        raise ServiceError(
            f"This service is not called {host or 'nothing'}.", "Use its address; whoever runs it can add the name.",
            code="host", status=421,
        )  # fmt: skip

    def _check_coding(self, scope: Scope) -> None:
        """Refuse bodies that are packed: they are counted and read as they come."""
        coding = _header(scope, b"content-encoding").strip().lower()
        if coding and coding != "identity" and scope["method"] in ("POST", "PUT", "PATCH"):
            raise ServiceError(
                "The body is packed (Content-Encoding); only plain ones are taken.",
                "Send it as it is, without the header Content-Encoding.", code="media_type", status=415,
            )  # fmt: skip

    def _dress(self, message: Message, request_id: str) -> None:
        if message["status"] == 204:  # there is nothing that could be of a type
            message["headers"] = [one for one in message["headers"] if one[0].lower() != b"content-type"]
        there = {name.lower() for name, _ in message["headers"]}
        own = {**HEADERS, "X-Request-Id": request_id}
        if self._has_tls:
            own["Strict-Transport-Security"] = "max-age=31536000"
        message["headers"] = [
            *message["headers"],
            *((name.encode(), value.encode()) for name, value in own.items() if name.lower().encode() not in there),
        ]


class _Body:
    """A request's body, counted and timed as it comes."""

    def __init__(self, receive: Receive, is_file: bool) -> None:
        self._receive, self._is_file = receive, is_file
        self._count, self._began, self._is_whole = 0, time.monotonic(), False
        self._values = 0
        self.problem: ServiceError | None = None

    def announce(self, length: str) -> None:
        """Refuse what is too large before it comes."""
        if length and not length.isdigit():
            raise RequestRefused("Content-Length is no number.", "Send its length in bytes.")
        if not self._is_file and length and int(length) > BODY_BYTES:
            raise TooLarge(f"A body has up to {counted(BODY_BYTES, 'byte')} here.", "Send files to POST /v1/assets.")

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()  # waits for the end of the connection
        try:
            return await self._next()
        except ServiceError as error:
            self.problem = error
            raise

    async def _next(self) -> Message:
        try:
            message = await asyncio.wait_for(self._receive(), IDLE_S)
        except TimeoutError as error:
            raise ServiceError(
                f"Nothing came for {IDLE_S:.0f} s.", "Send again; large files go on where they were by /v1/uploads.",
                code="slow", status=408,
            ) from error  # fmt: skip
        if message["type"] != "http.request":
            return message
        self._count += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if not self._is_file:
            self._values += message.get("body", b"").count(b",")
            if self._count > BODY_BYTES:
                raise TooLarge(
                    f"A body has up to {counted(BODY_BYTES, 'byte')} here.", "Send files to POST /v1/assets."
                )
            if self._values > BODY_VALUES:
                raise TooLarge(f"A body has up to {counted(BODY_VALUES, 'value')} here.", "Ask for less at once.")
        passed_s = time.monotonic() - self._began
        if passed_s > SLOW_AFTER_S and self._count < SLOWEST * passed_s and not self._is_whole:
            raise ServiceError(
                "The body comes too slowly.", "Use /v1/uploads, which goes on where it was.", code="slow", status=408
            )
        return message


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _stopping() -> ServiceError:
    return ServiceError(
        "The service is being stopped.", "Send it again in a moment; an upload goes on where it was.", code="stopping",
        status=503,
    )  # fmt: skip


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _template(scope: Scope) -> str:
    """The path with its parameters unnamed: no id, and nothing that somebody sent, gets into a log by it."""
    route = scope.get("route")
    return str(getattr(route, "path", "")) or "-"


def _count(scope: Scope, status: int, seconds: float) -> None:
    service = getattr(scope["app"].state, "service", None) if "app" in scope else None
    if service is not None and service.exposition is not None:
        service.exposition.answered(scope["method"], _template(scope), status, seconds)


def _note(scope: Scope, status: int, request_id: str) -> None:
    """Who did what: whatever changes something, whatever shows a file, and whoever was not let in."""
    service = getattr(scope["app"].state, "service", None) if "app" in scope else None
    principal = scope["state"].get("principal")
    template = _template(scope)
    is_telling = scope["method"] not in ("GET", "HEAD", "OPTIONS") or status in (401, 403)
    is_file = template.startswith(("/v1/assets/{", "/v1/jobs/{asset")) or template.endswith(("/report", "/faces"))
    if service is None or not (is_telling or is_file) or template == "-":
        return
    if principal is None and status not in (401, 403):  # strangers do not fill the log; who guesses keys is slowed down
        return
    params = scope.get("path_params") or {}
    objects = ",".join(str(value) for value in params.values() if re.fullmatch(r"[\w.-]{1,63}", str(value)))
    service.note(Deed(
        0, time.time(), principal.tenant if principal else "", principal.who if principal else "nobody",
        f"{scope['method']} {template}"[:120], objects[:80], status, request_id,
    ))  # fmt: skip


async def problem_of(request: Any, error: Exception) -> Any:
    """Answer with one of our errors. One about a file is one about the body's type only where the body is the file."""
    assert isinstance(error, FaceFusionError)
    is_of_body = not isinstance(error, MediaError) or FILES.fullmatch(request.url.path)
    return respond(error, request.state.request_id, status=None if is_of_body or status_of(error) != 415 else 422)
