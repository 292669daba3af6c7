"""What was changed in a frame as a layer with alpha, that gives the output again when it is laid over the target."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


NOTICED = 5.0
"""Change in levels of 255 from which a place counts as new: more than grain and resampling leave."""


FAR = 16.0
"""Levels of 255 by which colours of a layer may go beyond the output's: with less alpha they would have to be farther
off, and whoever scales or blurs a layer would have them sparkle."""


def matte_of(target: Pixels, output: Pixels, alpha: FloatArray) -> FloatArray:
    """Where a picture is visibly new, with a soft edge and without holes.

    What processors lay over a face often holds all around it, too, which is as it was or nearly so.

    Parameters
    ----------
    target, output
        (H, W, 3) uint8 RGB, before and after.
    alpha
        (H, W) float32, 0 to 1: what was laid over; the matte is nowhere more.
    """
    height, width = alpha.shape
    side = int(np.clip(min(height, width) // 12, 3, 31)) | 1
    change = cv2.absdiff(target, output).max(axis=2).astype(np.float32)
    change = cv2.GaussianBlur(change, (0, 0), max(side / 10, 0.8))
    around = side + 2
    firm: Pixels = np.pad((change > NOTICED).astype(np.uint8), around)
    firm = np.asarray(cv2.morphologyEx(firm, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    firm = np.asarray(cv2.morphologyEx(firm, cv2.MORPH_CLOSE, disc), np.uint8)
    outlines, _ = cv2.findContours(firm, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(firm, outlines, -1, 1, cv2.FILLED)
    firm = np.asarray(cv2.dilate(firm, disc), np.uint8)
    soft = cv2.GaussianBlur(firm.astype(np.float32), (0, 0), side / 4)
    return np.minimum(alpha, soft[around:-around, around:-around]).astype(np.float32)


def layer_of(target: Pixels, output: Pixels, alpha: FloatArray | None = None) -> tuple[Pixels, Pixels]:
    """The layer between two pictures.

    Parameters
    ----------
    target, output
        (H, W, 3) uint8 RGB, before and after.
    alpha
        (H, W) float32, 0 to 1: how far what is new covers the target. It is raised where no colour near the
        output's would give it with so little of it: steadying and grain reach further than faces. None covers all that
        is changed.

    Returns
    -------
    (H, W, 3) uint8 RGB, not multiplied by alpha, and (H, W) uint8 alpha.

    References
    ----------
    Porter and Duff, Compositing Digital Images, 1984 (over); Smith and Blinn, Blue Screen Matting, 1996: of a colour
    and an alpha that explain a picture over a known one there are many, from a least alpha on.
    """
    below, above = target.astype(np.float32), output.astype(np.float32)
    change = above - below
    room = np.where(change > 0, 255 - below, below)
    least = (np.abs(change) / np.maximum(np.minimum(room, np.abs(change) + FAR), 1)).max(axis=2)
    wanted = (change != 0).any(axis=2).astype(np.float32) if alpha is None else np.clip(alpha, 0, 1)
    share = np.ceil(np.maximum(least, wanted) * np.float32(255) - np.float32(1e-3))
    scale = np.where(share > 0, 255 / np.maximum(share, 1), 0)
    colours = np.clip(below + change * scale[..., None] + 0.5, 0, 255)
    return colours.astype(np.uint8), share.astype(np.uint8)
