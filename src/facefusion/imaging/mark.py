"""An invisible mark on faces: 128 signs in a grid that goes with the face, put in by as little change as they need.

The grid lies over the head as the five points say, so whoever finds the face finds the mark again after scaling,
cropping and turning. Each sign has a dozen cells of its own in the grid, scattered by a fixed key. What the picture
itself says in those cells is measured first and only what is missing is added (spread transform with the host known),
strongest where there is detail that hides it. Each second of a clip has another of four keys, so that what the picture
says against a sign in one second is chance in the next.

References
----------
Chen, Wornell, Quantization index modulation, IEEE Trans. Information Theory 2001 (spread transform).
Malvar, Florencio, Improved spread spectrum, IEEE Trans. Signal Processing 2003 (host interference).
Miller, Doerr, Cox, Applying informed coding and embedding, IEEE Trans. Image Processing 2004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.align import invert
from facefusion.imaging.templates import TEMPLATES, similarity
from facefusion.types.frame import Pixels
from facefusion.types.topology import MESH_TO_68, five_from_68

FloatArray = npt.NDArray[np.float32]
Signs = npt.NDArray[np.float32]

SIGN_COUNT = 128
"""Signs in the grid."""
CELLS = 48
"""Cells along a side of the grid, which is 4.07 times as wide as the eyes are apart."""
PATTERN_COUNT = 4
"""Keys that follow each other, one a second."""
FINE = 3
"""Samples along a side of a cell."""
_KEY = 0xFACEF
_LIFT = 0.03
"""How much higher than the usual template the grid lies, as a share of its side."""
_MARGIN = 2.6
"""What every sign is brought to, in units of its own noise."""
_MOST = 6.0
"""Strongest change where nothing hides it, levels of 255."""
_PASSES = 4
_FRAME_MSE = 5.2
"""Mean square of the change of the cells over the whole frame: 42.5 dB or more in pixels, where they are smoother."""
_GRID_MSE = 20.0
"""The same over the grid alone."""
_NEAR = 0.9
"""Standard deviation of the mean that is taken off, cells."""


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    """Where the signs are.

    Attributes
    ----------
    cells
        (SIGN_COUNT, N) flat numbers of the cells of every sign.
    owner
        (CELLS, CELLS) sign of a cell; 0 where it has none, and there ``is_used`` is 0.
    is_used, window
        (CELLS, CELLS) whether a cell carries anything, and how strongly it may.
    chips
        (PATTERN_COUNT, CELLS, CELLS) 1, -1, and 0 where nothing is carried.
    """

    cells: npt.NDArray[np.intp]
    owner: npt.NDArray[np.intp]
    is_used: FloatArray
    window: FloatArray
    chips: FloatArray


@cache
def _key() -> _Key:
    # PCG64's raw numbers are the same in every version of numpy; those of its distributions need not be.
    raw = np.random.PCG64(_KEY)
    y, x = np.mgrid[:CELLS, :CELLS]
    middle = (CELLS - 1) / 2
    away = np.hypot(x - middle, y - middle) / (CELLS / 2)
    window = np.clip((1 - away) / 0.12, 0, 1).astype(np.float32)
    inside = np.flatnonzero(window.ravel() > 0.3)
    order = inside[np.argsort(raw.random_raw(len(inside)), kind="stable")]
    count = len(order) // SIGN_COUNT
    cells = order[: count * SIGN_COUNT].reshape(SIGN_COUNT, count)
    owner = np.zeros(CELLS * CELLS, dtype=np.intp)
    owner[cells] = np.arange(SIGN_COUNT)[:, None]
    is_used = np.zeros(CELLS * CELLS, dtype=np.float32)
    is_used[cells] = 1
    drawn = (raw.random_raw(PATTERN_COUNT * CELLS * CELLS) >> np.uint64(40)) & np.uint64(1)
    chips = (drawn.astype(np.float32) * 2 - 1).reshape(PATTERN_COUNT, CELLS, CELLS)
    square = (CELLS, CELLS)
    return _Key(cells, owner.reshape(square), is_used.reshape(square), window, chips * is_used.reshape(square))


def mesh_five(mesh: FloatArray) -> FloatArray:
    """(5, 2) points that the grid goes by: always those of the mesh, whatever other landmarkers are used."""
    return five_from_68(mesh[list(MESH_TO_68), :2])


def grid_from_frame(five: FloatArray, size: int = CELLS) -> FloatArray:
    """(2, 3) affine from frame pixels to the pixels of a grid of some size, from the five-point layout."""
    shares = np.array(TEMPLATES["ffhq_512"], dtype=np.float32) - np.array([0, _LIFT], dtype=np.float32)
    return similarity(five, shares * size - 0.5)


def grid_box(five: FloatArray) -> tuple[int, int, int, int]:
    """Half-open xyxy box of the frame that holds a grid; not clipped."""
    frame_from_grid = invert(grid_from_frame(five))
    side = CELLS - 0.5
    corners = np.array([[-0.5, -0.5], [side, -0.5], [-0.5, side], [side, side]]) @ frame_from_grid[:, :2].T
    corners = corners + frame_from_grid[:, 2]
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int) + 1
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def sample_grid(pixels: Pixels, five: FloatArray) -> FloatArray | None:
    """Brightness under the grid of a face.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    five
        (5, 2) five-point layout in its pixels.

    Returns
    -------
    (CELLS * FINE, CELLS * FINE) float32, 0 to 255, or None where the grid is out of the picture.
    """
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = grid_box(five)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return None
    grey = cv2.cvtColor(np.ascontiguousarray(pixels[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    affine = grid_from_frame(five, CELLS * FINE).astype(np.float64)
    affine[:, 2] += affine[:, :2] @ np.array([x0, y0])
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    block = max(int(1 / scale), 1)  # averaged first, so that nothing is skipped
    if block > 1 and min(grey.shape) >= 4 * block:
        small = max(grey.shape[1] // block, 1), max(grey.shape[0] // block, 1)
        across, down = grey.shape[1] / small[0], grey.shape[0] / small[1]
        grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
        affine[:, 2] += affine[:, 0] * (across - 1) / 2 + affine[:, 1] * (down - 1) / 2
        affine[:, 0] *= across
        affine[:, 1] *= down
    side = CELLS * FINE
    found = cv2.warpAffine(grey, affine, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.astype(np.float32)


def cells_of(sampled: FloatArray, moved: FloatArray | None = None) -> FloatArray:
    """(CELLS, CELLS) means of the cells; with a (2, 3) affine of the samples they are moved before."""
    if moved is not None:
        size = sampled.shape[1], sampled.shape[0]
        edge = cv2.BORDER_REPLICATE
        sampled = np.asarray(cv2.warpAffine(sampled, moved, size, flags=cv2.INTER_LINEAR, borderMode=edge), np.float32)
    return np.asarray(cv2.resize(sampled, (CELLS, CELLS), interpolation=cv2.INTER_AREA), dtype=np.float32)


def detail(cells: FloatArray) -> FloatArray:
    """What a cell differs from those around it."""
    return cells - cv2.GaussianBlur(cells, (0, 0), _NEAR)


def _weights(details: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How much a cell counts, and how much detail there is around it."""
    spread = np.asarray(np.sqrt(cv2.GaussianBlur(details * details, (0, 0), 2.0)), dtype=np.float32)
    return np.float32(1) / (spread + np.float32(1)), spread


def read_signs(details: FloatArray) -> FloatArray:
    """What the details of a grid say of every sign by each of the keys: (PATTERN_COUNT, SIGN_COUNT) float32."""
    key = _key()
    said = (details * _weights(details)[0] * key.chips).reshape(PATTERN_COUNT, -1)
    found = said[:, key.cells].sum(axis=2) / np.sqrt(np.float32(key.cells.shape[1]))
    return np.asarray(found, dtype=np.float32)


def shape_mark(
    cells: FloatArray, signs: Signs, pattern: int, strength: float, cell_px: float, frame_px: float
) -> FloatArray:
    """What to add to the cells of a grid so that it says some signs.

    Parameters
    ----------
    cells
        (CELLS, CELLS) float32 means of the picture.
    signs
        (SIGN_COUNT,) 1 or -1.
    pattern
        Which key.
    strength
        0 to 1 of the full mark.
    cell_px, frame_px
        Pixels of a cell, and of the whole frame.
    """
    key = _key()
    chips, count = key.chips[pattern], np.sqrt(np.float32(key.cells.shape[1]))
    details = detail(cells)
    weight, spread = _weights(details)
    gain = np.clip(0.5 + spread / 8, 0.5, 1.6) * key.window
    way = gain * gain * weight * chips
    reach = (way * weight * chips).ravel()[key.cells].sum(axis=1) / count
    most = _MOST * strength * gain
    added = np.zeros_like(cells)
    for _ in range(_PASSES):
        said = (details * weight * chips).ravel()[key.cells].sum(axis=1) / count
        missing = np.maximum(_MARGIN * strength - signs * said, 0) * signs / np.maximum(reach, 1e-3)
        added = np.clip(added + missing[key.owner].astype(np.float32) * way, -most, most)
        details = detail(cells + added)
    total = float((added * added).sum()) * cell_px
    allowed = min(_FRAME_MSE * frame_px, _GRID_MSE * cell_px * CELLS * CELLS)
    if total > allowed:
        added *= np.float32(np.sqrt(allowed / total))
    return np.asarray(added, dtype=np.float32)


def add_mark(
    pixels: Pixels, corner: tuple[int, int], five: FloatArray, cells: FloatArray
) -> tuple[int, int, int, int] | None:
    """Add a change of the cells of a grid to a part of a frame, in place, alike to red, green and blue.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB, a part of the frame.
    corner
        Where its first pixel is in the frame.
    five
        (5, 2) five-point layout in frame pixels.
    cells
        From `shape_mark`.

    Returns
    -------
    Half-open box of the part that may have changed, or None.
    """
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = grid_box(five)
    x0, y0 = max(x0 - corner[0], 0), max(y0 - corner[1], 0)
    x1, y1 = min(x1 - corner[0], width), min(y1 - corner[1], height)
    if x1 <= x0 or y1 <= y0:
        return None
    side = 4 * CELLS
    smooth = cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
    affine = grid_from_frame(five, side).astype(np.float64)
    affine[:, 2] += affine[:, :2] @ np.array([x0 + corner[0], y0 + corner[1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    change = cv2.warpAffine(smooth, affine, (x1 - x0, y1 - y0), flags=flags)
    part = pixels[y0:y1, x0:x1]
    part[:] = cv2.add(part, cv2.cvtColor(change, cv2.COLOR_GRAY2RGB), dtype=cv2.CV_8U)
    return x0, y0, x1, y1


@dataclass(frozen=True, slots=True, eq=False)
class Lay:
    """One way of laying the grid, and of counting the seconds, and what is read by it.

    Attributes
    ----------
    soft
        (SIGN_COUNT,) float32.
    strength
        How far it stands out from what the same cells say by chance.
    """

    soft: FloatArray
    strength: float


def lay_count(bin_count: int) -> int:
    """Ways that `read_grids` tries."""
    return len(_moves()) * bin_count


@cache
def _moves() -> tuple[FloatArray, ...]:
    """Turns, scales and shifts of the samples of a grid that are tried."""
    found = []
    middle = (CELLS * FINE - 1) / 2
    for scale in (1.0, 0.97, 1.03):
        for turn in (0.0, -0.025, 0.025):
            for shift_x in _SHIFTS:
                for shift_y in _SHIFTS:
                    c, s = np.cos(turn) * scale, np.sin(turn) * scale
                    linear = np.array([[c, -s], [s, c]])
                    shift = middle - linear @ [middle, middle] + np.array([shift_x, shift_y]) * FINE
                    found.append(np.concatenate([linear, shift[:, None]], axis=1).astype(np.float32))
    return tuple(found)


_SHIFTS = (0.0, -0.6, 0.6, -1.2, 1.2)
"""Cells."""


def read_grids(bins: Sequence[FloatArray | None], bins_per_key: int, keep: int = 24) -> list[Lay]:
    """Lay the grid in all ways, and read it.

    Parameters
    ----------
    bins
        Means of the samples of the grid (`sample_grid`) over short pieces of time, modulo the round of all keys; None
        where there was nothing.
    bins_per_key
        Pieces in the time of one key.
    keep
        Ways to return.

    Returns
    -------
    The ways that stand out most, the first of them first.
    """
    seen = [k for k, grid in enumerate(bins) if grid is not None]
    ways: list[Lay] = []
    for move in _moves():
        said = {}
        for k in seen:
            grid = bins[k]
            assert grid is not None
            said[k] = read_signs(detail(cells_of(grid, move)))
        for phase in range(len(bins)):
            soft = np.zeros(SIGN_COUNT, dtype=np.float32)
            for k in seen:
                soft += said[k][(k + phase) % len(bins) // bins_per_key % PATTERN_COUNT]
            # Of signs that were put in the fourth power is small beside the square of the second.
            square = float((soft * soft).mean())
            ways.append(Lay(soft, square / len(seen)))
    ways.sort(key=lambda way: -way.strength)
    return ways[:keep]
