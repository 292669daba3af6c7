"""Routes of assets: files in, files out, small pictures."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from facefusion.documents import reason_of
from facefusion.errors import FaceFusionError, NotThere, RequestRefused, ServiceError, TooLarge
from facefusion.jobs.ledger import Asset
from facefusion.server.access import Principal, allows
from facefusion.server.bodies import MAX_PAGE, AssetBody, Listing, read_cursor, write_cursor
from facefusion.server.guard import BODY_BYTES, CSP_OF_FILES
from facefusion.server.intake import THUMBNAIL, admit, drop, fresh_name, key_folder, receive, room_for, working
from facefusion.server.problems import documented
from facefusion.server.state import Service
from facefusion.wording import counted

router = APIRouter(prefix="/v1", tags=["assets"])
AssetPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
_PIECE = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


@router.post(
    "/assets",
    status_code=201,
    response_model=AssetBody,
    summary="Upload a file",
    responses=documented(408, 413, 415, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": {"type": "string", "format": "binary"}},
                        "required": ["file"],
                    }
                },
            },
        }
    },
)
async def upload(
    request: Request,
    response: Response,
    name: Annotated[str, Query(max_length=500, description="how the file is called; only shown")] = "",
    principal: Principal = Depends(allows("assets:write")),
) -> AssetBody:
    """Send a file as the body, or as the field `file` of a form. What it is is found in its content."""
    service = service_of(request)
    length = int(request.headers.get("content-length") or 0)
    most = await run_in_threadpool(room_for, service, principal.tenant, length)
    stream: AsyncIterator[bytes] = request.stream()
    kind, options = parse_options_header(request.headers.get("content-type"))
    with working(service) as folder:
        named = [name]
        if kind == b"multipart/form-data":
            stream = _file_field(stream, options.get(b"boundary", b""), named)
        received = await receive(stream, folder / fresh_name(), most)
        asset = await service.take_time(admit, service, principal.tenant, received, name or named[0])
    response.headers["Location"] = f"/v1/assets/{asset.id}"
    return AssetBody.of(asset)


async def _file_field(stream: AsyncIterator[bytes], boundary: bytes, named: list[str]) -> AsyncIterator[bytes]:
    """The bytes of the one field of a form that is a file, as they come.

    Raises
    ------
    RequestRefused, TooLarge
    """
    state: dict[str, Any] = {
        "field": b"",
        "value": b"",
        "header": {},
        "is_file": False,
        "seen": 0,
        "told": 0,
        "out": [],
        "ended": False,
    }

    def header_end() -> None:
        state["header"][state["field"].lower()] = state["value"]
        state["field"] = state["value"] = b""

    def headers_finished() -> None:
        _, options = parse_options_header(state["header"].get(b"content-disposition"))
        state["is_file"] = options.get(b"name") == b"file"
        if state["is_file"]:
            state["seen"] += 1
            named[0] = named[0] or options.get(b"filename", b"").decode("utf-8", "replace")
        state["header"] = {}

    def grow(name: str) -> Any:
        def take(data: bytes, start: int, end: int) -> None:
            state[name] += data[start:end]
            if len(state[name]) > 8192:
                raise RequestRefused("A header of the form is too long.", "Send the file as the body.")

        return take

    def data(content: bytes, start: int, end: int) -> None:
        if state["is_file"]:
            state["out"].append(content[start:end])
            state["told"] += end - start

    def end() -> None:
        state["ended"] = True

    if not boundary:
        raise RequestRefused("The form names no boundary.", "Send the file as the body.")
    try:
        parser = MultipartParser(boundary, {
            "on_header_field": grow("field"), "on_header_value": grow("value"), "on_header_end": header_end,
            "on_headers_finished": headers_finished, "on_part_data": data, "on_end": end,
        })  # fmt: skip
        come = 0
        async for piece in stream:
            come += len(piece)
            parser.write(piece)
            if come - state["told"] > BODY_BYTES:
                raise TooLarge(
                    f"Beside the file the form has more than {counted(BODY_BYTES, 'byte')}.",
                    "Send the file as the body.",
                )
            pieces, state["out"] = state["out"], []
            for one in pieces:
                yield one
        parser.finalize()
    except FaceFusionError:
        raise
    except Exception as error:  # of the parser
        if type(error).__module__.startswith("python_multipart"):
            raise RequestRefused(
                f"The form cannot be read: {reason_of(error)}.", "Send the file as the body."
            ) from error
        raise
    if state["seen"] != 1 or not state["ended"]:
        raise RequestRefused(
            f"The form has {state['seen']} fields 'file'." if state["ended"] else "The form is cut off.",
            "Send one file in the field 'file', or as the body.",
        )


@router.get("/assets", response_model=Listing[AssetBody], summary="List files", responses=documented())
def index(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[str, Query(max_length=200)] = "",
    kind: Annotated[Literal["photo", "clip", "sound"] | None, Query()] = None,
    role: Annotated[Literal["upload", "output"] | None, Query()] = None,
    principal: Principal = Depends(allows("assets:read")),
) -> Listing[AssetBody]:
    """The newest first."""
    found = service_of(request).ledger.list_assets(
        principal.tenant, limit + 1, read_cursor(cursor), kind or "", role or ""
    )
    last = found[limit - 1] if len(found) > limit else None
    return Listing(
        items=[AssetBody.of(asset) for asset in found[:limit]],
        cursor="" if last is None else write_cursor(last.created_at, last.id),
    )


@router.get("/assets/{asset_id}/about", response_model=AssetBody, summary="About a file", responses=documented(404))
def about(request: Request, asset_id: AssetPath, principal: Principal = Depends(allows("assets:read"))) -> AssetBody:
    """What is known of it."""
    return AssetBody.of(service_of(request).ledger.get_asset(principal.tenant, asset_id))


_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "Some of the bytes", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "Not changed"},
    **documented(404, 416),
}


@router.get("/assets/{asset_id}", response_class=Response, summary="Download a file", responses=_CONTENT)
@router.head("/assets/{asset_id}", response_class=Response, summary="Size and type of a file", responses=_CONTENT)
def download(
    request: Request,
    asset_id: AssetPath,
    download: Annotated[bool, Query(description="to be saved rather than shown")] = False,
    principal: Principal = Depends(allows("assets:read")),
) -> Response:
    """The bytes, or a range of them."""
    service = service_of(request)
    asset = service.ledger.get_asset(principal.tenant, asset_id)
    return content(request, service, asset.key, asset, download)


def content(request: Request, service: Service, key: str, asset: Asset, is_saved: bool) -> Response:
    """An answer with the bytes of an asset, as `Range`, `If-Range` and `If-None-Match` ask."""
    etag = f'"{asset.sha256}"'
    size = asset.size_bytes
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Last-Modified": formatdate(asset.created_at, usegmt=True),
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": CSP_OF_FILES,
        "Content-Disposition": disposition(asset.name, is_saved or asset.media_type == "application/octet-stream"),
    }
    asked = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in asked or "*" in asked:
        return Response(status_code=304, headers=headers)
    start, stop, status = 0, size, 200
    if_range = request.headers.get("if-range")
    wanted = request.headers.get("range", "") if request.method == "GET" and if_range in (None, etag) else ""
    if match := _RANGE.fullmatch(wanted.replace(" ", "")):
        span = _span(match[1], match[2], size)
        if span is None:
            headers["Content-Range"] = f"bytes */{size}"
            raise RangeRefused(f"It has {counted(size, 'byte')}, and none of {wanted}.", headers)
        start, stop = span
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(status_code=200, headers=headers, media_type=asset.media_type)
    try:
        file = service.storage.open_range(key)
    except FileNotFoundError as error:
        raise NotThere(f"The file of asset {asset.id} is gone.", "Upload it again.") from error
    return StreamingResponse(_pieces(file, start, stop), status, headers, asset.media_type)


class RangeRefused(ServiceError):
    """No byte of what was asked for is there."""

    code = "range"
    status = 416

    def __init__(self, message: str, headers: dict[str, str]) -> None:
        super().__init__(message, "Ask for less.")
        self.headers = {"Content-Range": headers["Content-Range"]}


def _span(first: str, last: str, size: int) -> tuple[int, int] | None:
    if not first and not last:
        return None
    if len(first) > 20 or len(last) > 20:
        return None
    if not first:
        count = min(int(last), size)
        return (size - count, size) if count else None
    start, stop = int(first), min(int(last) + 1 if last else size, size)
    return (start, stop) if start < stop else None


def _pieces(file: Any, start: int, stop: int) -> Iterator[bytes]:
    try:
        file.seek(start)
        left = stop - start
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                return  # the connection is cut, for the length was promised
            left -= len(piece)
            yield piece
    finally:
        file.close()


def disposition(name: str, is_saved: bool) -> str:
    """How a browser is told to call a file."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"{'attachment' if is_saved else 'inline'}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A picture", "content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "Not changed"},
    **documented(404),
}


@router.get(
    "/assets/{asset_id}/thumbnail", response_class=Response, summary="Small picture of a file", responses=_PICTURE
)
def thumbnail(
    request: Request,
    asset_id: AssetPath,
    size: Annotated[int, Query(ge=32, le=1024, description="longest side, px")] = 256,
    principal: Principal = Depends(allows("assets:read")),
) -> Response:
    """Of a clip it is the first frame; sound has none."""
    from facefusion.media.describe import shrink

    service = service_of(request)
    asset = service.ledger.get_asset(principal.tenant, asset_id)
    etag = f'"{asset.sha256[:16]}-{size}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=3600", "Content-Security-Policy": CSP_OF_FILES}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    try:
        with service.storage.local(f"{key_folder(asset.tenant, asset.id)}{THUMBNAIL}") as path:
            made = shrink(path, size)
    except FileNotFoundError as error:
        raise NotThere(f"Asset {asset_id} has no picture.", "Sound has none.") from error
    return Response(made, headers=headers, media_type="image/webp")


@router.delete("/assets/{asset_id}", status_code=204, summary="Delete a file", responses=documented(404, 409))
def delete(
    request: Request,
    asset_id: AssetPath,
    unused: Annotated[bool, Query(description="only an upload that no job reads, be it over or not")] = False,
    principal: Principal = Depends(allows("assets:write")),
) -> None:
    """Not while a job needs it. What was made of it (its small picture, those of people in it) goes too."""
    service = service_of(request)
    drop(service, service.ledger.remove_asset(principal.tenant, asset_id, is_unused=unused))
