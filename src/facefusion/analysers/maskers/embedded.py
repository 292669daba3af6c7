"""The embedded mask networks: what is face, what lies before it, which part it is, and what glasses hide of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.align import compose, eye_band, invert, mesh_crop, transform
from facefusion.imaging.glasses import NEVER_WORN, evidence_of, hidden_by, whole_frame
from facefusion.imaging.resample import cut, warp
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray, opens, sees_glasses
from facefusion.recipe import MASK_REGIONS
from facefusion.types.face import Face
from facefusion.types.frame import Pixels

SIZE = 128
CLASSES = ("other", *MASK_REGIONS, "hair")
"""Channels of the network's output: everything that is not face, FaceFusion's regions, hair over the face."""
_COVERED = ("other", "glasses", "hair")
_GLASSES = CLASSES.index("glasses")
GLASSES_MODEL = "face_glasses_embedded"
ENOUGH = 0.6
"""Chance of uncovered face that counts as all of it. Masks are drawn inwards where they are used
(`facefusion.imaging.masks.soften`), so without this brows, beard and outline would be lost with what is doubtful."""
GLASSES = 0.6
"""Chance of glasses that leaves no face: thin frames are never sure at this size, and missed at once."""
_HALF = (0.5, 0.5, 0.5)
BAND = (192, 96)
"""Width and height of the band around the eyes in which frames of glasses are told from what one sees through them."""
_WORN = (0.25, 0.6)
"""Highest chance of glasses from which somebody wears none, and some for sure."""
_RIM = 6
"""Width in pixels over which a band fades, so that no step is left where frames leave it."""


class GlassesFinder:
    """Finds what glasses hide of a face: frames, dark lenses, glare; not what one sees through clear ones.

    Parameters
    ----------
    session
        A session of ``face_glasses_embedded``; see ``docs/models/face_glasses_embedded.md``.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        width, height = BAND
        x, y = (np.minimum(np.arange(n) + 1, n - np.arange(n)) / np.float32(_RIM) for n in (width, height))
        self._fade = np.clip(np.minimum(x[None], y[:, None]), 0, 1).astype(np.float32)

    def reach(self, small_from_band: FloatArray) -> FloatArray:
        """(S, S) float32, 1 inside the band around the eyes, in the picture that the mask network sees."""
        return warp(self._fade, small_from_band, SIZE, SIZE, is_border_black=True)

    def find(
        self,
        crop: Pixels,
        face: Face,
        band_from_crop: FloatArray,
        coarse: FloatArray | None = None,
        dark: float = 0.0,
    ) -> FloatArray:
        """(H, W) float32, 0 to 1: the share of each pixel that glasses hide; 0 outside of the band.

        Parameters
        ----------
        crop
            (H, W, 3) uint8 RGB.
        face
            In pixels of the crop.
        band_from_crop
            (2, 3) affine to the band around its eyes.
        coarse
            (96, 192) chances of glasses that the mask network finds in the band, where somebody is known to wear some;
            None where that is not known.
        dark
            How far their lenses are known to be dark, 0 to 1.
        """
        points = transform(band_from_crop, face.mesh[:, :2])
        chances = self.chances(crop, band_from_crop)
        hidden = hidden_by(chances, points) if coarse is None else whole_frame(chances, coarse, points, dark)
        hidden = hidden * self._fade
        return warp(hidden, invert(band_from_crop), crop.shape[1], crop.shape[0], is_border_black=True)

    def chances(self, crop: Pixels, band_from_crop: FloatArray) -> FloatArray:
        """(96, 192) float32, 0 to 1: what the network says of each pixel of a band around the eyes of a crop."""
        width, height = BAND
        band = cut(crop, band_from_crop, width, height=height)
        (chances,) = self._session.run({"image": to_tensor([band], _HALF, _HALF)})
        return np.asarray(chances[0, 0], dtype=np.float32)


class EmbeddedMasker:
    """Adds up the chances of some classes; see ``docs/models/face_occluder_embedded.md``.

    Parameters
    ----------
    session
        A session of ``face_occluder_embedded`` or ``face_parser_embedded``, which share one file.
    names
        Classes that count.
    enough
        Sum of chances that counts as 1.
    glasses
        Chance of glasses that leaves nothing; None where they do not count by themselves.
    finder
        Who tells the frames of glasses from what one sees through them; None for nobody.
    """

    def __init__(
        self,
        session: Session,
        names: Sequence[str],
        enough: float = 1.0,
        glasses: float | None = None,
        finder: GlassesFinder | None = None,
    ) -> None:
        self._session, self._enough, self._glasses, self._finder = session, enough, glasses, finder
        self._rows = [CLASSES.index(name) for name in names]

    def mask(self, crops: Sequence[Pixels], faces: Sequence[Face]) -> list[FloatArray]:
        """See `facefusion.plugins.protocols.Masker`."""
        affines, chances = self._look(crops, faces)
        return [self._laid(one, affine, crop) for one, affine, crop in zip(chances, affines, crops, strict=True)]

    def mask_with_lines(
        self, crops: Sequence[Pixels], faces: Sequence[Face]
    ) -> list[tuple[FloatArray, FloatArray | None]]:
        """See `facefusion.plugins.protocols.LineMasker`."""
        affines, chances = self._look(crops, faces)
        return [
            self._apart(one, affine, crop, face)
            for one, affine, crop, face in zip(chances, affines, crops, faces, strict=True)
        ]

    def _look(self, crops: Sequence[Pixels], faces: Sequence[Face]) -> tuple[list[FloatArray], FloatArray]:
        """Affines to what the network sees, and (N, C, S, S) chances."""
        affines = [mesh_crop(face.mesh, SIZE) for face in faces]
        small = [cut(crop, affine, SIZE) for crop, affine in zip(crops, affines, strict=True)]
        (chances,) = self._session.run({"image": to_tensor(small, _HALF, _HALF)})
        return affines, chances

    def _apart(
        self, chances: FloatArray, affine: FloatArray, crop: Pixels, face: Face
    ) -> tuple[FloatArray, FloatArray | None]:
        if self._finder is None:
            return self._laid(chances, affine, crop), None
        band_from_crop = eye_band(face.mesh, *BAND)
        reach = self._finder.reach(compose(affine, invert(band_from_crop)))
        rise = (float((chances[_GLASSES] * reach).max()) - _WORN[0]) / (_WORN[1] - _WORN[0])
        if face.glasses is not None:
            return self._known(chances, affine, crop, face, band_from_crop, reach, face.glasses, rise)
        if rise <= 0:
            return self._laid(chances, affine, crop), None
        worn = np.float32(min(rise, 1.0))
        return self._laid(chances, affine, crop, reach * worn), 1 - self._finder.find(crop, face, band_from_crop) * worn

    def _known(
        self,
        chances: FloatArray,
        affine: FloatArray,
        crop: Pixels,
        face: Face,
        band_from_crop: FloatArray,
        reach: FloatArray,
        glasses: tuple[float, float],
        rise: float,
    ) -> tuple[FloatArray, FloatArray | None]:
        """The same where a track tells whether glasses are worn: what a frame alone finds of any comes and goes."""
        worn, dark = glasses
        # Who wears none is masked as ever, but for what is taken for glasses.
        counted = max(worn, min(rise, 1.0))
        mask = self._laid(chances, affine, crop, reach * np.float32(counted) if counted > 0 else None)
        if worn <= 0 or self._finder is None:
            return mask, None
        coarse = _in_band(chances[_GLASSES], compose(band_from_crop, invert(affine)))
        return mask, 1 - self._finder.find(crop, face, band_from_crop, coarse, dark) * np.float32(worn)

    def see_glasses(self, pixels: Pixels, face: Face) -> tuple[float, float]:
        """See `facefusion.plugins.protocols.SeesGlasses`."""
        if self._finder is None:
            return 0.0, 0.0
        band_from_frame = eye_band(face.mesh, *BAND)
        affines, chances = self._look([pixels], [face])
        coarse = _in_band(chances[0, _GLASSES], compose(band_from_frame, invert(affines[0])))
        if float(coarse.max()) < NEVER_WORN:
            return 0.0, 0.0
        fine = self._finder.chances(pixels, band_from_frame)
        return evidence_of(fine, coarse, transform(band_from_frame, face.mesh[:, :2]))

    def _laid(
        self, chances: FloatArray, affine: FloatArray, crop: Pixels, seen: FloatArray | None = None
    ) -> FloatArray:
        """(H, W) mask of a crop; where something else sees to glasses, they count as face."""
        found = chances[self._rows].sum(axis=0)
        glasses = chances[_GLASSES]
        if seen is not None:
            found, glasses = found + glasses * seen, glasses * (1 - seen)
        found = np.clip(found / np.float32(self._enough), 0, 1)
        if self._glasses is not None:
            found = np.minimum(found, 1 - np.clip(glasses / np.float32(self._glasses), 0, 1))
        height, width = crop.shape[:2]
        return warp(np.ascontiguousarray(found), invert(affine), width, height, is_border_black=True)


def _in_band(chances: FloatArray, band_from_small: FloatArray) -> FloatArray:
    return warp(np.ascontiguousarray(chances), band_from_small, *BAND, is_border_black=True)


@sees_glasses
@opens(lambda _: ("face_occluder_embedded", GLASSES_MODEL))
def build_occluder(context: EngineContext) -> EmbeddedMasker:
    """Builder of the mask of uncovered face."""
    names = [name for name in CLASSES if name not in _COVERED]
    finder = GlassesFinder(context.session(GLASSES_MODEL))
    return EmbeddedMasker(context.session("face_occluder_embedded"), names, ENOUGH, GLASSES, finder)


def build_parser(context: EngineContext) -> EmbeddedMasker:
    """Builder of the mask of chosen regions."""
    return EmbeddedMasker(context.session("face_parser_embedded"), context.recipe.face_mask_regions)
