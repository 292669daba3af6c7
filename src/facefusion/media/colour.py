"""What the numbers of a photo mean: ICC profiles told apart and built, other colour spaces brought to sRGB."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB_PRIMARIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""White, red, green, blue: x and y of each."""
_CICP_PRIMARIES = {
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_CICP_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_PQ, _HLG = 16, 18
_COLOUR_TAGS = {
    *(
        b"wtpt",
        b"bkpt",
        b"rXYZ",
        b"gXYZ",
        b"bXYZ",
        b"rTRC",
        b"gTRC",
        b"bTRC",
        b"kTRC",
        b"chad",
        b"chrm",
        b"lumi",
        b"cicp",
    ),
    *(kind + number for kind in (b"A2B", b"B2A", b"D2B", b"B2D") for number in (b"0", b"1", b"2", b"3")),
    b"gamt",
}
_COLOUR_TYPES = {b"XYZ ", b"curv", b"para", b"sf32", b"chrm", b"cicp", b"mft1", b"mft2", b"mAB ", b"mBA ", b"mpet"}
HDR_TRANSFERS = {_PQ: "PQ", _HLG: "HLG"}
_WHITE_NITS = 203.0
"""Brightness of paper white in HDR pictures, ITU-R BT.2408."""
_KNEE = 0.8

Convert = Callable[[Image.Image], Image.Image]


def space_of(profile: bytes) -> str:
    """What a profile is for, ``RGB``, ``GRAY``, ``CMYK``, ``Lab`` …, empty where its header does not say."""
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return ""
    return profile[16:20].decode("latin1").strip()


def profile_of_cicp(primaries: int, transfer: int) -> bytes | None:
    """Profile for the code points of ITU-T H.273 that HEIF, AVIF and PNG use; None for sRGB and what is unspecified.

    HDR transfers count as sRGB's: see `standard_range`.
    """
    where, gamma = _CICP_PRIMARIES.get(primaries, SRGB_PRIMARIES), _CICP_GAMMAS.get(transfer)
    return None if where == SRGB_PRIMARIES and gamma is None else build_profile(where, gamma)


def profile_of_png(gamma: float | None, chromaticity: Sequence[float] | None) -> bytes | None:
    """Profile for a PNG's chunks gAMA and cHRM; None where they say sRGB, or nothing that makes sense.

    Parameters
    ----------
    gamma
        Exponent of the encoding, 1/2.2 for most.
    chromaticity
        White, red, green, blue: x and y of each.
    """
    curve = None if gamma is None or not 0.05 <= gamma <= 5 or abs(gamma * 2.2 - 1) < 0.05 else 1 / gamma
    where = SRGB_PRIMARIES
    if chromaticity is not None and len(chromaticity) == 8:
        numbers = tuple(float(value) for value in chromaticity)
        if max(abs(a - b) for a, b in zip(numbers, SRGB_PRIMARIES, strict=True)) > 0.005:
            where = numbers  # type: ignore[assignment]
    if curve is None and where == SRGB_PRIMARIES:
        return None
    try:
        return build_profile(where, curve)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, struct.error):
        return None


@lru_cache(maxsize=16)
def build_profile(primaries: tuple[float, ...], gamma: float | None = None) -> bytes:
    """An ICC profile (version 4, matrix and curves), the same bytes for the same numbers.

    Parameters
    ----------
    primaries
        White, red, green, blue: x and y of each.
    gamma
        Exponent; None for the curve of sRGB.

    Raises
    ------
    ValueError, LinAlgError
        When no colour space has such primaries.

    References
    ----------
    ICC.1:2010; the white is brought to D50 by Bradford's matrix.
    """
    if min(primaries[1::2]) <= 0.001:
        raise ValueError("primaries without light")
    pairs = zip(primaries[::2], primaries[1::2], strict=True)
    white, *colours = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in pairs)
    matrix = np.stack(colours, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    if gamma is None:
        curve = b"para" + struct.pack(">IHH5i", 0, 3, 0, *_fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    else:
        curve = b"para" + struct.pack(">IHHi", 0, 0, 0, *_fixed(gamma))
    tags = {b"desc": _text("Colours of the original"), b"cprt": _text("No copyright"), b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), (adapt @ matrix).T, strict=True)}
    tags |= {b"chad": b"sf32" + struct.pack(">I9i", 0, *_fixed(*adapt.ravel())), b"rTRC": curve}
    table, body = b"", b""
    start = 132 + 12 * (len(tags) + 2)
    places = {}
    for name, value in tags.items():
        places[name] = start + len(body), len(value)
        body += value + bytes(-len(value) % 4)
    places[b"gTRC"] = places[b"bTRC"] = places[b"rTRC"]
    for name, (offset, size) in places.items():
        table += struct.pack(">4sII", name, offset, size)
    head = struct.pack(
        ">I4sI4s4s4s6H4s4sI4s4sQI3i4s16s28x",
        start + len(body), b"", 0x04200000, b"mntr", b"RGB ", b"XYZ ", 2024, 1, 1, 0, 0, 0, b"acsp",
        b"", 0, b"", b"", 0, 0, *_fixed(*_D50), b"", b"",
    )  # fmt: skip
    return head + struct.pack(">I", len(places)) + table + body


def bare_profile(profile: bytes) -> bytes | None:
    """A profile that says the same about colours and nothing else.

    Profiles of screens hold their names and serial numbers, those of programs dates and names.

    Returns
    -------
    A profile, or None where it cannot be read.
    """
    if not space_of(profile):
        return None
    tags: dict[bytes, bytes] = {}
    try:
        for number in range(min(struct.unpack_from(">I", profile, 128)[0], 200)):
            name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
            value = profile[offset : offset + size]
            if len(value) != size:
                return None
            if name in _COLOUR_TAGS and value[:4] in _COLOUR_TYPES:
                tags[name] = value
    except struct.error:
        return None
    if not tags:
        return None
    is_new = profile[8] >= 4
    words = b"Colours of the original"
    old = b"desc" + struct.pack(">II", 0, len(words) + 1) + words + bytes(1 + 78)
    tags[b"desc"] = _text(words.decode()) if is_new else old
    tags[b"cprt"] = _text("No copyright") if is_new else b"text\0\0\0\0No copyright\0"
    places: dict[bytes, tuple[int, int]] = {}
    known: dict[bytes, tuple[int, int]] = {}
    start, body = 132 + 12 * len(tags), b""
    for name in sorted(tags):
        value = tags[name]
        if value not in known:
            known[value] = start + len(body), len(value)
            body += value + bytes(-len(value) % 4)
        places[name] = known[value]
    table = b"".join(struct.pack(">4sII", name, *place) for name, place in places.items())
    # Size, no maker, version, kind and spaces, a fixed date, no platform, maker, model, creator and checksum.
    date = struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    rest = profile[64:80]  # intent and white
    head = struct.pack(">I4x", start + len(body)) + profile[8:24] + date + b"acsp" + bytes(24) + rest + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def _fixed(*numbers: float) -> tuple[int, ...]:
    return tuple(int(round(float(number) * 65536)) for number in numbers)


def _xyz(values: Sequence[float] | npt.NDArray[np.float64]) -> bytes:
    return b"XYZ " + struct.pack(">I3i", 0, *_fixed(*values))


def _text(words: str) -> bytes:
    coded = words.encode("utf-16-be")
    return b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", len(coded), 28) + coded


def convert_to_srgb(profile: bytes | None, mode: str) -> Convert | None:
    """How to bring parts of a picture to sRGB.

    Parameters
    ----------
    profile
        Of the picture; None for L*a*b*, which needs none.
    mode
        Pillow's: ``L``, ``CMYK``, ``LAB`` or ``RGB``.

    Returns
    -------
    A function from a picture of that mode to an RGB picture, or None where the profile cannot be used.
    """
    try:
        source = ImageCms.createProfile("LAB") if profile is None else ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL if mode == "CMYK" else ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None

    def convert(part: Image.Image) -> Image.Image:
        return transform.apply(part)

    return convert


def standard_range(transfer: int) -> npt.NDArray[np.uint8]:
    """Table of 256 values that brings one channel of an HDR picture to sRGB's curve.

    Paper white (203 nits) becomes nearly white; what is brighter is pressed together above it.

    References
    ----------
    SMPTE ST 2084, ITU-R BT.2100 and BT.2408.
    """
    light = _light(np.arange(256) / 255, transfer)
    light = _pressed(light, light[-1])
    coded = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)
    return np.clip(np.round(coded * 255), 0, 255).astype(np.uint8)


def _light(values: npt.NDArray[np.float64], transfer: int) -> npt.NDArray[np.float64]:
    """Light of coded values of 0 to 1, over that of paper white."""
    if transfer == _PQ:
        power = values ** (1 / 78.84375)
        nits = 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
        nits = 1000 * scene**1.2
    light: npt.NDArray[np.float64] = nits / _WHITE_NITS
    return light


def _pressed(light: npt.NDArray[np.float64], top: float) -> npt.NDArray[np.float64]:
    """Light of 0 to ``top`` brought to 0 to 1: nothing changes below the knee."""
    above = np.maximum(light - _KNEE, 0) / (top - _KNEE)
    share = (1 - _KNEE) * np.log1p(above * (top - _KNEE) / (1 - _KNEE)) / np.log1p((top - _KNEE) / (1 - _KNEE))
    return np.where(light > _KNEE, _KNEE + share, light)


HDR = {16: "PQ", 18: "HLG"}
"""Transfers of HDR, as numbers of ITU-T H.273."""
STANDARD = (1, 1, 1, 1)
"""Primaries, transfer, matrix and range of BT.709, as the same numbers: what `to_standard` gives."""
_709_FROM_2020 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
    dtype=np.float32,
)
"""ITU-R BT.2087."""
_STEPS = 4096
"""Of the square root of light: as fine as 12 bits."""


def to_standard(pixels: npt.NDArray[np.uint16], transfer: int) -> npt.NDArray[np.uint8]:
    """An HDR picture in the colours and the range of BT.709.

    Colours of BT.2020 that BT.709 has not become the nearest that it has; what is brighter than paper white is pressed
    together above it.

    Parameters
    ----------
    pixels
        (H, W, 3) RGB of BT.2020, 16 bits.
    transfer
        One of `HDR`.

    Returns
    -------
    (H, W, 3) RGB, 8 bits.
    """
    to_light, to_code, top = _tables(transfer)
    light = to_light[pixels].reshape(-1, 3) @ _709_FROM_2020.T
    step = np.sqrt(np.clip(light / top, 0, 1)) * (_STEPS - 1) + 0.5
    return np.asarray(to_code[step.astype(np.uint16)].reshape(pixels.shape), dtype=np.uint8)


@lru_cache(maxsize=2)
def _tables(transfer: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], float]:
    """Light of every 16-bit code, codes of 8 bits of every step of light, and the brightest light."""
    light = _light(np.arange(65536) / 65535, transfer)
    top = float(light[-1])
    steps = (np.arange(_STEPS) / (_STEPS - 1)) ** 2 * top
    coded = _pressed(steps, top) ** (1 / 2.4)  # screens show BT.709 so (BT.1886)
    return light.astype(np.float32), np.clip(np.round(coded * 255), 0, 255).astype(np.uint8), top
