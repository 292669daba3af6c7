"""Where shots begin in a clip: looked for once, a piece at a time, between what others ask of the same process."""

import threading
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from facefusion.errors import FaceFusionError, RecipeError, own_error
from facefusion.jobs.ledger import Asset
from facefusion.recipe import build_recipe
from facefusion.server.access import Principal, allows
from facefusion.server.assets import AssetPath, service_of
from facefusion.server.bodies import ErrorBody
from facefusion.server.intake import key_folder, working
from facefusion.server.problems import documented
from facefusion.server.state import Service

PIECE_S = 8.0
"""Of the clip, at a time."""
LOOK_S = 300.0
MOST_S = 1800.0
"""Longer clips are not looked through for this; their jobs find shots anyway."""
FOUND = "shots.json"
router = APIRouter(prefix="/v1", tags=["looks"])


class Shots(BaseModel):
    """Where shots begin."""

    state: Literal["finding", "known", "failed"]
    shots: list[float] = Field(default_factory=list, description="seconds; the first begins with the clip")
    is_whole: bool = Field(default=True, description="false where the clip is too long to be looked through")
    error: ErrorBody | None = None


class ShotFinder:
    """Looks for shots in clips, each once.

    Parameters
    ----------
    service
        Whose clips.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    def find(self, asset: Asset) -> Shots:
        """What is known of the shots in a clip; looking for them is begun where nobody has."""
        length_s = float(asset.about.get("duration_s") or 0.0)
        if asset.kind == "photo":
            return Shots(state="known", shots=[0.0])
        if length_s > MOST_S:
            return Shots(state="known", is_whole=False)
        try:
            with self._service.storage.local(f"{key_folder(asset.tenant, asset.id)}{FOUND}") as path:
                return Shots.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            pass
        with self._lock:
            is_new = asset.id not in self._busy
            self._busy.add(asset.id)
        if is_new:
            threading.Thread(target=self._look, args=(asset, length_s), name="shots", daemon=True).start()
        return Shots(state="finding")

    def _look(self, asset: Asset, length_s: float) -> None:
        service = self._service
        try:
            found = self._find(asset, length_s)
            with working(service) as place:
                record = place / FOUND
                record.write_text(found.model_dump_json(), encoding="utf-8")
                folder = key_folder(asset.tenant, asset.id)
                if service.ledger.find_asset(asset.tenant, asset.id) is not None:
                    service.storage.put(f"{folder}{FOUND}", record)
                if service.ledger.find_asset(asset.tenant, asset.id) is None:  # deleted meanwhile
                    service.storage.delete(folder)
        except FaceFusionError:  # whoever asks again begins again
            return
        finally:
            with self._lock:
                self._busy.discard(asset.id)

    def _find(self, asset: Asset, length_s: float) -> Shots:
        from facefusion.service.shots import find_shots

        service = self._service
        shots: list[float] = []
        last: Any = None
        at_s = 0.0
        try:
            with service.storage.local(asset.key) as target:
                recipe = build_recipe({"target_path": target, "allow_8bit": True, **service.config.execution})
                while at_s < length_s:
                    piece = service.studio.call(find_shots, LOOK_S, recipe, at_s, at_s + PIECE_S, last)
                    shots += piece.shots_s
                    last = piece.last
                    at_s += PIECE_S
        except FaceFusionError as error:
            if error.retryable:
                raise
            known = own_error(error)
            told = {
                "code": known.code,
                "message": known.message.replace(str(service.config.folder), "…"),
                "hint": known.hint,
            }
            return Shots(state="failed", error=ErrorBody.of(told))
        return Shots(state="known", shots=shots)


@router.get(
    "/assets/{asset_id}/shots",
    response_model=Shots,
    summary="Shots of a clip",
    responses={202: {"model": Shots, "description": "They are being looked for; ask again"}, **documented(404)},
)
def shots(request: Request, asset_id: AssetPath, principal: Principal = Depends(allows("assets:read"))) -> Any:
    """The first time they are asked for, they are looked for: 202 until it is known."""
    service = service_of(request)
    asset = service.ledger.get_asset(principal.tenant, asset_id)
    if asset.kind == "sound":
        raise RecipeError("There are no shots in a sound.", "Choose a photo or a clip.")
    found = request.app.state.shots.find(asset)
    if found.state == "finding":
        return JSONResponse(found.model_dump(mode="json"), 202, {"Retry-After": "2"})
    return found
