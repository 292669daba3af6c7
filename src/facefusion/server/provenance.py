"""Routes that tell what a file says of how it was made."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from facefusion.errors import NotThere
from facefusion.jobs.ledger import Asset
from facefusion.policy.signing import Signing
from facefusion.server.access import Principal, allows
from facefusion.server.assets import AssetPath, service_of
from facefusion.server.guard import CSP_OF_FILES
from facefusion.server.intake import key_folder
from facefusion.server.problems import documented
from facefusion.server.state import Service

VERIFY_S = 300.0
MANIFEST = "manifest.c2pa"
"""Where the manifest of an output is kept that cannot hold one."""
router = APIRouter(prefix="/v1", tags=["assets"])
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The manifest",
        "content": {"application/c2pa": {"schema": {"type": "string", "format": "binary"}}},
    },
    **documented(404),
}


class SignatureBody(BaseModel):
    """Who signed."""

    model_config = ConfigDict(title="Signature")

    organisation: str
    name: str
    serial: str
    algorithm: str
    at: str = Field(description="when, where a time authority vouches for it")


class ModelUsed(BaseModel):
    """A model that ran."""

    id: str
    licence: str
    sha256: str


class IngredientBody(BaseModel):
    """What a file was made of."""

    model_config = ConfigDict(title="Ingredient")

    role: str = Field(description="parentOf for the target, inputTo for sources")
    sha256: str = Field(description="empty where it is not told")
    manifest: str = Field(description="label of its own manifest, which is kept in this one")


class ProvenanceBody(BaseModel):
    """What a file says of how it was made."""

    model_config = ConfigDict(title="Provenance")

    state: Literal["trusted", "valid", "tampered", "marked-only", "none"]
    is_own: bool = Field(description="whether this service signed it")
    is_beside: bool = Field(description="whether the manifest is a file of its own: GET …/provenance/manifest")
    manifest: str
    signature: SignatureBody | None
    software: str
    version: str
    actions: list[str]
    digital_source_type: str
    when: str
    models: list[ModelUsed]
    ingredients: list[IngredientBody]
    recipe: dict[str, Any]
    job: str
    policy: dict[str, Any] | None
    watermark: str
    unsigned_sha256: str
    problems: list[str]


def look(path: str, sidecar: str, signing: Signing, known: list[str] | None) -> dict[str, Any]:
    """What a file says, as plain values; done in a process of its own. Without a list no mark is looked for."""
    from facefusion.service.provenance import find_mark, verify_file

    # Looking for a mark takes seconds, and nobody waits for that where none are set.
    beside, look_for = Path(sidecar) if sidecar else None, find_mark if known is not None else None
    found = verify_file(Path(path), None, signing, look_for, beside, known_marks=lambda: known or ()).as_dict()
    del found["file"]
    return found


@router.get(
    "/assets/{asset_id}/provenance", response_model=ProvenanceBody, summary="How a file was made",
    responses=documented(404),
)  # fmt: skip
async def provenance(
    request: Request, asset_id: AssetPath, principal: Principal = Depends(allows("assets:read"))
) -> ProvenanceBody:
    """What its manifest says, and whether the file was changed since it was signed."""
    service = service_of(request)
    return await service.take_time(_provenance, service, principal.tenant, asset_id)


def _provenance(service: Service, tenant: str, asset_id: str) -> ProvenanceBody:
    asset = service.ledger.get_asset(tenant, asset_id)
    with ExitStack() as stack:
        try:
            path = stack.enter_context(service.storage.local(asset.key))
        except FileNotFoundError as error:
            raise NotThere(f"The file of asset {asset.id} is gone.", "Upload it again.") from error
        sidecar = _manifest(service, asset, stack)
        site = service.config.backend.policy
        given = str(path), str(sidecar or ""), site.signing
        found = service.studio.call(look, VERIFY_S, *given, None)
        if found["state"] == "none" and site.is_marked:
            found = service.studio.call(look, VERIFY_S, *given, list(service.jobs.marks()))
    if found["state"] == "marked-only" and found["is_own"]:
        found["job"] = service.jobs.find_marked(found["watermark"], tenant)
    if found["is_own"] and found["job"]:  # jobs of a service go by the names of its orders
        found["job"] = service.ledger.order_of(tenant, found["job"])
    return ProvenanceBody(**found)


@router.get(
    "/assets/{asset_id}/provenance/manifest", response_class=Response, summary="Manifest beside a file",
    responses=_CONTENT,
)  # fmt: skip
def manifest(request: Request, asset_id: AssetPath, principal: Principal = Depends(allows("assets:read"))) -> Response:
    """Of outputs that cannot hold it; keep it beside the file, with ``.c2pa`` behind its name."""
    service = service_of(request)
    asset = service.ledger.get_asset(principal.tenant, asset_id)
    with ExitStack() as stack:
        path = _manifest(service, asset, stack)
        if path is None:
            raise NotThere(f"Asset {asset_id} has no manifest beside it.", "See GET /v1/assets/{id}/provenance.")
        content = path.read_bytes()
    headers = {"Cache-Control": "private, no-cache", "Content-Security-Policy": CSP_OF_FILES}
    return Response(content, headers=headers, media_type="application/c2pa")


def _manifest(service: Service, asset: Asset, stack: ExitStack) -> Path | None:
    try:
        return stack.enter_context(service.storage.local(f"{key_folder(asset.tenant, asset.id)}{MANIFEST}"))
    except FileNotFoundError:
        return None
