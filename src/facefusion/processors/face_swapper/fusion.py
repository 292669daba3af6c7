"""The embedded fusion network: light, colour and edge of a swapped face made to fit its frame.

It gives a smooth field of gains and offsets and a mask that can only shrink, found at 128 pixels and laid over the crop
at its own size, so detail stays as it was. Of the target it sees what surrounds the face, and a blur of what is inside.
"""

from __future__ import annotations

import numpy as np

from facefusion.imaging.align import compose, invert, mesh_crop
from facefusion.imaging.resample import cut, warp
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.frame import Pixels

SIZE, FIELD, KEEP = 128, 8, 64
MARGIN = 1.25
"""Side of the crop over the longer side of the mesh, as in training."""
OFFSET = 0.25
"""Offsets of the network are shares of this share of white."""


class Fusion:
    """Harmonises one swapped crop at a time.

    Parameters
    ----------
    session
        A session of ``face_fusion_embedded``.
    strength
        0 leaves the swap as it is, 1 takes all that the network says.
    """

    def __init__(self, session: Session, strength: float) -> None:
        self._session, self._strength = session, strength

    def fit(
        self,
        over: Pixels,
        alpha: FloatArray,
        over_from_crop: FloatArray,
        target: Pixels,
        mesh: FloatArray,
        colourfulness: float = 1.0,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What to do to a swapped picture and its mask so that both fit.

        Parameters
        ----------
        over
            (h, w, 3) uint8 RGB crop after the swap, which may be reduced: the network sees 128 pixels of it.
        alpha
            (h, w) float32, 0 to 1.
        over_from_crop
            (2, 3) affine from pixels of ``target`` to those of ``over``.
        target
            (H, W, 3) uint8 RGB crop before the swap.
        mesh
            (478, 3) in crop pixels.
        colourfulness
            0 for a target without colour, whose face gets none either; 1 for any other.

        Returns
        -------
        Gains and offsets for bytes, (h, w, 3) each, and the factor for alpha, (h, w).
        """
        small_from_crop = mesh_crop(mesh, SIZE, MARGIN)
        small_from_over = compose(small_from_crop, invert(over_from_crop))
        height, width = alpha.shape
        field, keep = self._session.run(
            {
                "over": to_tensor([cut(over, small_from_over, SIZE)]),
                "alpha": cut(alpha, small_from_over, SIZE, is_border_black=True)[None, None],
                "target": to_tensor([cut(target, small_from_crop, SIZE)]),
            }
        )
        planes = field[0].transpose(1, 2, 0) * np.float32(self._strength)
        if colourfulness < 1:
            three = planes.reshape(FIELD, FIELD, 2, 3)
            grey = three.mean(axis=-1, keepdims=True)
            planes = (grey + (three - grey) * np.float32(colourfulness)).reshape(FIELD, FIELD, 6)
        back = invert(small_from_over)
        gains, offsets = (
            warp(np.ascontiguousarray(part), compose(back, _from_grid(FIELD)), width, height, is_border_black=False)
            for part in (np.exp(planes[..., :3]), planes[..., 3:] * np.float32(OFFSET * 255))
        )
        kept = warp(
            1 - (1 - keep[0, 0]) * np.float32(self._strength),
            compose(back, _from_grid(KEEP)), width, height, is_border_black=False,
        )  # fmt: skip
        # Only the soft edge may shrink: inside, the face is the source's.
        soft = np.clip((0.9 - alpha) * np.float32(1 / 0.4), 0, 1)
        return gains, offsets, np.asarray(1 - (1 - kept) * soft, dtype=np.float32)


def _from_grid(side: int) -> FloatArray:
    """(2, 3) affine from cells of a grid over the small crop to its pixels."""
    step = SIZE / side
    return np.array([[step, 0, step / 2 - 0.5], [0, step, step / 2 - 0.5]], dtype=np.float32)


def build_fusion(context: EngineContext) -> Fusion | None:
    """The network as a recipe asks for it, or None where it does not."""
    strength = context.options.fusion
    return Fusion(context.session("face_fusion_embedded"), strength) if strength > 0 else None
