"""FairFace: age, gender and appearance from an aligned crop."""

from __future__ import annotations

from collections.abc import Sequence

from facefusion.imaging.resample import cut
from facefusion.imaging.templates import align_to
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.face import Attributes
from facefusion.types.frame import Pixels

AGES = ((0, 3), (3, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 60), (60, 70), (70, 101))
"""Half-open, so that every age is in one of them."""
RACES = ("white", "black", "latino", "asian", "asian", "indian", "arabic")
GENDERS = ("male", "female")


class FairfaceClassifier:
    """Three numbers per face: appearance, gender and age, each already decided in the graph.

    References
    ----------
    Kärkkäinen and Joo, FairFace, WACV 2021.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def classify(self, pixels: Sequence[Pixels], points: Sequence[FloatArray]) -> list[Attributes]:
        """See `facefusion.plugins.protocols.Classifier`."""
        prepared = self._session.spec.preprocess
        crops = [
            cut(picture, align_to(five, prepared.template, prepared.size), prepared.size)
            for picture, five in zip(pixels, points, strict=True)
        ]
        race, gender, age = self._session.run_batch({"#0": to_tensor(crops, prepared.mean, prepared.std)})
        return [
            Attributes(
                AGES[int(a) % len(AGES)],
                GENDERS[int(g) == 1],
                RACES[int(r)] if 0 <= int(r) < len(RACES) else "white",
            )
            for r, g, a in zip(race.ravel(), gender.ravel(), age.ravel(), strict=True)
        ]


def build(context: EngineContext) -> FairfaceClassifier:
    """Builder named in the entry point."""
    return FairfaceClassifier(context.session(context.model))
