"""Listening: uvicorn on a socket of ours, with clients that dawdle over their headers sent away."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from facefusion import journal
from facefusion.errors import OutputRefused, RecipeError, ServiceError
from facefusion.jobs.ledger import Ledger
from facefusion.server.access import KEY_SET_ERRORS, load_key_set
from facefusion.server.app import build_app
from facefusion.server.config import ServerConfig, Serving
from facefusion.server.guard import HEADERS
from facefusion.server.hands import log_faults
from facefusion.server.problems import respond
from facefusion.server.state import Service
from facefusion.workplace import make_folder

HEAD_S = 15.0
"""A connection on which no whole request comes for so long is closed."""
KEEP_S = 75
STOP_S = 3
CONNECTIONS = 2000
SWITCH_S = 0.0005
"""How long a thread may keep the interpreter while others want it: requests are short and wait for each of them."""


def _plain_problem(error: ServiceError) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers of an answer that is given before there is a request."""
    answer = respond(error, secrets.token_hex(8))
    own = {**HEADERS, "X-Request-Id": json.loads(bytes(answer.body))["request_id"], "Connection": "close"}
    return bytes(answer.body), [*answer.raw_headers, *((k.lower().encode(), v.encode()) for k, v in own.items())]


async def _crowded(scope: Any, receive: Any, send: Any) -> None:
    """Answers where there are too many connections."""
    error = ServiceError("There are too many connections.", "Try again in a moment.", code="busy", status=503)
    body, headers = _plain_problem(error)
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class PatientProtocol(H11Protocol):
    """HTTP by h11 that does not wait for ever for the headers of a request (slow loris), and whose own answers are
    problems like all others.
    """

    def connection_made(self, transport: Any) -> None:
        """Somebody connects."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self.app = _crowded
        self._late: Any = None
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Something comes."""
        super().data_received(data)
        self._watch_head()

    def send_400_response(self, msg: str) -> None:
        """Something came that is no HTTP."""
        error = ServiceError("This is no valid HTTP/1.1.", "See RFC 9112.", code="bad_request", status=400)
        body, headers = _plain_problem(error)
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """A request is answered; the next one may begin."""
        super().on_response_complete()
        self._watch_head(is_new=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._forget()
        super().connection_lost(exc)

    def _watch_head(self, is_new: bool = False) -> None:
        is_waiting = self.cycle is None or self.cycle.response_complete
        if not is_waiting or is_new:
            self._forget()
        if is_waiting and self._late is None and not self.transport.is_closing():
            delay_s = KEEP_S if is_new else HEAD_S
            self._late = self.loop.call_later(delay_s, self._give_up)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()


class ReadyServer(uvicorn.Server):
    """Says when it answers, and takes the signals that end it as a usual end."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals that end us, and give them back without raising them again: this is a usual end."""
        before: dict[int, Any] = {}
        is_main = threading.current_thread() is threading.main_thread()
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)
            if is_main and number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(config: ServerConfig) -> socket.socket:
    """A socket that listens.

    Raises
    ------
    OutputRefused
        When something else has the port, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # asyncio sends small pieces at once only over what is named TCP; else each answer waits 40 ms for a delayed ACK
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((config.host.strip("[]"), config.port))
        made.listen(1024)
    except (OSError, UnicodeError) as error:  # the latter of names that no host can have
        made.close()
        reason = getattr(error, "strerror", None) or "it is no host name"
        raise OutputRefused(
            f"Nobody can listen at {config.host}, port {config.port}: {reason}.",
            "Stop what is there, or choose another --port or --host.",
        ) from error
    made.setblocking(False)
    return made


def check(config: ServerConfig) -> bool:
    """Refuse what would be open to everybody, or to nobody.

    Returns
    -------
    Whether there are keys.

    Raises
    ------
    RecipeError
    """
    make_folder(config.backend.folder)
    ledger = Ledger(config.store_url)
    try:
        has_keys = ledger.has_keys()
    finally:
        ledger.close()
    if not config.is_loopback and not has_keys and config.oidc is None:
        raise RecipeError(
            f"At {config.host} others could reach the service, and there is no key yet.",
            "Make one first: facefusion keys create --tenant NAME --scopes admin; or listen at 127.0.0.1.",
        )
    if config.oidc is not None and not (config.oidc.audience and config.oidc.jwks):
        raise RecipeError("--oidc-issuer needs --oidc-audience and --oidc-jwks.", "See docs/rest.md.")
    weak = [
        name for name in (config.oidc.algorithms if config.oidc else ()) if name.lower() == "none" or name[:2] == "HS"
    ]
    if weak:
        raise RecipeError(f"{', '.join(weak)} cannot tell who signed a token.", "Use RS256, ES256 or EdDSA.")
    if bool(config.certificate) != bool(config.certificate_key):
        raise RecipeError("A certificate and its key belong together.", "Give --certificate and --certificate-key.")
    _check_files(config)
    if config.backend.is_cluster:
        from facefusion.service.jobs import cluster_room

        cluster_room().check_cluster(config.backend)
    return has_keys


def _check_files(config: ServerConfig) -> None:
    """Refuse a certificate and public keys that cannot be used before anybody meets them.

    Raises
    ------
    RecipeError
    """
    if config.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(config.certificate, config.certificate_key, lambda: "")  # nobody is asked for one
        except (OSError, ValueError) as error:
            raise RecipeError(
                f"The certificate {config.certificate} cannot be used with the key {config.certificate_key}: "
                f"{getattr(error, 'reason', None) or getattr(error, 'strerror', None) or 'they cannot be read'}.",
                "Both are PEM files that belong together, the key without a password.",
            ) from error
    if config.oidc is not None and not config.oidc.jwks.startswith("https://"):
        try:
            load_key_set(config.oidc.jwks)
        except KEY_SET_ERRORS as error:
            raise RecipeError(
                f"There are no public keys in {config.oidc.jwks}: {getattr(error, 'strerror', None) or error}.",
                "Name a file with a JSON Web Key Set, or its https URL.",
            ) from error


def _bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host.strip('[]')}]" if ":" in host else host


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of libuv, which takes half of the processor's time; where there is none (Windows), Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


def serve(config: ServerConfig, on_ready: Callable[[Serving], None]) -> None:
    """Run the service until a signal ends it.

    Parameters
    ----------
    config
        How.
    on_ready
        Called when it answers.

    Raises
    ------
    RecipeError, OutputRefused, StoreUnreachable, StoreRefused
    """
    has_keys = check(config)
    held = listen(config)
    try:
        service = Service(config)
    except BaseException:
        held.close()
        raise
    metrics_url = ""
    try:
        if config.metrics_port is not None:
            found = service.get_exposition().listen(config.metrics_host, config.metrics_port)
            metrics_url = f"http://{_bracketed(config.metrics_host)}:{found}/metrics"
    except BaseException:
        held.close()
        service.close()
        raise
    host, port = config.host, held.getsockname()[1]
    url = f"{'https' if config.certificate else 'http'}://{_bracketed(host)}:{port}"
    journal.set_up(*config.log)
    log_faults()
    server = ReadyServer(
        uvicorn.Config(
            build_app(config, made=service),
            http=PatientProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_S,
            timeout_graceful_shutdown=STOP_S,
            ssl_certfile=config.certificate or None,
            ssl_keyfile=config.certificate_key or None,
            lifespan="on",
        ),
        lambda: on_ready(Serving(url, config.is_loopback, has_keys, metrics_url)),
    )
    sys.setswitchinterval(SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(server.serve([held]))
    finally:
        held.close()
        service.close()
