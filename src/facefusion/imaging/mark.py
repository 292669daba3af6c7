"""An invisible mark in the brightness of whole frames: 256 signs in a tile that is repeated over the picture.

The tile is a sum of waves of low frequency; each sign belongs to four of them, scattered by a fixed key. It stands
still, so that codecs keep it and no grain is seen to crawl, is faint where the picture is plain, and stronger where
detail hides it. What the picture itself says against a sign is measured frame by frame and partly taken off (host
interference rejection). A frame is measured in samples whose number along its shorter side is one of ten, so a whole
frame is read in the very samples that it was marked in, whatever became of its size. For parts of frames, whoever looks
for the mark measures the waves for every size that a tile may have, and finds where the tile begins by one Fourier
transform of the waves' products. In either case frames are averaged in groups, and nothing has to be known of the
picture.

References
----------
Kalker, Depovere, Haitsma, Maes, A video watermarking system for broadcast monitoring, SPIE 3657, 1999 (repeated tile).
Malvar, Florencio, Improved spread spectrum, IEEE Trans. Signal Processing 2003 (host interference).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex128]
Luma = npt.NDArray[np.uint8]

SIGN_COUNT = 256
"""Signs in the tile."""
LOW, HIGH = 4.5, 20
"""Waves along a side of the tile: the fewest and the most."""
CELL = 72
"""Samples along a side of the tile where pictures are measured."""
FEWEST, MOST = 3, 12
"""Halves of tiles along the shorter side of the smallest and of the largest frames."""
_SHORT = 256
"""Pixels along the shorter side of a frame that has the fewest."""
_KEY = 0xFACEF
_GRID = 128
"""Places along a side of the tile where it may begin, as they are looked at first."""
_MSE, _PIXELS, _LESS, _LEAST_MSE = 3.85, 1e5, 1.5, 0.5
"""Mean square over a frame (42 dB), the pixels above which it is less, the power of them by which it is, and the least,
which still outlives rounding."""
_PLAIN, _LEAST_PLAIN = 0.65, 0.9
"""Standard deviation of the mark where nothing hides it, over that of the whole, and the least, in levels."""
_TEXTURE, _MOST, _MORE_MSE = 3.0, 2.0, 1.8
"""Detail, squared levels, that hides 3 dB more of it; its standard deviation where it is strongest, over that of the
whole; and by how much its mean square may be more than that of the whole is meant to be where much is hidden."""
_HIGHEST = 3.0
"""Levels by which it may change a pixel, or three times its standard deviation where that is more."""
_BLACK, _ROOM, _LEAST = 4.0, 8.0, 0.6
"""What is black, how far from it and from white all of the mark has room, and how much of it is left there."""
_HEARD, _HIDES, _LOUDEST_MSE = 4.0, 16.0, 3.9
"""How loud the mark is to be against what a frame's own detail says (as `_Host.reach`), or it is made stronger where
there is detail; detail, squared levels, in which half of that is done; and the mean square over the frame up to which
it is."""
_AGAINST, _MOST_OFF = 0.8, 0.75
"""How much of what the picture says against a sign is taken off, and the largest share of the mark that this takes."""
_NEAR, _AROUND = 1.7, 5
"""Standard deviation of the mean that is taken off, and side of what is around a sample; measured samples."""
_FLOOR = 6.0
"""Detail that is no detail yet when the mark is made, squared levels: what it adds by itself."""
_FLOOR_READ, _FLOOR_OF_MEDIAN = 4.0, 6.0
"""The same when it is read, for codecs have taken some of it: beside a mean, and beside a median."""
_MEDIAN = 5
"""Side of the median that is taken off when the mark is read; measured samples."""
_BLOCK, _STEP, _BLOCK_FLOOR, _BLOCK_SHARE = 24, 12, 4.0, 2.0
"""Side of the blocks whose spectra are evened when the mark is read, and how far apart they begin, measured samples;
power of a wave in one that is no power yet, squared levels; and how much what is left counts, where what means and
medians leave counts 1 each."""
_SMOOTH, _SMOOTH_WAVES = 0.6, 1.0
"""Standard deviations of the smoothing of spectra, frequencies: of a block, and of the whole."""
_FEW = 100_000
"""Samples up to which pictures are looked at one by one, and by blocks; where there are more there is enough to read in
their mean."""
_READ_SHORT = 36 * 12
"""Samples along the shorter side that no reading has more of: larger pictures are halved."""
_GAMMA, _FLARE, _GREY = 2.2, 0.01, 128
"""Light of a screen over the level, what of a room's it throws back over white, and the level that stays as it is."""
_EVENED, _MORE = 0.6, 1.25
"""Power of its contrast by which the mark is made weaker where it is strongest, in small frames, and the most that this
makes it stronger elsewhere. Dark pictures show it most: two levels of 30 are 5 % of the light, of 200 they are 2 %."""
_FINE = 20
"""Steps of a level in which the mark is made before it is rounded."""
_MULTIPLE, _UNSURE = 4, 0.15
"""What the samples along the longer side are a multiple of, and how near to the middle between two both are tried."""
_ROUNDED = 400
"""Pixels along the shorter side below which it tells whether an encoder took off the last row."""
_LONGEST = 32
"""Times that a picture may be as long as it is high; others would have grids without an end."""
_SMALLEST = 64
"""Pixels along the shorter side below which frames are left as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waves:
    """The waves of the tile. Each is there twice, a quarter of a wave apart, for two signs.

    Attributes
    ----------
    u, v
        (M,) how many there are across and down.
    owner
        (M,) which sign each belongs to; all have as many.
    turn
        (M,) its phase as a number of length 1.
    ring
        (M,) number of the ring of frequencies that it is in.
    lift
        (M,) how much higher it has to be made, for what linear interpolation takes off.
    passed
        (M,) how much of it is left beside a mean.
    counts
        Waves in each ring.
    one, other
        Numbers of all pairs of waves of one sign.
    sums, differences
        Where the products of those pairs lie in a spectrum of _GRID x _GRID.
    """

    u: npt.NDArray[np.intp]
    v: npt.NDArray[np.intp]
    owner: npt.NDArray[np.intp]
    turn: Complex
    ring: npt.NDArray[np.intp]
    lift: npt.NDArray[np.float64]
    passed: npt.NDArray[np.float64]
    counts: npt.NDArray[np.intp]
    one: npt.NDArray[np.intp]
    other: npt.NDArray[np.intp]
    sums: npt.NDArray[np.intp]
    differences: npt.NDArray[np.intp]


@cache
def _waves() -> _Waves:
    # PCG64's raw numbers are the same in every version of numpy; those of its distributions need not be.
    raw = np.random.PCG64(_KEY)
    places = [
        (u, v)
        for u in range(HIGH + 1)
        for v in range(-HIGH, HIGH + 1)
        if LOW**2 <= u * u + v * v <= HIGH**2 and (u > 0 or v > 0)
    ]
    places.sort(key=lambda place: place[0] ** 2 + place[1] ** 2)
    count = len(places) * 2 // SIGN_COUNT * SIGN_COUNT
    u, v = np.repeat(np.array(places[: count // 2], dtype=np.intp), 2, axis=0).T
    owner = np.argsort(raw.random_raw(count), kind="stable") % SIGN_COUNT
    phase = (raw.random_raw(count // 2) >> np.uint64(11)).astype(np.float64) / 2**53
    turn = np.exp(2j * np.pi * np.repeat(phase, 2)) * np.tile([1, 1j], count // 2)
    ring = ((np.hypot(u, v) - LOW) // 2).astype(np.intp)
    lift = 1 / (np.sinc(u / CELL) * np.sinc(v / CELL)) ** 2
    passed = 1 - np.exp(-2 * (np.pi * _NEAR * np.hypot(u, v) / CELL) ** 2)
    one, other = np.nonzero(owner[:, None] == owner[None, :])
    sums = (v[one] + v[other]) % _GRID * _GRID + (u[one] + u[other]) % _GRID
    differences = (v[one] - v[other]) % _GRID * _GRID + (u[one] - u[other]) % _GRID
    return _Waves(u, v, owner, turn, ring, lift, passed, np.bincount(ring), one, other, sums, differences)


def halves(short: int) -> int:
    """Halves of tiles along the shorter side of a frame: tiles grow with frames, but not as much."""
    return min(max(FEWEST, round(FEWEST * float(np.sqrt(short / _SHORT)))), MOST)


def grid(width: int, height: int, count: int, aside: float = 0.0) -> tuple[int, int]:
    """Samples across and down that a frame is measured in, if so many halves of tiles lie along its shorter side.

    The longer side has a multiple of _MULTIPLE, so that it is mostly the same after scaling, where sides are rounded.
    """
    short = CELL // 2 * count
    longer = max(round(short * max(width, height) / min(width, height) / _MULTIPLE + aside) * _MULTIPLE, short)
    return (longer, short) if width > height else (short, longer)


def _tile(amounts: FloatArray) -> FloatArray:
    """(CELL, CELL) float32 of standard deviation 1 where the amounts are 1 or -1."""
    waves = _waves()
    spectrum = np.zeros((CELL, CELL // 2 + 1), dtype=np.complex128)
    parts = amounts[waves.owner] * waves.turn * waves.lift
    np.add.at(spectrum, (waves.v % CELL, waves.u), parts)
    on_axis = waves.u == 0  # of these both halves are in the spectrum
    np.add.at(spectrum, (-waves.v[on_axis] % CELL, 0), np.conj(parts[on_axis]))
    found = np.fft.irfft2(spectrum, (CELL, CELL)) * (CELL * CELL / np.sqrt(2 * len(waves.u)))
    return np.asarray(found, dtype=np.float32)


def _beside_mean(small: FloatArray) -> FloatArray:
    mean = cv2.GaussianBlur(small, (11, 11), _NEAR)
    return np.asarray(cv2.subtract(small, mean, dst=mean), dtype=np.float32)


def _square_around(detail: FloatArray) -> FloatArray:
    """Mean square of the detail around every sample."""
    found = cv2.blur(cv2.multiply(detail, detail), (_AROUND, _AROUND))
    cv2.threshold(found, 0, 0, cv2.THRESH_TOZERO, dst=found)  # running sums fall a little short of nothing
    return np.asarray(found, dtype=np.float32)


def _looked_at(small: FloatArray) -> FloatArray:
    """What the mark is read from: detail by how much it counts, beside means, beside medians, and block by block.

    Edges that stand still are the loudest of what is no mark. A median goes along with them where a mean does not, and
    blurs corners where the mean is right; and in a block whose waves all go one way those that go another are heard.

    Parameters
    ----------
    small
        (H, W) float32, measured.
    """
    beside_mean = _beside_mean(small)
    beside_median = np.asarray(cv2.subtract(small, cv2.medianBlur(small, _MEDIAN)), dtype=np.float32)
    parts = [
        beside_mean / (_square_around(beside_mean) + np.float32(_FLOOR_READ)),
        beside_median / (_square_around(beside_median) + np.float32(_FLOOR_OF_MEDIAN)),
    ]
    if small.size <= _FEW:
        parts.append(_evened_blocks(beside_mean))
    total = np.zeros_like(small)
    for part, share in zip(parts, (1.0, 1.0, _BLOCK_SHARE), strict=False):
        total += part * np.float32(share / max(float(np.sqrt((part * part).mean())), 1e-9))
    return total


def _evened_blocks(detail: FloatArray) -> FloatArray:
    """Detail whose blocks have even spectra: every wave counts by what there is of its like, as in Wiener filters."""
    high, wide = detail.shape
    count = _BLOCK // _STEP
    rows, columns = -(-high // _STEP) + count - 1, -(-wide // _STEP) + count - 1  # blocks
    before = _BLOCK - _STEP
    after = ((rows - 1) * _STEP + _BLOCK - before - high, (columns - 1) * _STEP + _BLOCK - before - wide)
    padded = cv2.copyMakeBorder(detail, before, after[0], before, after[1], cv2.BORDER_REFLECT)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, (_BLOCK, _BLOCK))[::_STEP, ::_STEP]
    window = _window()
    spectrum = np.fft.rfft2(blocks * window).astype(np.complex64)
    power = (spectrum.real**2 + spectrum.imag**2) * np.float32(1 / float((window * window).sum()))
    near = np.exp(-0.5 * (np.arange(-2, 3) / _SMOOTH) ** 2)
    near = (near / near.sum()).astype(np.float32)
    power = sum(near[k] * np.roll(power, k - 2, axis=2) for k in range(5))
    # Beyond its edges half of a spectrum goes on as it came, upside down; powers of what is near are near enough.
    power = np.pad(power, ((0, 0), (0, 0), (0, 0), (2, 2)), mode="reflect")
    power = sum(near[k] * power[..., k : k + spectrum.shape[3]] for k in range(5))
    evened = np.fft.irfft2(spectrum / (power + np.float32(_BLOCK_FLOOR)), (_BLOCK, _BLOCK)).astype(np.float32)
    evened *= window
    made = np.zeros((rows + count - 1, _STEP, columns + count - 1, _STEP), dtype=np.float32)
    for y in range(count):
        for x in range(count):
            piece = evened[:, :, y * _STEP : (y + 1) * _STEP, x * _STEP : (x + 1) * _STEP]
            made[y : y + rows, :, x : x + columns] += piece.transpose(0, 2, 1, 3)
    flat = made.reshape(padded.shape)
    return flat[before : before + high, before : before + wide]


@cache
def _window() -> FloatArray:
    """(_BLOCK, _BLOCK) whose squares add up to 1 where blocks overlap by half."""
    side = np.sin(np.pi * (np.arange(_BLOCK) + 0.5) / _BLOCK)
    return np.outer(side, side).astype(np.float32)


def _whitened(found: Complex) -> Complex:
    """Waves as they were drawn, those near each other as strong as others are: edges that go one way count less."""
    waves = _waves()
    square = np.bincount(waves.ring, np.abs(found) ** 2) / waves.counts
    evened = found * np.conj(waves.turn) / np.sqrt(np.maximum(square, 1e-12))[waves.ring]
    return np.asarray(evened / np.sqrt(np.maximum(_near_power(np.abs(evened) ** 2), 1e-12)), dtype=np.complex128)


def _near_power(power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(M,) mean of what every wave and those of nearly its frequency have."""
    waves = _waves()
    side = 2 * HIGH + 3
    # A wave and the one that goes the other way are the same.
    here, there = ((sign * waves.v + HIGH + 1) * side + sign * waves.u + HIGH + 1 for sign in (1, -1))
    placed = np.bincount(np.concatenate([here, there]), np.concatenate([power, power]), side * side)
    blur = cv2.GaussianBlur(placed.reshape(side, side), (7, 7), _SMOOTH_WAVES, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(np.asarray(blur).ravel()[here] / _near_count(), dtype=np.float64)


@cache
def _near_count() -> npt.NDArray[np.float64]:
    """(M,) how many waves there are near each, weighted as their power is."""
    waves = _waves()
    side = 2 * HIGH + 3
    here, there = ((sign * waves.v + HIGH + 1) * side + sign * waves.u + HIGH + 1 for sign in (1, -1))
    placed = np.bincount(np.concatenate([here, there]), minlength=side * side).astype(np.float64)
    blur = cv2.GaussianBlur(placed.reshape(side, side), (7, 7), _SMOOTH_WAVES, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(np.asarray(blur).ravel()[here], dtype=np.float64)


def _agreed(found: Complex, weights: npt.NDArray[np.float64]) -> Complex:
    """The waves of several pictures added up, each picture by its weight and by how far it says what all of them say.

    How much a picture counts depends on what lies between the pictures, not on where they point: where all directions
    are alike, the sum points in any of them.

    Parameters
    ----------
    found
        (K, M) waves of the pictures, as they were drawn.
    weights
        (K,) of the pictures.
    """
    waves = _waves()
    square = np.bincount(waves.ring, (np.abs(found) ** 2).sum(axis=0)) / waves.counts
    level = np.sqrt(np.maximum(square, 1e-12))[waves.ring]
    said = np.stack([np.bincount(waves.owner, one.real / level, SIGN_COUNT) for one in found])
    return np.asarray((weights * np.maximum(said @ (weights @ said), 0)) @ found, dtype=np.complex128)


class Shaper:
    """Makes the mark; may be used from several threads.

    Parameters
    ----------
    signs
        (SIGN_COUNT,) 1 or -1.
    """

    def __init__(self, signs: FloatArray) -> None:
        self._signs = signs

    def add(self, luma: Luma | npt.NDArray[np.uint16], scale: float = 1.0, bits: int = 8) -> None:
        """Add the mark to the brightness of a frame, in place.

        Parameters
        ----------
        luma
            (H, W) uint8, or uint16 where samples have more than 8 bits.
        scale
            Levels of it, brought to 8 bits, over levels of 255.
        bits
            Of a sample.
        """
        if luma.dtype != np.uint8:
            self._add_deep(np.asarray(luma, dtype=np.uint16), luma, scale, bits)
            return
        levels = self._levels(np.asarray(luma, dtype=np.uint8), scale)
        if levels is None:
            return
        height, width = luma.shape
        change = cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)
        cv2.addWeighted(luma, 1, change, 1 / _FINE, -128 / _FINE, dst=luma)

    def _add_deep(
        self, luma: npt.NDArray[np.uint16], into: npt.NDArray[np.unsignedinteger[Any]], scale: float, bits: int
    ) -> None:
        """As `add`, with samples of more than 8 bits: the mark is that of the frame in 8 bits, added in fine levels."""
        finer = 2.0 ** (bits - 8)
        levels = self._levels(np.asarray(cv2.convertScaleAbs(luma, alpha=1 / finer), dtype=np.uint8), scale)
        if levels is None:
            return
        height, width = luma.shape
        change = cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)
        marked = cv2.addWeighted(luma, 1, change.astype(np.uint16), finer / _FINE, -128 * finer / _FINE)
        np.minimum(marked, 2**bits - 1, out=into, casting="unsafe")

    def add_rgb(self, pixels: Pixels) -> None:
        """Add the mark to a frame, in place, alike to red, green and blue.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB.
        """
        levels = self._levels(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8))
        if levels is not None:
            height, width, _ = pixels.shape
            tripled = cv2.merge([cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)] * 3)
            cv2.addWeighted(pixels, 1, tripled, 1 / _FINE, -128 / _FINE, dst=pixels)

    def _levels(self, luma: Luma, scale: float = 1.0) -> Luma | None:
        """What to add at every sample, uint8: 128 is nothing, _FINE is a level; None where there is no room for it."""
        height, width = luma.shape
        if min(height, width) < _SMALLEST:
            return None
        wide, high = grid(width, height, halves(min(height, width)))
        small = _shrunk(luma, wide, high)
        if scale != 1:
            small *= np.float32(1 / scale)
        strength = mean_square(height * width)
        detail = _beside_mean(small)
        square = _square_around(detail)
        gain = _gain(small, square, strength)
        weight = np.float32(1) / (square + np.float32(_FLOOR))
        detail *= weight
        host = _Host.of(detail)
        reach = host.reach(float((weight * gain).sum()))
        if reach < _HEARD:
            gain = _louder(gain, square / (square + np.float32(_HIDES)), _HEARD / max(reach, 1e-6))
            reach = host.reach(float((weight * gain).sum()))
        tile = _tile(_amounts(self._signs, host.said, reach))
        tiled = cv2.repeat(tile * np.float32(scale * _FINE), -(-high // CELL), -(-wide // CELL))[:high, :wide]
        most = min(max(_HIGHEST, 3 * float(np.sqrt(strength))) * scale * _FINE, 127)
        np.multiply(gain, tiled, out=gain)
        np.clip(gain, np.float32(-most), np.float32(most), out=gain)
        return np.asarray(cv2.convertScaleAbs(gain, alpha=1, beta=128), dtype=np.uint8)


def mean_square(pixels: int) -> float:
    """How strong the mark is in a frame of so many pixels: the more it is read from, the less each changes."""
    return max(_MSE * float(min(1.0, _PIXELS / pixels) ** _LESS), _LEAST_MSE)


def _gain(small: FloatArray, square: FloatArray, most: float) -> FloatArray:
    """Standard deviation of the mark at every sample: what is just not noticed there.

    That is little where the picture is plain, and more the more detail there is to hide it; as both stand still where
    the picture does, so does the mark.
    """
    plain, highest = _levels_alone(most)
    level = cv2.convertScaleAbs(small)
    gain = np.multiply(square, np.float32(1 / _TEXTURE))
    gain += np.float32(1)
    cv2.sqrt(gain, dst=gain)
    gain *= cv2.LUT(level, plain)
    np.minimum(gain, cv2.LUT(level, highest), out=gain)
    gain *= np.float32(np.sqrt(min(_MORE_MSE * most, _LOUDEST_MSE) / max(_mean_of_squares(gain), 1e-6)).clip(max=1))
    return gain


def _louder(gain: FloatArray, hides: FloatArray, times: float) -> FloatArray:
    """The same, so many times as strong where detail hides it all, as far as the frame has room.

    Parameters
    ----------
    gain
        Standard deviation of the mark at every sample.
    hides
        How far detail hides it there, 0 to 1.
    times
        By how much, at most.
    """
    room = np.sqrt(_LOUDEST_MSE / max(_mean_of_squares(gain), 1e-6))
    louder = gain * (1 + np.float32(max(min(times, room), 1.0) - 1) * hides)
    return np.asarray(louder, dtype=np.float32)


def _mean_of_squares(gain: FloatArray) -> float:
    return float(cv2.norm(gain, cv2.NORM_L2SQR)) / gain.size


@lru_cache(maxsize=16)
def _levels_alone(most: float) -> tuple[FloatArray, FloatArray]:
    """(256,) standard deviation of the mark at every level where nothing hides it, and the highest where much does.

    There is less where it would be cut off, or is seen best. What is seen is the change of light over the light, with
    that of the room (Weber's law). The fainter the mark is in frames of that size, the less of this is done, for there
    it is hardly seen, and has less to spare.
    """
    level = np.arange(256.0)
    light = (level / 255) ** _GAMMA
    contrast = _GAMMA * light / (np.maximum(level, 1) * (light + _FLARE))
    power = -_EVENED * (most / _MSE) ** 2
    evened = np.minimum((np.maximum(contrast, 1e-6) / contrast[_GREY]) ** power, _MORE)
    room = np.clip(np.minimum(255 - level, level - _BLACK) / _ROOM, _LEAST, 1)
    plain = max(_PLAIN * np.sqrt(most), _LEAST_PLAIN)
    return (room * evened * plain).astype(np.float32), (evened * _MOST * np.sqrt(most)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Host:
    """What a picture says by itself, without a mark.

    Attributes
    ----------
    said
        (SIGN_COUNT,) of every sign.
    each
        How much all waves of a sign say of a mark of one level, where samples count 1.
    """

    said: npt.NDArray[np.float64]
    each: float

    @classmethod
    def of(cls, weighted: FloatArray) -> _Host:
        """Of its detail, as it counts, with a tile of CELL samples."""
        waves = _waves()
        found = _folded(weighted)
        square = np.bincount(waves.ring, np.abs(found) ** 2) / waves.counts
        level = np.sqrt(np.maximum(square, 1e-6))[waves.ring]
        # A wave of the tile is sqrt(2 / M) high, and half of that is its part of the spectrum.
        each = float((waves.passed / level).sum()) / SIGN_COUNT / float(np.sqrt(2 * len(waves.u)))
        said = np.bincount(waves.owner, found.real / level, SIGN_COUNT)
        return cls(np.asarray(said, dtype=np.float64), each)

    def reach(self, counts: float) -> float:
        """What a mark says of a sign, where the picture's waves are 1 high.

        Parameters
        ----------
        counts
            Sum over the picture of the mark's standard deviation by how much samples count.
        """
        return self.each * counts


def _amounts(signs: FloatArray, said: npt.NDArray[np.float64], reach: float) -> FloatArray:
    """How much of every sign there is to be: less of those that the picture says by itself.

    Parameters
    ----------
    signs
        (SIGN_COUNT,) 1 or -1.
    said
        (SIGN_COUNT,) what the picture says of them.
    reach
        What the mark says of one.
    """
    off = _AGAINST * said / max(reach, 1e-6)
    off *= min(1.0, _MOST_OFF / max(float(np.sqrt((off * off).mean())), 1e-6))
    amounts = signs - off
    return np.asarray(amounts / np.sqrt((amounts * amounts).mean()), dtype=np.float32)


def _folded(weighted: FloatArray) -> Complex:
    """The waves of what is measured, as they were drawn."""
    waves = _waves()
    high, wide = weighted.shape
    rows, columns = -(-high // CELL), -(-wide // CELL)
    padded = np.zeros((rows * CELL, columns * CELL), dtype=np.float32)
    padded[:high, :wide] = weighted
    added = padded.reshape(rows, CELL, columns * CELL).sum(axis=0)
    spectrum = np.fft.rfft2(added.reshape(CELL, columns, CELL).sum(axis=1))
    return np.asarray(spectrum[waves.v % CELL, waves.u] * np.conj(waves.turn), dtype=np.complex128)


def _shrunk(luma: Luma | FloatArray, wide: int, high: int) -> FloatArray:
    """What lies in every sample: means of what is halved, then what is between two pixels, which is fast."""
    found: npt.NDArray[Any] = luma
    while found.shape[1] >= 2 * wide and found.shape[0] >= 2 * high:  # halves are fast
        half = found.shape[1] // 2, found.shape[0] // 2
        found = np.asarray(cv2.resize(found, half, interpolation=cv2.INTER_AREA))
    kind = cv2.INTER_LINEAR if found.shape[0] >= high else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(found, (wide, high), interpolation=kind), dtype=np.float32)


def halved(picture: FloatArray) -> FloatArray:
    """No larger than reading needs, if its sides are even: the shape stays exactly the same."""
    while min(picture.shape) >= 2 * _READ_SHORT and not (picture.shape[0] % 2 or picture.shape[1] % 2):
        half = picture.shape[1] // 2, picture.shape[0] // 2
        picture = np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), dtype=np.float32)
    return picture


@dataclass(frozen=True, slots=True, eq=False)
class Lay:
    """One way of laying the tile over a picture.

    Attributes
    ----------
    across, down
        Size of the tile in pixels.
    x, y
        Where it begins, as shares of its size.
    strength
        How far the signs stand out from chance, which is near 1.
    soft
        (SIGN_COUNT,) float32 of what is read by it.
    """

    across: float
    down: float
    x: float
    y: float
    strength: float
    soft: FloatArray


def brightness(pixels: Pixels) -> FloatArray:
    """(H, W) float32 of an RGB picture, 0 to 255."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _product(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> FloatArray:
    """Of two matrices. numpy's would wake all processors for each of thousands that are this small."""
    left, right = one.astype(np.float32), other.astype(np.float32)
    nothing = np.zeros((left.shape[0], right.shape[1]), dtype=np.float32)
    return np.asarray(cv2.gemm(left, right, 1.0, nothing, 0.0), dtype=np.float32)


class Searcher:
    """Looks for tiles in a picture.

    Parameters
    ----------
    pictures
        (H, W) float32 brightness, 0 to 255, one or more: a photo, or means of frames that follow each other. They are
        looked at one by one: what moves hides the mark in some of them and not in others.
    weights
        How much each of them counts; alike if None.
    others
        Weights by which whole frames are read, too, and first.
    """

    def __init__(
        self,
        pictures: Sequence[FloatArray],
        weights: Sequence[float] | None = None,
        others: Sequence[float] | None = None,
    ) -> None:
        self._pictures = list(pictures)
        self._weights = [1.0] * len(self._pictures) if weights is None else list(weights)
        self._others = None if others is None else list(others)
        self._mean = self._pictures[0] * np.float32(self._weights[0])
        for picture, weight in zip(self._pictures[1:], self._weights[1:], strict=True):
            cv2.scaleAdd(picture, weight, self._mean, dst=self._mean)
        self._mean /= np.float32(sum(self._weights))
        self._levels: dict[int, tuple[FloatArray, float, float]] = {}

    def sizes(self, least: float = 48.0, most: float = 1e4) -> list[float]:
        """Sizes of a tile that are to be tried, so near to each other that none is missed between them."""
        longest = max(self._pictures[0].shape)
        short = min(self._pictures[0].shape)
        least, most = max(least, 0.2 * short), min(most, 1.1 * short)
        found, size = [], least
        while size <= most:
            found.append(size)
            size *= 1 + 0.55 / (HIGH * max(longest / size, 1.0))
        return found

    def whole(self) -> list[Lay]:
        """Ways of laying the tile if this is the whole frame, whatever its size; measured as they were made.

        Of small frames the last row and column may be gone: encoders want even sides.
        """
        height, width = self._pictures[0].shape
        if max(height, width) > _LONGEST * min(height, width):
            return []
        found = [lay for count in range(FEWEST, MOST + 1) for lay in self._over(0, 0, count)]
        if min(height, width) < _ROUNDED:
            for lower, wider in ((1, 0), (0, 1), (1, 1)):
                if (height % 2 and lower) or (width % 2 and wider):
                    continue
                found += [lay for count in range(FEWEST, FEWEST + 3) for lay in self._over(lower, wider, count)]
        return found

    def _over(self, lower: int, wider: int, count: int) -> list[Lay]:
        """So many halves of tiles along the shorter side, with the last row or column once more where that is 1."""
        height, width = self._pictures[0].shape
        height, width = height + lower, width + wider
        found = []
        for wide, high in sorted({grid(width, height, count, aside) for aside in (-_UNSURE, _UNSURE)}):
            pictures, weights = self._seen_in(wide * high)
            grown = (cv2.copyMakeBorder(one, 0, lower, 0, wider, cv2.BORDER_REPLICATE) for one in pictures)
            small = (_shrunk(np.asarray(one, dtype=np.float32), wide, high) for one in grown)
            folded = np.stack([_folded(_looked_at(one)) for one in small])
            ways = [weights] if self._others is None or len(pictures) == 1 else [self._others, weights]
            for way in ways:
                waves = _whitened(_agreed(folded, np.array(way)) * _waves().turn)
                found.append(self._lay(waves, width / wide * CELL, height / high * CELL, 0, 0))
        return found

    def _seen_in(self, samples: int) -> tuple[list[FloatArray], list[float]]:
        """Pictures that are measured in so many samples, and how much they count."""
        return (self._pictures, self._weights) if samples <= _FEW else ([self._mean], [1.0])

    def best(self, size: float) -> Lay:
        """The way of laying a tile of some size that stands out most."""
        waves = _waves()
        found = self._measure(size, size)
        with_sum = found[waves.one] * found[waves.other]
        with_difference = found[waves.one] * np.conj(found[waves.other])
        spectrum = np.zeros(_GRID * _GRID, dtype=np.complex128)
        for places, products in ((waves.sums, with_sum), (waves.differences, with_difference)):
            spectrum.real += np.bincount(places, products.real, _GRID * _GRID)
            spectrum.imag += np.bincount(places, products.imag, _GRID * _GRID)
        strength = np.fft.ifft2(spectrum.reshape(_GRID, _GRID)).real
        y, x = np.unravel_index(int(strength.argmax()), strength.shape)
        return self._lay(found, size, size, float(x) / _GRID, float(y) / _GRID)

    def refine(self, lay: Lay, rounds: int = 4) -> Lay:
        """The same a little moved and scaled, as it stands out most."""
        height, width = self._pictures[0].shape
        steps = [lay.across**2 / (HIGH * width) / 4, lay.down**2 / (HIGH * height) / 4, 0.2 / HIGH, 0.2 / HIGH]
        for _ in range(rounds):
            for place in range(4):
                for step in (steps[place], -steps[place]):
                    moved = [lay.across, lay.down, lay.x, lay.y]
                    moved[place] += step
                    if place == 0:  # it turns around the middle of the picture
                        moved[2] += width / 2 * (1 / moved[0] - 1 / lay.across)
                    if place == 1:
                        moved[3] += height / 2 * (1 / moved[1] - 1 / lay.down)
                    tried = self._lay(self._measure(moved[0], moved[1]), *moved)
                    if tried.strength > lay.strength:
                        lay = tried
                        break
            steps = [step * 0.6 for step in steps]
        return lay

    @staticmethod
    def _lay(found: Complex, across: float, down: float, x: float, y: float) -> Lay:
        waves = _waves()
        said = (found * np.exp(2j * np.pi * (waves.u * x + waves.v * y))).real
        soft = np.bincount(waves.owner, said, SIGN_COUNT)
        strength = float((soft * soft).sum()) * 2 / max(float((np.abs(found) ** 2).sum()), 1e-12)
        return Lay(across, down, x % 1.0, y % 1.0, strength, soft.astype(np.float32))

    def _measure(self, across: float, down: float) -> Complex:
        """The waves of a tile of some size, whitened."""
        waves = _waves()
        weighted, wide, high = self._level(across)
        across, down = across * wide, down * high
        # The middle of a pixel lies half a pixel from its edge, whatever its size.
        x = (np.arange(weighted.shape[1]) + 0.5 - wide / 2)[:, None] / across
        y = (np.arange(weighted.shape[0]) + 0.5 - high / 2)[None, :] / down
        rows = np.exp(-2j * np.pi * np.arange(-HIGH, HIGH + 1)[:, None] * y)
        turned = np.exp(-2j * np.pi * x * np.arange(HIGH + 1))
        columns = _product(weighted, np.hstack([turned.real, turned.imag]))
        both = _product(np.vstack([rows.real, rows.imag]), columns)
        count = HIGH + 1
        (one, two), (three, four) = (np.hsplit(half, [count]) for half in np.vsplit(both, 2))
        found = (one - four) + 1j * (two + three)
        return _whitened(found[waves.v + HIGH, waves.u].astype(np.complex128))

    def _level(self, size: float) -> tuple[FloatArray, float, float]:
        """The picture with a tile of about CELL samples, what counts of it, and its size over the picture's."""
        number = int(np.floor(np.log2(size / CELL) * 4 + 0.5))
        if number not in self._levels:
            height, width = self._pictures[0].shape
            scale = 2 ** (-number / 4)
            small = max(round(width * scale), 8), max(round(height * scale), 8)
            kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            pictures, weights = self._seen_in(small[0] * small[1])
            levels = (cv2.resize(picture, small, interpolation=kind).astype(np.float32) for picture in pictures)
            seen = sum(_looked_at(level) * np.float32(weight) for level, weight in zip(levels, weights, strict=True))
            self._levels[number] = np.asarray(seen, dtype=np.float32), small[0] / width, small[1] / height
        return self._levels[number]
