"""A sheet that shows who is who: pictures with numbers and words beside them."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

WIDTH = 1120
PAD = 24
PORTRAIT = 168
LOOK = 96
OVERVIEW = 420
INK, FAINT, PAPER, LINE = (28, 35, 48), (91, 101, 119), (255, 255, 255), (223, 228, 236)
COLOURS = (
    (196, 60, 52), (38, 110, 190), (40, 140, 80), (176, 108, 20), (128, 70, 170), (20, 138, 146), (190, 60, 130),
    (104, 116, 40),
)  # fmt: skip
"""Of the first people, by number; those of others are reckoned."""
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One person.

    Attributes
    ----------
    number
        Which.
    portrait
        (H, W, 3) uint8 RGB, the best look.
    looks
        Others, in order of time.
    title, lines
        Words beside them.
    spans
        When they are seen, as shares of the length, 0 to 1.
    """

    number: int
    portrait: Pixels
    looks: Sequence[Pixels]
    title: str
    lines: Sequence[str]
    spans: Sequence[tuple[float, float]]


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of a person, which nobody else has."""
    if number < len(COLOURS):
        return COLOURS[number]
    # Hues that fall between all before them, in three shades that stand out on white.
    saturation, value = ((0.95, 0.45), (0.6, 0.8), (0.45, 0.55))[number % 3]
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_sheet(
    title: str, subtitle: str, overviews: Sequence[tuple[Pixels, str, Sequence[tuple[int, Box]]]], rows: Sequence[Row]
) -> Pixels:
    """Draw a sheet.

    Parameters
    ----------
    title, subtitle
        Words at the top.
    overviews
        Whole frames, each with words below it and the people in it: number and xyxy box in its pixels.
    rows
        Everybody, one below the other.

    Returns
    -------
    (H, W, 3) uint8 RGB.
    """
    frames = [_overview(pixels, people) for pixels, _, people in overviews]
    places, frame_height = _places([frame.size for frame in frames])
    row_height = PORTRAIT + PAD
    height = 84 + frame_height + row_height * len(rows) + PAD
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (PAD, 18), title, 26, INK, WIDTH - 2 * PAD)
    _write(draw, (PAD, 52), subtitle, 16, FAINT, WIDTH - 2 * PAD)
    top = 84
    for frame, (left, below), (_, words, _) in zip(frames, places, overviews, strict=True):
        sheet.paste(frame, (left, top + below))
        _write(draw, (left, top + below + frame.height + 4), words, 14, FAINT, frame.width)
    top += frame_height
    for row in rows:
        draw.line((PAD, top, WIDTH - PAD, top), LINE)
        _draw_row(sheet, draw, row, top + PAD // 2)
        top += row_height
    return np.asarray(sheet, dtype=np.uint8)


def _places(sizes: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
    """Left and top of frames that stand side by side as long as there is room, and the height of them all."""
    places: list[tuple[int, int]] = []
    left, top, height = PAD, 0, 0
    for width, tall in sizes:
        if left > PAD and left + width > WIDTH - PAD:
            left, top, height = PAD, top + height, 0
        places.append((left, top))
        left, height = left + width + 16, max(height, tall + 34)
    return places, top + height


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    colour = colour_of(row.number)
    sheet.paste(_filled(row.portrait, PORTRAIT), (PAD, top))
    draw.rectangle((PAD, top, PAD + PORTRAIT - 1, top + PORTRAIT - 1), outline=colour, width=3)
    _tag(draw, (PAD, top), str(row.number), colour, 26)
    left = PAD + PORTRAIT + 20
    looks = list(row.looks)[:4]
    room = WIDTH - PAD - left - len(looks) * (LOOK + 8) - 12
    _write(draw, (left, top), row.title, 22, INK, room)
    for k, line in enumerate(list(row.lines)[:4]):
        _write(draw, (left, top + 32 + 23 * k), line, 16, FAINT, room)
    x = WIDTH - PAD - len(looks) * (LOOK + 8) + 8
    for look in looks:
        sheet.paste(_filled(look, LOOK), (x, top))
        x += LOOK + 8
    bar = top + PORTRAIT - 22
    right = WIDTH - PAD
    draw.rounded_rectangle((left, bar, right, bar + 12), 6, fill=LINE)
    for start, stop in row.spans:
        x0, x1 = (left + (right - left) * min(max(share, 0.0), 1.0) for share in (start, stop))
        draw.rounded_rectangle((x0, bar, max(x1, x0 + 4), bar + 12), 4, fill=colour)


def _overview(pixels: Pixels, people: Sequence[tuple[int, Box]]) -> Image.Image:
    height, width = pixels.shape[:2]
    scale = min((WIDTH - 2 * PAD) / width, OVERVIEW / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    frame = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(frame)
    for number, box in people:
        x0, y0, x1, y1 = ((v + 0.5) * scale for v in box)
        colour = colour_of(number)
        draw.rectangle((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)), outline=colour, width=3)
        _tag(draw, (min(max(x0, 0), size[0] - 24), min(max(y0 - 24, 0), size[1] - 24)), str(number), colour, 18)
    return frame


def _filled(pixels: Pixels, side: int) -> Image.Image:
    """A square that a picture fills, from its middle."""
    image = Image.fromarray(pixels)
    cut = min(image.size)
    left, top = (image.width - cut) // 2, (image.height - cut) // 2
    return image.crop((left, top, left + cut, top + cut)).resize((side, side), Image.Resampling.LANCZOS)


def _tag(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: tuple[int, int, int], size: int
) -> None:
    font = ImageFont.load_default(size)
    width = draw.textlength(text, font) + size * 0.7
    x, y = place
    draw.rectangle((x, y, x + width, y + size * 1.3), fill=colour)
    draw.text((x + size * 0.35, y + size * 0.02), text, (255, 255, 255), font)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, colour: tuple[int, int, int], room: int
) -> None:
    """One line, shortened where it does not fit."""
    font = ImageFont.load_default(size)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    while draw.textlength(text, font) > room and len(text) > 1:
        text = text[: math.ceil(len(text) * 0.9) - 2] + "…" if len(text) > 2 else text[:1]
    draw.text(place, text, colour, font)
