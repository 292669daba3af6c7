"""Routes that look at targets: who is in them, and one frame as it will be."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as FromPath
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, create_model

from facefusion.errors import FaceFusionError, NotThere, RecipeError
from facefusion.jobs.ledger import Asset
from facefusion.jobs.storage import FolderStorage
from facefusion.server.access import Principal, allows
from facefusion.server.assets import AssetPath, service_of
from facefusion.server.bodies import ErrorBody, Faces, PersonBody
from facefusion.server.finder import Finder
from facefusion.server.guard import CSP_OF_FILES
from facefusion.server.intake import key_folder, working
from facefusion.server.jobs import JobPath
from facefusion.server.problems import documented
from facefusion.server.recipes import assets_of, output_suffix, plain, recipe_models, to_recipe
from facefusion.server.state import Service
from facefusion.server.studio import look_for_people, make_preview

LOOK_S = 600.0
PREVIEW_S = 180.0
FOUND = "faces/faces.json"
_FOUND_ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"model": Faces, "description": "They are being looked for; ask again"},
    **documented(404),
}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A picture", "content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}}},
    **documented(404),
}
plain_router = APIRouter(prefix="/v1", tags=["looks"])


class PeopleFinder(Finder[Faces]):
    """Looks for people in targets."""

    record = FOUND

    def find(self, asset: Asset) -> Faces:
        """What is known of the people in an asset; looking for them is begun where nobody has."""
        found = self.known(asset)
        if found is None:
            self.begin(asset)
        return found or Faces(state="finding")

    def wait_for(self, asset: Asset) -> Faces:
        """The same, when it is known."""
        found = self.known(asset)
        if found is None:
            self.find_out(asset)
            found = self.known(asset)
        return found or Faces(state="failed")

    def read(self, asset: Asset, text: str) -> Faces:
        """See `Finder`."""
        told = json.loads(text)
        if told.get("error"):
            return Faces(state="failed", error=ErrorBody.of(told["error"]))
        return Faces(
            state="known",
            people=[
                PersonBody(
                    face=str(one["number"]), frames=one["frames"], first_s=one["first_s"], last_s=one["last_s"],
                    best_s=one["best_s"], box=list(one["box"]), seen=one.get("seen", []),
                    picture=f"/v1/assets/{asset.id}/faces/{one['number']}",
                )
                for one in told["people"]
            ],
        )  # fmt: skip

    def look(self, asset: Asset, place: Path) -> str:
        """See `Finder`."""
        service = self.service
        with service.storage.local(asset.key) as target:
            pictures = place / "pictures"
            pictures.mkdir()
            options = {"target_path": target, "faces": "all", "allow_8bit": True, **service.config.execution}
            people = service.studio.call(look_for_people, LOOK_S, options, pictures, service.config.backend.policy)
            for path in sorted(pictures.iterdir()):
                service.storage.put(f"{key_folder(asset.tenant, asset.id)}faces/{path.name}", path)
        return json.dumps({"people": people})

    def failed(self, told: dict[str, str]) -> str:
        """See `Finder`."""
        return json.dumps({"error": told})


@plain_router.get(
    "/assets/{asset_id}/faces", response_model=Faces, summary="People in a target", responses=_FOUND_ANSWERS
)
def faces(request: Request, asset_id: AssetPath, principal: Principal = Depends(allows("assets:read"))) -> Any:
    """The first time they are asked for, they are looked for: 202 until it is known."""
    service = service_of(request)
    asset = service.ledger.get_asset(principal.tenant, asset_id)
    return _answer(request, asset)


def _answer(request: Request, asset: Asset) -> Any:
    if asset.kind == "sound":
        raise RecipeError("There are no faces in a sound.", "Choose a photo or a clip.")
    found = request.app.state.finder.find(asset)
    if found.state == "finding":
        return JSONResponse(found.model_dump(mode="json"), 202, {"Retry-After": "1"})
    return found


@plain_router.get(
    "/assets/{asset_id}/faces/{face}", response_class=Response, summary="Picture of a person", responses=_PICTURE
)
def face_picture(
    request: Request,
    asset_id: AssetPath,
    face: Annotated[str, FromPath(pattern=r"^[0-9]{1,6}$")],
    principal: Principal = Depends(allows("assets:read")),
) -> Response:
    """As they are seen best."""
    service = service_of(request)
    asset = service.ledger.get_asset(principal.tenant, asset_id)
    try:
        with service.storage.local(f"{key_folder(asset.tenant, asset.id)}faces/{face}.webp") as path:
            content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotThere(f"There is no face {face} in asset {asset_id}.", "See GET /v1/assets/{id}/faces.") from error
    headers = {"Cache-Control": "private, max-age=3600", "Content-Security-Policy": CSP_OF_FILES}
    return Response(content, headers=headers, media_type="image/webp")


@plain_router.get("/jobs/{job_id}/faces", response_model=Faces, summary="People of a job", responses=_FOUND_ANSWERS)
def faces_of_job(request: Request, job_id: JobPath, principal: Principal = Depends(allows("jobs:read"))) -> Any:
    """Those of its target."""
    service = service_of(request)
    order = service.ledger.get_order(principal.tenant, job_id)
    return _answer(request, service.ledger.get_asset(principal.tenant, order.request["recipe"]["target"]))


def build_router() -> APIRouter:
    """The routes, with bodies made of the processors that are installed."""
    router = APIRouter(prefix="/v1", tags=["looks"])
    fields: dict[str, Any] = {
        "recipe": (recipe_models().recipe, ...),
        "at_s": (Annotated[float, Field(ge=0, le=10_000_000)], Field(0.0, description="time in the output")),
        "size": (Annotated[int, Field(ge=64, le=4096)], Field(1280, description="longest side, px")),
        "show": (Literal["after", "before", "both"], Field("after", description="both: side by side")),
    }
    preview_request: Any = create_model(
        "PreviewRequest",
        __config__=ConfigDict(extra="forbid", allow_inf_nan=False),
        __doc__="One frame of what a recipe will make.",
        **fields,
    )

    @router.post(
        "/previews",
        response_class=Response,
        summary="One frame as it will be",
        responses={
            200: {
                "description": "A picture; its exact time is in FaceFusion-Time",
                "content": {
                    kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/webp", "image/jpeg")
                },
            },
            **documented(404, 409, 415),
        },
    )
    async def preview(
        request: Request, body: preview_request, principal: Principal = Depends(allows("jobs:write"))
    ) -> Response:
        """By the code of the final rendering. The second look at the same sources and target is faster."""
        accept = request.headers.get("accept", "")
        kind: Literal["webp", "jpeg"] = "jpeg" if "image/jpeg" in accept and "image/webp" not in accept else "webp"
        service = service_of(request)
        return await service.take_time(_preview, service, request.app.state.finder, principal.tenant, body, kind)

    return router


def _preview(service: Service, finder: PeopleFinder, tenant: str, body: Any, kind: Literal["webp", "jpeg"]) -> Response:
    asked = plain(body.recipe)
    assets = {asset_id: service.ledger.get_asset(tenant, asset_id) for asset_id in assets_of(asked)}
    target = assets[asked["target"]]
    if target.kind == "sound":
        raise RecipeError("The target is a sound.", "Choose a photo or a clip.")
    copies = LocalCopies(service)

    def face_of(asset_id: str, face: str) -> Path:
        finder.wait_for(assets[asset_id])
        return copies.path(f"{key_folder(tenant, asset_id)}faces/{face}.png", f"{asset_id}-{face}.png")

    def path_of(asset_id: str) -> Path:
        return copies.path(assets[asset_id].key, f"{asset_id}{Path(assets[asset_id].key).suffix}")

    output = Path(f"preview{output_suffix(target.kind, None)}")
    recipe = to_recipe(asked, path_of, output, face_of, None, service.config.execution)
    length_s = float(target.about.get("duration_s") or 0.0)
    try:
        content, time_s, notes, is_changed = service.studio.call(
            make_preview,
            PREVIEW_S,
            recipe,
            body.at_s,
            body.show,
            body.size,
            kind,
            length_s,
            service.config.backend.policy,
            tenant,
        )
    except FaceFusionError as error:
        for asset in assets.values():
            name = Path(asset.key).name
            error.message = error.message.replace(str(copies.path(asset.key, name)), asset.name)
            error.message = error.message.replace(name, asset.name)
        raise
    headers = {
        "FaceFusion-Time": f"{time_s:.6f}", "FaceFusion-Changed": "true" if is_changed else "false",
        "Cache-Control": "no-store", "Content-Security-Policy": CSP_OF_FILES,
    }  # fmt: skip
    if notes:
        headers["FaceFusion-Notes"] = " ".join(" ".join(notes).split()).encode("ascii", "replace").decode()
    return Response(content, headers=headers, media_type=f"image/{kind}")


class LocalCopies:
    """Files of the storage on this machine: the files themselves, or copies that are kept for a next look.

    Parameters
    ----------
    service
        Whose storage.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def path(self, key: str, name: str) -> Path:
        """Where a file is.

        Raises
        ------
        NotThere
        """
        storage = self._service.storage
        if isinstance(storage, FolderStorage):
            path = storage.path(key)
            if not path.is_file():
                raise NotThere(f"{name} is not there.", "It may have expired; upload it again.")
            return path
        goal = self._service.looked_at / name
        if not goal.is_file():
            try:
                with working(self._service) as place, storage.local(key) as path:
                    made = place / "copy"
                    shutil.copyfile(path, made)
                    made.replace(goal)
            except FileNotFoundError as error:
                raise NotThere(f"{name} is not there.", "It may have expired; upload it again.") from error
        with suppress(OSError):
            goal.touch()
        return goal
