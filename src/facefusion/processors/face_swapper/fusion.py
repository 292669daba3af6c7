"""The embedded fusion network: light, colour and edge of a swapped face made to fit its frame.

It gives a smooth field of gains and offsets and a mask that can only shrink, found at 128 pixels and laid over the crop
at its own size, so detail stays as it was. Of the target it sees what surrounds the face, and a blur of what is inside.
"""

from __future__ import annotations

import numpy as np

from facefusion.imaging.align import compose, invert, mesh_crop
from facefusion.imaging.light import regrade
from facefusion.imaging.resample import cut, enlarge_to, warp
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

    def fuse(
        self, over: Pixels, alpha: FloatArray, target: Pixels, mesh: FloatArray, colourfulness: float = 1.0
    ) -> tuple[Pixels, FloatArray]:
        """The swapped picture and its mask, both made to fit.

        Parameters
        ----------
        over, target
            (H, W, 3) uint8 RGB crop after and before the swap.
        alpha
            (H, W) float32, 0 to 1.
        mesh
            (478, 3) in crop pixels.
        colourfulness
            0 for a target without colour, whose face gets none either; 1 for any other.
        """
        small_from_crop = mesh_crop(mesh, SIZE, MARGIN)
        height, width = alpha.shape
        small_alpha = cut(alpha, small_from_crop, SIZE, is_border_black=True)
        field, keep = self._session.run(
            {
                "over": to_tensor([cut(over, small_from_crop, SIZE)]),
                "alpha": small_alpha[None, None],
                "target": to_tensor([cut(target, small_from_crop, SIZE)]),
            }
        )
        planes = field[0].transpose(1, 2, 0) * np.float32(self._strength)
        if colourfulness < 1:
            three = planes.reshape(FIELD, FIELD, 2, 3)
            grey = three.mean(axis=-1, keepdims=True)
            planes = (grey + (three - grey) * np.float32(colourfulness)).reshape(FIELD, FIELD, 6)
        gains, offsets = np.exp(planes[..., :3]), planes[..., 3:] * np.float32(OFFSET * 255)
        back = invert(small_from_crop)
        # The field is smooth: it is turned at a quarter of the size and enlarged.
        low_width, low_height = max(width // 4, 1), max(height // 4, 1)
        step = np.array([width / low_width, height / low_height], dtype=np.float32)
        low = np.array([[1 / step[0], 0, 0.5 / step[0] - 0.5], [0, 1 / step[1], 0.5 / step[1] - 0.5]], dtype=np.float32)
        low_from_grid = compose(low, compose(back, _from_grid(FIELD)))
        wide = [
            enlarge_to(
                warp(np.ascontiguousarray(part), low_from_grid, low_width, low_height, is_border_black=False),
                width,
                height,
            )
            for part in (gains, offsets)
        ]
        kept = warp(
            1 - (1 - keep[0, 0]) * np.float32(self._strength),
            compose(back, _from_grid(KEEP)), width, height, is_border_black=False,
        )  # fmt: skip
        # Only the soft edge may shrink: inside, the face is the source's.
        soft = np.clip((0.9 - alpha) * np.float32(1 / 0.4), 0, 1)
        return regrade(over, wide[0], wide[1]), np.asarray(alpha * (1 - (1 - kept) * soft), dtype=np.float32)


def _from_grid(side: int) -> FloatArray:
    """(2, 3) affine from cells of a grid over the small crop to its pixels."""
    step = SIZE / side
    return np.array([[step, 0, step / 2 - 0.5], [0, step, step / 2 - 0.5]], dtype=np.float32)


def build_fusion(context: EngineContext) -> Fusion | None:
    """The network as a recipe asks for it, or None where it does not."""
    strength = context.options.fusion
    return Fusion(context.session("face_fusion_embedded"), strength) if strength > 0 else None
