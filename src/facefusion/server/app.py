"""The application: all routes, behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from facefusion.declaration import find_processor, meant_by, processor_names, words_of
from facefusion.errors import FaceFusionError, RecipeError, ServiceError
from facefusion.server import admin, assets, events, jobs, looks, monitoring, pages, provenance, shots, uploads
from facefusion.server.admin import set_cookie
from facefusion.server.config import ServerConfig
from facefusion.server.guard import Guard, problem_of
from facefusion.server.keeper import Keeper
from facefusion.server.problems import Flaw, ProblemBody, documented, of_status, respond
from facefusion.server.recipes import recipe_models
from facefusion.server.state import Service
from facefusion.version import __version__

DESCRIPTION = """Change faces in photos and video. Errors are problem details (RFC 9457) with a `code` and a `hint`.
See docs/rest.md of FaceFusion for what to do with it."""


def build_app(config: ServerConfig, is_working: bool = True, made: Service | None = None) -> FastAPI:
    """The service as an ASGI application.

    Parameters
    ----------
    config
        How it listens, whom it lets in, and who does its work.
    is_working
        Whether this process looks after jobs, messages and expiry; without it somebody else does.
    made
        The service, where it was made already. It is closed with the application.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = made or Service(config)
        app.state.service, app.state.hub, app.state.finder = service, events.Hub(service), looks.PeopleFinder(service)
        app.state.shots = shots.ShotFinder(service)
        keeper = Keeper(service)
        if is_working:
            keeper.start()
        try:
            yield
        finally:
            if is_working:
                keeper.stop()
            service.close()

    app = FastAPI(
        title="FaceFusion", version=__version__, description=DESCRIPTION, lifespan=lifespan, docs_url=None,
        redoc_url=None, openapi_url=None, redirect_slashes=False,
    )  # fmt: skip
    routers = (
        admin.router, assets.router, uploads.router, jobs.build_router(), jobs.plain_router, looks.build_router(),
        looks.plain_router, shots.router, provenance.router, events.router, monitoring.router,
    )  # fmt: skip
    for router in routers:
        app.include_router(router)
    app.state.paths = [route for router in routers for route in router.routes]
    _add_page(app)
    app.add_exception_handler(FaceFusionError, problem_of)
    app.add_exception_handler(assets.RangeRefused, _range_refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(Guard, config=config)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _add_page(app: FastAPI) -> None:
    @app.get("/v1/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        service: Service = request.app.state.service
        response = pages.answer(request, "/")
        if service.gate.is_local and is_direct(request):
            set_cookie(response, service.gate.local_cookie(), bool(service.config.certificate))
        return response

    app.include_router(pages.build_router())


_OF_PROXIES = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"})


def is_direct(request: Request) -> bool:
    """Whether a request comes from this machine, by one of its own names, and was not passed on from elsewhere."""
    import ipaddress

    from facefusion.server.config import LOOPBACK_NAMES

    client = request.client.host if request.client else ""
    try:
        is_here = ipaddress.ip_address(client).is_loopback
    except ValueError:
        is_here = False
    passed_on = any(name in _OF_PROXIES or name.startswith("x-forwarded-") for name in request.headers)
    # Browsers speak HTTP/1.1; 1.0 is what nginx speaks to those behind it when it is told nothing else.
    is_old = request.scope.get("http_version") == "1.0"
    return is_here and not passed_on and not is_old and (request.url.hostname or "").strip("[]") in LOOPBACK_NAMES


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # A body of another type is not read as JSON, and would be told to be no object.
    if any(tuple(one["loc"]) == ("body",) for one in error.errors()) and not _is_json(request):
        return respond(_wrong_type(request), request.state.request_id)
    flaws, meant = [], ""
    for one in error.errors()[:20]:
        where = _place_of(one, error.body)
        if one["type"] == "json_invalid":
            why = str(one.get("ctx", {}).get("error", "it cannot be read"))
            flaws.append(Flaw(where="", message=f"the body is no JSON, from letter {one['loc'][-1]} on: {why}"[:300]))
            continue
        flaws.append(Flaw(where=where[:200], message=words_of(one)[:300]))
        meant = meant or meant_by(one, _known_at(one["loc"]))
    first = flaws[0] if flaws else Flaw(where="", message="It cannot be read")
    place = f"{first.where}: " if first.where else ""
    hint = f"Did you mean '{meant}'?" if meant else "See GET /v1/openapi.json."
    known = RecipeError(f"The request is wrong: {place}{first.message}.", hint)
    known.code = "request"
    return respond(known, request.state.request_id, flaws)


def _known_at(place: Sequence[str | int]) -> Sequence[str]:
    """Names that may stand where one stands that is not known: options of a processor, or of a recipe."""
    names = processor_names()
    step = next((str(part) for part in reversed(place) if part in names), "")
    if step and "options" in place:
        return list(find_processor(step).options.model_fields)
    return list(recipe_models().recipe.model_fields)


def _place_of(flaw: Mapping[str, Any], body: object) -> str:
    """Where in a request something is wrong, by the names that were sent: the kinds that pydantic tried are none."""
    first, *rest = flaw["loc"] or ("",)
    if first != "body":  # of an address or a header
        return ".".join(str(part) for part in flaw["loc"])
    place: list[str] = []
    here: Any = body
    for number, part in enumerate(rest):
        is_row = isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)
        if is_row or (isinstance(here, Mapping) and part in here):
            here = here[part]
        elif flaw["type"] != "missing" or number < len(rest) - 1:
            continue
        place.append(str(part))
    return ".".join(place)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_json(request: Request) -> bool:
    kind, _, word = _content_type(request).partition("/")
    return kind == "application" and (word == "json" or word.endswith("+json"))


def _wrong_type(request: Request) -> ServiceError:
    named = f"of the type {_content_type(request)[:80]}" if _content_type(request) else "without a type"
    return ServiceError(
        f"The body is {named}; JSON is taken here.", "Send it with the header Content-Type: application/json.",
        code="media_type", status=415,
    )  # fmt: skip


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = respond(of_status(error.status_code, str(error.detail)), request.state.request_id)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    if error.status_code == 405:  # Starlette tells the methods of the first route of that path
        response.headers["Allow"] = ", ".join(_methods_of(request))
    return response


def _methods_of(request: Request) -> list[str]:
    routes = [*request.app.state.paths, *(route for route in request.app.routes if isinstance(route, Route))]
    found = [route for route in routes if route.matches(request.scope)[0] != Match.NONE]
    return sorted({method for route in found for method in getattr(route, "methods", None) or ()})


async def _range_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, assets.RangeRefused)
    response = respond(error, request.state.request_id)
    response.headers.update(error.headers)
    return response


def describe(app: FastAPI) -> dict[str, Any]:
    """What OpenAPI says of the service, once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        parts = schema["components"]["schemas"]
        parts.setdefault("Problem", ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}"))
        parts.update(parts["Problem"].pop("$defs", {}))  # what it is made of is named from the top, as all is
        for name in ("ProblemBody", "HTTPValidationError", "ValidationError"):
            parts.pop(name, None)
        schema.setdefault("components", {}).setdefault("securitySchemes", {})
        for operation in (one for methods in schema["paths"].values() for one in methods.values()):
            if "requestBody" in operation:  # the guard counts and times every body, and reads none that is coded
                for status, told in documented(408, 413, 415).items():
                    operation["responses"].setdefault(str(status), told)
        app.openapi_schema = schema
    return app.openapi_schema
