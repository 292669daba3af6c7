"""Where shots begin in a clip: looked for once, a piece at a time, between what others ask of the same process."""

from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from facefusion.errors import RecipeError
from facefusion.jobs.ledger import Asset
from facefusion.recipe import build_recipe
from facefusion.server.access import Principal, allows
from facefusion.server.assets import AssetPath, service_of
from facefusion.server.bodies import ErrorBody
from facefusion.server.finder import Finder
from facefusion.server.problems import documented

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


class ShotFinder(Finder[Shots]):
    """Looks for shots in clips."""

    record = FOUND

    def find(self, asset: Asset) -> Shots:
        """What is known of the shots in a clip; looking for them is begun where nobody has."""
        if asset.kind == "photo":
            return Shots(state="known", shots=[0.0])
        if _length_s(asset) > MOST_S:
            return Shots(state="known", is_whole=False)
        found = self.known(asset)
        if found is None:
            self.begin(asset)
        return found or Shots(state="finding")

    def read(self, asset: Asset, text: str) -> Shots:
        """See `Finder`."""
        return Shots.model_validate_json(text)

    def look(self, asset: Asset, place: Path) -> str:
        """See `Finder`."""
        from facefusion.service.shots import find_shots

        service = self.service
        shots: list[float] = []
        last: Any = None
        at_s = 0.0
        with service.storage.local(asset.key) as target:
            recipe = build_recipe({"target_path": target, "allow_8bit": True, **service.config.execution})
            while at_s < _length_s(asset):
                piece = service.studio.call(find_shots, LOOK_S, recipe, at_s, at_s + PIECE_S, last)
                shots += piece.shots_s
                last = piece.last
                at_s += PIECE_S
        return Shots(state="known", shots=shots).model_dump_json()

    def failed(self, told: dict[str, str]) -> str:
        """See `Finder`."""
        return Shots(state="failed", error=ErrorBody.of(told)).model_dump_json()


def _length_s(asset: Asset) -> float:
    return float(asset.about.get("duration_s") or 0.0)


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
