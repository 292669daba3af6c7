"""Several detectors at once: a face that one of them sees is found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.errors import ModelMissing
from facefusion.imaging.boxes import suppress
from facefusion.plugins.protocols import Detector, EngineContext, opens
from facefusion.plugins.registry import build_engine
from facefusion.types.face import Detection
from facefusion.types.frame import Pixels

MODELS = ("retinaface", "scrfd", "yolo_face", "yunet")
MAX_OVERLAP = 0.3


class ManyDetectors:
    """Joins what several detectors find; of two boxes on one face the surer stays."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)

    def detect(self, pixels: Sequence[Pixels]) -> list[list[Detection]]:
        """See `facefusion.plugins.protocols.Detector`."""
        by_detector = [detector.detect(pixels) for detector in self._detectors]
        joined = []
        for found in zip(*by_detector, strict=True):
            every = [detection for part in found for detection in part]
            if every:
                boxes, scores = np.stack([d.box for d in every]), np.array([d.score for d in every])
                every = [every[k] for k in suppress(boxes, scores, MAX_OVERLAP)]
            joined.append(every)
        return joined


def find_models(context: EngineContext) -> list[str]:
    """The embedded detector and every other one that is here and allowed.

    Raises
    ------
    ModelMissing
        When none of the others is here; the embedded one alone needs no such name.
    """
    from facefusion.models.licences import is_allowed

    store = context.store
    catalog = store.catalog()
    here = [
        name
        for name in MODELS
        if name in catalog and is_allowed(catalog[name], context.recipe.licences) and store.find(catalog[name])
    ]
    if not here:
        raise ModelMissing(
            f"Detector 'many' joins the embedded one with {', '.join(MODELS)}, and none of them is here.",
            f"Get one with: facefusion models fetch {MODELS[-1]}",
        )
    return ["face_detector_embedded", *here]


@opens(find_models)
def build(context: EngineContext) -> ManyDetectors:
    """Builder named in the entry point.

    Raises
    ------
    ModelMissing
    """
    names = ["embedded" if name == "face_detector_embedded" else name for name in find_models(context)]
    return ManyDetectors([build_engine("face_detector", name, context) for name in names])
