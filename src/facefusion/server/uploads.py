"""tus 1.0: files that come in pieces and go on where they were cut off. The file on the disk knows how far it is.

Version 1.0.0 with creation, creation-with-upload, expiration and termination (https://tus.io/protocols/resumable-upload).
"""

from __future__ import annotations

import base64
import binascii
from email.utils import formatdate
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi import Path as FromPath
from starlette.concurrency import run_in_threadpool

from facefusion.errors import (
    Conflict,
    FaceFusionError,
    KindRefused,
    LimitReached,
    RequestRefused,
    ServiceError,
    TooLarge,
)
from facefusion.jobs.ledger import Upload
from facefusion.jobs.storage import hash_file
from facefusion.server.access import Principal, allows
from facefusion.server.assets import service_of
from facefusion.server.intake import Received, admit, drop, room_for, shown_name, working
from facefusion.server.pieces import pieces_of
from facefusion.server.problems import documented, status_of
from facefusion.server.state import Service, new_id
from facefusion.wording import counted
from facefusion.workplace import take

router = APIRouter(prefix="/v1", tags=["uploads"])
VERSION = "1.0.0"
EXPIRES_S = 24 * 3600.0
OPEN_UPLOADS = 1000
"""Uploads of a tenant that are begun and not done."""
EXTENSIONS = "creation,creation-with-upload,expiration,termination"
ASSET = "FaceFusion-Asset"
UploadPath = Annotated[str, FromPath(pattern=r"^[0-9a-f]{32}$")]
_BODY = {
    "requestBody": {
        "content": {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "required": False,
    }
}


def spoken(
    version: Annotated[str, Header(alias="Tus-Resumable", description="1.0.0")] = "",
    principal: Principal = Depends(allows("assets:write")),
) -> None:
    """Refuse another version of the protocol.

    Raises
    ------
    ServiceError
    """
    if version != VERSION:
        raise ServiceError(
            "This is tus 1.0.0, and Tus-Resumable does not say so.", f"Send Tus-Resumable: {VERSION}.",
            code="tus_version", status=412,
        )  # fmt: skip


@router.options("/uploads", status_code=204, summary="What is spoken here", responses=documented())
def options(request: Request, response: Response, principal: Principal = Depends(allows("assets:write"))) -> None:
    """Version, extensions and the largest file, in headers."""
    response.headers.update({
        "Tus-Resumable": VERSION, "Tus-Version": VERSION, "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(service_of(request).config.upload_bytes),
    })  # fmt: skip


@router.post(
    "/uploads",
    status_code=201,
    summary="Begin an upload",
    dependencies=[Depends(spoken)],
    openapi_extra=_BODY,
    responses=documented(408, 409, 412, 413, 415, 507),
)
async def create(
    request: Request,
    response: Response,
    length: Annotated[str, Header(alias="Upload-Length", max_length=20, pattern=r"^[0-9]+$")],
    metadata: Annotated[str, Header(alias="Upload-Metadata", max_length=4096)] = "",
    principal: Principal = Depends(allows("assets:write")),
) -> None:
    """`Upload-Length` says how long the file is; it is refused now if that is too long."""
    service, size = service_of(request), int(length)
    for name in ("Upload-Concat", "Upload-Defer-Length"):
        if name in request.headers:
            raise RequestRefused(f"{name} is of an extension that is not spoken here.", "See OPTIONS /v1/uploads.")
    if not size:
        raise RequestRefused("An empty file is no asset.", "Send one with bytes.")
    await run_in_threadpool(room_for, service, principal.tenant, size)
    if await run_in_threadpool(service.ledger.open_uploads, principal.tenant) >= OPEN_UPLOADS:
        raise LimitReached(
            f"{counted(OPEN_UPLOADS, 'upload is', 'uploads are')} begun and not done.",
            "Go on with them, or take them away.", 60.0, "uploads",
        )  # fmt: skip
    now = service.ledger.now()
    upload = Upload(
        new_id(), principal.tenant, shown_name(_filename(metadata)), size, "", now, now + EXPIRES_S
    )  # fmt: skip
    pieces = pieces_of(service)
    pieces.begin(upload)
    try:
        await run_in_threadpool(service.ledger.add_upload, upload)
    except BaseException:
        pieces.remove(upload)
        raise
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    response.headers["Tus-Resumable"] = VERSION
    if request.headers.get("content-type") == "application/offset+octet-stream":
        await _append(service, upload, 0, request, response)
    response.headers["Upload-Expires"] = formatdate(upload.expires_at, usegmt=True)


def _filename(metadata: str) -> str:
    """The name in ``Upload-Metadata``.

    Raises
    ------
    RequestRefused
    """
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key in ("filename", "name"):
            try:
                return base64.b64decode(value, validate=True).decode("utf-8", "replace")
            except (ValueError, binascii.Error) as error:
                raise RequestRefused("Upload-Metadata is not base64.", "See tus.io.") from error
    return ""


@router.head(
    "/uploads/{upload_id}",
    summary="How far an upload is",
    dependencies=[Depends(spoken)],
    responses=documented(404, 410, 412),
)
def head(
    request: Request, response: Response, upload_id: UploadPath, principal: Principal = Depends(allows("assets:write"))
) -> Response:
    """`Upload-Offset` says where to go on; `FaceFusion-Asset` what became of it."""
    service = service_of(request)
    upload = _find(service, principal, upload_id)
    headers = {
        "Tus-Resumable": VERSION, "Upload-Offset": str(_offset(service, upload)),
        "Upload-Length": str(upload.size_bytes), "Upload-Expires": formatdate(upload.expires_at, usegmt=True),
        "Cache-Control": "no-store",
    }  # fmt: skip
    if upload.asset_id:
        headers[ASSET] = upload.asset_id
    return Response(status_code=200, headers=headers)


@router.patch(
    "/uploads/{upload_id}",
    status_code=204,
    summary="Go on with an upload",
    dependencies=[Depends(spoken)],
    openapi_extra=_BODY,
    responses=documented(404, 408, 409, 410, 412, 413, 415, 507),
)
async def patch(
    request: Request,
    response: Response,
    upload_id: UploadPath,
    offset: Annotated[str, Header(alias="Upload-Offset", max_length=20, pattern=r"^[0-9]+$")],
    principal: Principal = Depends(allows("assets:write")),
) -> None:
    """`Upload-Offset` has to be where the upload is; the last piece makes the asset (`FaceFusion-Asset`)."""
    service = service_of(request)
    if request.headers.get("content-type") != "application/offset+octet-stream":
        raise KindRefused("A piece is application/offset+octet-stream.", "Send that Content-Type.")
    upload = await run_in_threadpool(_find, service, principal, upload_id)
    await _append(service, upload, int(offset), request, response)


@router.delete(
    "/uploads/{upload_id}", status_code=204, summary="Take an upload away", dependencies=[Depends(spoken)],
    responses=documented(404, 410, 412, 423),
)  # fmt: skip
def delete(
    request: Request, response: Response, upload_id: UploadPath, principal: Principal = Depends(allows("assets:write"))
) -> None:
    """What has come of it is gone then; an asset that was made of it stays."""
    service = service_of(request)
    upload = _find(service, principal, upload_id)
    pieces_of(service).remove(upload)
    service.ledger.remove_upload(upload.id)
    response.headers["Tus-Resumable"] = VERSION


def _find(service: Service, principal: Principal, upload_id: str) -> Upload:
    upload = service.ledger.get_upload(principal.tenant, upload_id)
    if service.ledger.now() > upload.expires_at:
        raise ServiceError(f"Upload {upload_id} has expired.", "Begin again.", code="expired", status=410)
    return upload


def _offset(service: Service, upload: Upload) -> int:
    return upload.size_bytes if upload.asset_id else pieces_of(service).offset(upload)


async def _append(service: Service, upload: Upload, offset: int, request: Request, response: Response) -> None:
    """Write a piece; what came before a connection was cut stays."""
    response.headers["Tus-Resumable"] = VERSION
    # Two pieces at once to two services do no harm: see `StoredPieces`.
    lock = await run_in_threadpool(take, service.path_of_upload(f"{upload.id}.lock"))
    if lock is None:
        raise Conflict(f"Another piece of upload {upload.id} is just coming.", "Ask with HEAD where it is, then go on.")
    try:
        upload = await run_in_threadpool(service.ledger.get_upload, upload.tenant, upload.id)
        there = await run_in_threadpool(_offset, service, upload)
        if offset != there:
            raise Conflict(
                f"Upload {upload.id} is at {there}, not at {offset}.", "Ask with HEAD where it is, then go on."
            )
        announced = int(request.headers.get("content-length") or 0)
        if offset + announced > upload.size_bytes:
            raise TooLarge(
                f"This piece goes beyond what was announced, {counted(upload.size_bytes, 'byte')}.",
                "Send what is left.",
            )
        if upload.asset_id:
            response.headers[ASSET] = upload.asset_id
        else:
            there = await pieces_of(service).write(upload, there, request.stream())
            if there == upload.size_bytes:
                response.headers[ASSET] = await service.take_time(_finish, service, upload)
        response.headers["Upload-Offset"] = str(there)
        response.headers["Upload-Expires"] = formatdate(upload.expires_at, usegmt=True)
    finally:
        lock.release(is_removing=True)


def _finish(service: Service, upload: Upload) -> str:
    """Make the asset. What is refused is taken away with its upload; where the service is to blame it stays whole, and
    an empty piece at its end tries again.
    """
    pieces = pieces_of(service)
    with working(service) as folder:
        whole = folder / "content"
        pieces.collect(upload, whole)
        try:
            received = Received(whole, upload.size_bytes, hash_file(whole))
            asset = admit(service, upload.tenant, received, upload.name)
        except BaseException as error:
            is_to_blame = isinstance(error, FaceFusionError) and status_of(error) < 500
            if is_to_blame or not pieces.is_kept(upload):
                pieces.remove(upload)
                service.ledger.remove_upload(upload.id)
            raise
    now = service.ledger.get_upload(upload.tenant, upload.id)
    if now.asset_id:  # another service was sent the last piece, too
        drop(service, service.ledger.remove_asset(upload.tenant, asset.id))
        return now.asset_id
    service.ledger.change_upload(upload.id, asset_id=asset.id)
    pieces.remove(upload)
    return asset.id
