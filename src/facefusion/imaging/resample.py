"""Cutting out, shrinking and comparing pictures."""

from __future__ import annotations

import math
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
T = TypeVar("T", np.uint8, np.float32)

_BLOCK_SIGMAS, _REACH_SIGMAS = 4.0, 3.0
"""Standard deviation of a blur over the side of the blocks it is made of, at least; and how many of them it reaches."""
PLAIN = 8.0
"""Root mean square, levels, by which the middle of two miniatures differs at least where a pan can be told."""
SAME_PICTURE = 0.37
"""Largest share of it that is left where the picture has only moved. Pans leave 0.34 at most (99 of 100), cuts 0.41 at
least (999 of 1,000)."""
SAME_LAYOUT, DETAIL_SIGMA = 0.5, 3.0
"""Correlation of the detail of two miniatures from which they show the same in other light, and the blur, in their
pixels, that is taken off: flashes have 0.51 to 0.86, other pictures less than 0.4 (999 of 1,000)."""
LEAST_DETAIL, LEAST_LIT = 2.0, 0.1
"""Root mean square of that detail, levels, and share of values neither black nor burnt out, below which a miniature
shows nothing."""
cv2.setNumThreads(1)  # frames run side by side; threads inside one frame would only compete


def cut(
    pixels: npt.NDArray[T],
    crop_from_frame: FloatArray,
    size: int,
    is_border_black: bool = False,
    height: int | None = None,
) -> npt.NDArray[T]:
    """A crop by an affine; outside the frame its border is repeated, or black.

    Parameters
    ----------
    pixels
        (H, W, 3) or (H, W), uint8 or float32.
    crop_from_frame
        (2, 3) affine from frame pixels to crop pixels.
    size
        Width of the crop in pixels.
    height
        Its height; None for a square.

    Returns
    -------
    (height, size, 3) or (height, size) of the same type. Strong reductions are averaged first, so that nothing aliases.
    """
    down = size if height is None else height
    matrix = crop_from_frame.astype(np.float64)
    # Plain numbers: numpy takes many times as long for a few.
    (a, b, c), (d, e, f) = matrix.tolist()
    area = a * e - b * d
    factor = 2 ** math.floor(math.log2(max(1 / max(math.sqrt(abs(area)), 1e-6), 1.0)))
    if factor > 1:
        # Average whole blocks first; what is left to shrink is less than two.
        corners = [(x - c, y - f) for x in (0, size) for y in (0, down)]
        (x0, columns), (y0, rows) = (
            _blocks(values, limit, factor)
            for values, limit in (
                ([(e * x - b * y) / area for x, y in corners], pixels.shape[1]),
                ([(a * y - d * x) / area for x, y in corners], pixels.shape[0]),
            )
        )
        part = pixels[y0 : y0 + rows * factor, x0 : x0 + columns * factor]
        pixels = np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), dtype=pixels.dtype)
        # frame = (small + 0.5) * factor - 0.5 + origin
        offset = np.array([[x0], [y0]]) + 0.5 * factor - 0.5
        matrix = np.concatenate([matrix[:, :2] * factor, matrix[:, :2] @ offset + matrix[:, 2:]], axis=1)
    border = cv2.BORDER_CONSTANT if is_border_black else cv2.BORDER_REPLICATE
    crop = cv2.warpAffine(pixels, matrix, (size, down), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(crop, dtype=pixels.dtype)


def _blocks(values: list[float], limit: int, factor: int) -> tuple[int, int]:
    """Where blocks of pixels along an axis begin, and how many there are, that hold some places with room around."""
    start = min(max(math.floor(min(values)) - factor, 0), max(limit - factor, 0))
    stop = min(max(math.ceil(max(values)) + factor, 0), limit)
    return start, max((stop - start) // factor, 1)


def take(
    pixels: npt.NDArray[T], x0: int, y0: int, side: int, block: int = 1, is_border_black: bool = False
) -> npt.NDArray[T]:
    """A square of whole pixels, shrunk by averaging whole blocks; outside the picture its border is repeated, or black.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 or float32.
    x0, y0
        Corner of the square; it may lie outside.
    side
        In pixels; a multiple of ``block``.

    Returns
    -------
    (side / block, side / block, 3) of the same type.
    """
    height, width = pixels.shape[:2]
    left, top = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    right, bottom = max(min(x0 + side, width), left + 1), max(min(y0 + side, height), top + 1)
    part = pixels[top:bottom, left:right]
    if is_border_black and (x0 + side <= 0 or y0 + side <= 0 or x0 >= width or y0 >= height):
        return np.zeros((side // block, side // block, pixels.shape[2]), dtype=pixels.dtype)
    room = (max(-y0, 0), max(y0 + side - height, 0), max(-x0, 0), max(x0 + side - width, 0))
    return np.ascontiguousarray(averaged(padded(part, room, is_border_black)[:side, :side], block))


def padded(pixels: npt.NDArray[T], room: tuple[int, int, int, int], is_border_black: bool = True) -> npt.NDArray[T]:
    """A picture with room above, below, to the left and to the right: black, or its border repeated."""
    if not any(room):
        return pixels
    border = cv2.BORDER_CONSTANT if is_border_black else cv2.BORDER_REPLICATE
    return np.asarray(cv2.copyMakeBorder(pixels, *room, border), dtype=pixels.dtype)


def averaged(pixels: npt.NDArray[T], block: int) -> npt.NDArray[T]:
    """A picture shrunk by averaging whole blocks; both sides are multiples of ``block``."""
    if block == 1:
        return pixels
    size = pixels.shape[1] // block, pixels.shape[0] // block
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=pixels.dtype)


def enlarge(values: FloatArray, block: int) -> FloatArray:
    """The way back from `take`: ``block`` pixels for one, interpolated."""
    if block == 1:
        return values
    return np.asarray(cv2.resize(values, None, fx=block, fy=block, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def blur_pixels(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur of any width, exact to two levels or so. A wide one is made of means of whole blocks, which it
    cannot tell from the pixels: it takes a tenth of the time.
    """
    block = 2 ** int(math.log2(max(sigma, _BLOCK_SIGMAS) / _BLOCK_SIGMAS))
    if block < 4:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), max(sigma, 0.3)), dtype=np.uint8)
    height, width = pixels.shape[:2]
    room = math.ceil(_REACH_SIGMAS * sigma / block) * block
    padded = cv2.copyMakeBorder(
        pixels, room, room + -height % block, room, room + -width % block, cv2.BORDER_REFLECT_101
    )
    size = padded.shape[1], padded.shape[0]
    means = cv2.resize(padded.astype(np.float32), (size[0] // block, size[1] // block), interpolation=cv2.INTER_AREA)
    # Means of blocks are a blur, too: variances add up.
    rest = math.sqrt(sigma**2 - (block**2 - 1) / 12) / block
    smooth = cv2.resize(cv2.GaussianBlur(means, (0, 0), rest), size, interpolation=cv2.INTER_CUBIC)
    part = smooth[room : room + height, room : room + width]
    return np.asarray(np.clip(part + 0.5, 0, 255), dtype=np.uint8)


def pixelate(pixels: Pixels, cell: int) -> Pixels:
    """Squares of one colour, ``cell`` pixels wide."""
    height, width = pixels.shape[:2]
    size = (-(-width // cell), -(-height // cell))
    padded = cv2.copyMakeBorder(pixels, 0, size[1] * cell - height, 0, size[0] * cell - width, cv2.BORDER_REPLICATE)
    small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (size[0] * cell, size[1] * cell), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large[:height, :width], dtype=np.uint8)


def decode(coded: bytes) -> Pixels:
    """(H, W, 3) uint8 RGB of a packaged JPEG."""
    found = cv2.imdecode(np.frombuffer(coded, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(found, dtype=np.uint8)


def encode_jpeg(pixels: Pixels, quality: int = 85) -> bytes:
    """JPEG bytes of an RGB picture."""
    _, coded = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(coded.tobytes())


def mean_around(values: FloatArray, side: int) -> FloatArray:
    """Mean over a square around every pixel."""
    return np.asarray(cv2.blur(values, (side, side)), dtype=np.float32)


def stack(colours: FloatArray, fourth: FloatArray) -> FloatArray:
    """(H, W, 4) three channels and one more."""
    return np.asarray(cv2.merge([colours, fourth]), dtype=np.float32)


def channel(values: FloatArray, number: int) -> FloatArray:
    """(H, W) one channel, contiguous."""
    return np.asarray(cv2.extractChannel(values, number), dtype=np.float32)


def alike(values: FloatArray, count: int) -> FloatArray:
    """(H, W, count) a map repeated in every channel; whole arrays multiply faster than broadcast ones."""
    return np.asarray(cv2.merge([values] * count), dtype=np.float32)


def scaled_colours(values: FloatArray, factor: FloatArray) -> FloatArray:
    """(H, W, 3) the first three channels times a map."""
    return np.asarray(cv2.merge([part * factor for part in cv2.split(values)[:3]]), dtype=np.float32)


def subtract(one: Pixels, other: Pixels) -> FloatArray:
    """Difference of two pictures, -255 to 255."""
    return np.asarray(cv2.subtract(one, other, dtype=cv2.CV_32F), dtype=np.float32)


def add(pixels: Pixels, values: FloatArray) -> Pixels:
    """A picture with something added, rounded and clipped."""
    added = cv2.add(pixels, values, dtype=cv2.CV_8U)
    return np.asarray(added, dtype=np.uint8)


def warp(pixels: npt.NDArray[T], affine: FloatArray, width: int, height: int, is_border_black: bool) -> npt.NDArray[T]:
    """Move a picture or mask by an affine ``new_from_old``; outside the old one its border is repeated, or 0."""
    border = cv2.BORDER_CONSTANT if is_border_black else cv2.BORDER_REPLICATE
    moved = cv2.warpAffine(
        pixels, affine.astype(np.float64), (width, height), flags=cv2.INTER_LINEAR, borderMode=border
    )
    return np.asarray(moved, dtype=pixels.dtype)


def resize_pixels(pixels: Pixels, width: int, height: int) -> Pixels:
    """A picture at another size; reductions are averaged."""
    if pixels.shape[:2] == (height, width):
        return pixels
    how = cv2.INTER_AREA if pixels.shape[0] > height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), dtype=np.uint8)


def shrink_onto(pixels: Pixels, width: int, height: int) -> tuple[Pixels, float, float]:
    """Put a picture at the top left of a black canvas, shrunk if it is larger, never enlarged.

    Returns
    -------
    The canvas, and the factors from canvas to picture for x and y.
    """
    rows, columns = pixels.shape[:2]
    scale = min(width / columns, height / rows, 1.0)
    size = (max(int(columns * scale), 1), max(int(rows * scale), 1))
    small = pixels if scale == 1 else np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas, columns / small.shape[1], rows / small.shape[0]


def brighten_dark(pixels: Pixels, min_lightness: float = 30.0) -> Pixels:
    """Equalise the lightness of a crop that is almost black; others come back as they are.

    References
    ----------
    Zuiderveld, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV, 1994.
    """
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    if float(lab[..., 0].mean()) >= min_lightness:
        return pixels
    lab[..., 0] = cv2.createCLAHE(clipLimit=2).apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)


def sharpen(values: FloatArray, amount: float = 0.75, sigma: float = 2.0) -> FloatArray:
    """Unsharp mask of a picture of any range."""
    return np.asarray(
        cv2.addWeighted(values, 1 + amount, cv2.GaussianBlur(values, (0, 0), sigma), -amount, 0), np.float32
    )


def resize_to_multiple(pixels: Pixels, longest_side: int, multiple: int) -> tuple[Pixels, float]:
    """Resize a picture and pad it with black on the right and below.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8.
    longest_side
        Longer side of the resized picture in pixels, before padding.
    multiple
        Both sides of the result are multiples of this.

    Returns
    -------
    The padded picture, and the scale that was applied.
    """
    height, width = pixels.shape[:2]
    scale = longest_side / max(height, width)
    if scale != 1:
        size = (max(int(round(width * scale)), 1), max(int(round(height * scale)), 1))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=how), dtype=np.uint8)
    padded_size = tuple(-(-n // multiple) * multiple for n in pixels.shape[:2])
    padded = np.zeros((*padded_size, 3), dtype=np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    return padded, scale


def peaks(heat: FloatArray, min_value: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of local maxima (3 x 3) of a map that reach a value."""
    dilated = cv2.dilate(heat, np.ones((3, 3), dtype=np.uint8))
    rows, columns = np.nonzero((heat >= dilated) & (heat >= min_value))
    return rows, columns


def thumbnail(pixels: Pixels, side: int = 32) -> FloatArray:
    """(side, side, 3) float32 miniature, 0 to 255, for comparing neighbouring frames."""
    step = max(min(pixels.shape[:2]) // (side * 4), 1)
    small = cv2.resize(pixels[::step, ::step], (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def pan_between(before: FloatArray, after: FloatArray) -> tuple[int, int] | None:
    """How far the camera has turned between two miniatures.

    Of 238 pans by 4 to 17 % of a picture that would have been taken for cuts 99 % are told, and of 1,900 cuts one in a
    thousand is taken for a pan.

    Parameters
    ----------
    before, after
        As of `thumbnail`.

    Returns
    -------
    Pixels of a miniature by which what was in its middle has come from the right and from below; None where it is not
    the same picture, stands still, or is so plain that nobody can say.
    """
    side = before.shape[0]
    room = side // 4
    middle = np.ascontiguousarray(after[room : side - room, room : side - room])
    away = np.asarray(cv2.matchTemplate(before, middle, cv2.TM_SQDIFF))
    away = np.sqrt(np.maximum(away, 0) / middle.size)
    row, column = np.unravel_index(int(away.argmin()), away.shape)
    if away[room, room] < PLAIN or away[row, column] > SAME_PICTURE * away[room, room]:
        return None
    return int(column) - room, int(row) - room


def is_cut(before: FloatArray, after: FloatArray) -> bool:
    """Whether a new shot starts between two miniatures.

    A cut changes both the layout (mean difference) and the colours (histogram); motion changes
    the first, a flash mostly the second. A camera that turns fast changes both, and shows the same picture elsewhere.
    """
    difference = float(np.abs(before - after).mean())
    if difference < 14.0:
        return False
    bins = np.linspace(0, 256, 17)
    shared = 0.0
    for channel in range(3):
        a, b = (np.histogram(x[..., channel], bins)[0] / x[..., channel].size for x in (before, after))
        shared += float(np.minimum(a, b).sum()) / 3
    return (difference > 42.0 or shared < 0.72) and pan_between(before, after) is None


def is_same_layout(one: FloatArray, other: FloatArray) -> bool:
    """Whether two miniatures show the same, however bright it is.

    What is compared is their detail: light that falls on it is a gain and an offset that change slowly over a picture.
    What is black or burnt out in either says nothing; where there is hardly anything else, nobody can say.
    """
    is_lit = (one > 4) & (one < 251) & (other > 4) & (other < 251)
    if is_lit.mean() < LEAST_LIT:
        return False
    weight = is_lit.astype(np.float32)
    around = np.maximum(cv2.GaussianBlur(weight, (0, 0), DETAIL_SIGMA), 1e-3)
    a, b = ((x - cv2.GaussianBlur(x * weight, (0, 0), DETAIL_SIGMA) / around)[is_lit] for x in (one, other))
    powers = float(np.mean(a * a)), float(np.mean(b * b))
    if min(powers) < LEAST_DETAIL**2:
        return False
    return float(np.mean(a * b)) >= SAME_LAYOUT * math.sqrt(powers[0] * powers[1])
