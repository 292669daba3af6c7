"""Traces of OpenTelemetry: what a request led to, over processes and machines, in one picture.

All parts of a job are one trace, whoever did them: its id and that of its root are made from the job's id, so nothing
has to travel with a message. Spans carry ids and words of ours, no path, no address and nothing that an exception says.
Nothing is sent unless somebody names a collector (OTLP over HTTP).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from facefusion.errors import ExtraMissing, FaceFusionError, LeaseLost, RecipeError
from facefusion.version import __version__

PATH = "/v1/traces"
DELAY_MS, FLUSH_MS = 500, 2000
"""How long a span waits for others, and how long the end of a process waits for a collector."""
_ids: ContextVar[tuple[int, int] | None] = ContextVar("facefusion_trace_ids", default=None)
_provider: Any = None
_tracer: Any = None
_address = ""


def set_up(address: str) -> None:
    """Send what this process does to a collector.

    Parameters
    ----------
    address
        Where OTLP over HTTP is taken in, such as ``http://localhost:4318``; empty sends nothing. What else the exporter
        knows (``OTEL_EXPORTER_OTLP_HEADERS``, certificates) it takes from its own variables.

    Raises
    ------
    ExtraMissing, RecipeError
    """
    global _provider, _tracer, _address
    if not address or address == _address:
        return
    if not address.startswith(("http://", "https://")):
        raise RecipeError(f"{address!r} is no address of a collector.", "Use one such as http://localhost:4318.")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ModuleNotFoundError as error:
        raise ExtraMissing.of("A trace", "opentelemetry", "traces") from error

    class Ids(RandomIdGenerator):
        """Random, but for the root of a job."""

        def generate_trace_id(self) -> int:
            wanted = _ids.get()
            return super().generate_trace_id() if wanted is None else wanted[0]

        def generate_span_id(self) -> int:
            wanted = _ids.get()
            return super().generate_span_id() if wanted is None else wanted[1]

    resource = Resource.create({"service.name": "facefusion", "service.version": __version__})
    provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    endpoint = address if address.endswith(PATH) else address.rstrip("/") + PATH
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), schedule_delay_millis=DELAY_MS)
    provider.add_span_processor(processor)
    from multiprocessing.util import Finalize

    # Runs at the end of processes of multiprocessing, too, which atexit does not.
    Finalize(None, flush, exitpriority=10)
    _provider, _tracer, _address = provider, provider.get_tracer("facefusion", __version__), address


def address() -> str:
    """Where traces go, for processes that this one starts."""
    return _address


def flush() -> None:
    """Send what is waiting: a process is about to end, perhaps abruptly."""
    if _provider is not None:
        _provider.force_flush(FLUSH_MS)


def ids_of(job_id: str) -> tuple[int, int]:
    """The ids of a job's trace, 128 bits, and of its root, 64 bits."""
    digest = hashlib.sha256(f"facefusion {job_id}".encode()).digest()
    return int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big")


@contextmanager
def request(headers: Callable[[], Mapping[str, str]]) -> Iterator[Callable[..., None]]:
    """A request, as part of its client's trace where it names one (W3C Trace Context).

    Parameters
    ----------
    headers
        Gives the request's headers, if anybody wants them.

    Returns
    -------
    Tells its name and attributes when they are known.
    """
    if _tracer is None:
        yield lambda name, **attributes: None
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract(headers())
    with _tracer.start_as_current_span(
        "request", parent, trace.SpanKind.SERVER, record_exception=False, set_status_on_exception=False
    ) as span:

        def tell(name: str, **attributes: Any) -> None:
            span.update_name(name)
            span.set_attributes(attributes)
            if int(attributes.get("http.response.status_code", 0)) >= 500:
                span.set_status(trace.StatusCode.ERROR)

        yield tell


@contextmanager
def part(job_id: str, name: str, **attributes: Any) -> Iterator[Callable[..., None]]:
    """Something that is done for a job, in the job's trace.

    Returns
    -------
    Tells more attributes.
    """
    if _tracer is None:
        yield lambda **attributes: None
        return
    from opentelemetry import trace

    trace_id, root_id = ids_of(job_id)
    root = trace.SpanContext(trace_id, root_id, True, trace.TraceFlags(trace.TraceFlags.SAMPLED))
    parent = trace.set_span_in_context(trace.NonRecordingSpan(root))
    told = {"facefusion.job": job_id, **{f"facefusion.{key}": value for key, value in attributes.items()}}
    with _tracer.start_as_current_span(
        name, parent, attributes=told, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield lambda **more: span.set_attributes({f"facefusion.{key}": value for key, value in more.items()})
        except LeaseLost:  # somebody else's by now
            raise
        except FaceFusionError as error:
            _blame(span, error)
            raise


def note(**attributes: Any) -> None:
    """Add to the span that is open."""
    if _tracer is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes({f"facefusion.{key}": value for key, value in attributes.items()})


def fail(error: FaceFusionError) -> None:
    """The span that is open has failed, though nobody raises anything."""
    if _tracer is not None:
        from opentelemetry import trace

        _blame(trace.get_current_span(), error)


def end(job_id: str, began_at: float, **attributes: Any) -> None:
    """A job is over: the root of its trace, from when it was made (seconds since 1970) until now."""
    if _tracer is None:
        return
    from opentelemetry import context

    told = {"facefusion.job": job_id, **{f"facefusion.{key}": value for key, value in attributes.items()}}
    token = _ids.set(ids_of(job_id))
    try:
        span = _tracer.start_span("job", context.Context(), attributes=told, start_time=int(began_at * 1e9))
    finally:
        _ids.reset(token)
    span.end()


def _blame(span: Any, error: FaceFusionError) -> None:
    from opentelemetry import trace

    span.set_status(trace.StatusCode.ERROR)
    span.set_attribute("facefusion.code", error.code)
