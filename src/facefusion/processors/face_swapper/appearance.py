"""What a source's face looks like by itself: complete, evenly lit, without what lies before it.

The texture of a photo goes through a small network that has learnt what faces look like in the texture plane. It gives
the clean texture, coarsely, and says how far the photo's fine detail (moles, pores, hairs) is the person's own; that
detail is put back there, and taken from the other half of the face where this half does not show it. The network also
smooths what only looks unusual and makes somebody a little more like everybody: where the photo differs from its answer
by less than anything foreign would, and nothing foreign is near, the photo is right. What a small or grainy photo shows
on plain skin is its noise and its compression, and is calmed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facefusion.imaging.light import colour_beyond_tone
from facefusion.imaging.masks import are_glasses
from facefusion.imaging.strands import follow_strands
from facefusion.imaging.texture import TexturePlane, blur, grown, resize, smoothly, smoothstep, unwrap
from facefusion.models.face_relief import FaceRelief, load_face_relief
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray, LineMasker, Masker
from facefusion.plugins.registry import build_engine
from facefusion.types.crop import SourceFace

MODEL = "face_appearance_embedded"
OCCLUDER = "face_occluder", "embedded"
"""Capability and name of what tells what lies before the face of a photo."""
SIZE = 192
"""Side of the network's textures."""
LOW, HIGH = -2.6, 1.4
"""Limits of the logarithm of a texture without its light, as in training."""
SURE, DOUBTFUL = 0.75, 0.3
"""Chances of something before the face that count as all of it and as nothing."""
SQUARE = 0.45
"""How squarely a part must be seen so that its fine detail is worth more than that of the other half."""


PLAIN_FROM, PLAIN_TO = 0.46, 0.62
"""Distance from the middle of the texture, over half of its side, from which a face is plain skin."""
BESIDE_BROWS = (0.43, 0.52)
"""The same, from which nothing of a face is darker than its skin; brows end at 0.465."""
BESIDE_CHEEKS, BELOW_EYES = (0.33, 0.43), (0.39, 0.43)
"""The same, from which cheeks are darkened by what stands beside them, a beard apart; and rows of the texture over its
side, between which cheeks begin."""
SHADED = -0.06
"""How dark cheeks may be there, natural logarithm: what is darker is hair or its shadow."""
OWN_PX = 8.0
"""Width, texture pixels of the network, above which what a photo shows is taken for its light and not put back."""
ODD = (0.35, 0.7)
"""Difference from the network's answer, natural logarithm, from which something may be foreign, and surely is."""
NEAR_PX = 9
"""Side, texture pixels of the network, of what counts as near something foreign."""
RIM_SHADE = 0.012
"""Breadth of the shine and the shade beside a rim, over the height of the face."""
BESIDE_PX = 5
"""The same, of what shows the edge of something before the face."""
SMALL_PX, COARSE_PX = (72.0, 160.0), (48.0, 110.0)
"""Heights of a face in its photo below which the colours and the relief of plain skin are compression, and from which
they are skin: colours are coded more coarsely."""
USUAL_BLUR = 1.3
"""Standard deviation of the blur of photos, pixels, as it is measured: half of all have less than 1.26."""
GRAINY = (3.0, 8.0)
"""Grain of a photo, levels of 255, from which its fine detail is less and less believed, and not at all."""
FINE_PX = (48.0, 110.0)
"""Height of a face from which what the network's textures cannot hold is more than compression, and all of it is."""
SOFT_PX, SHARPENED, SHARPENED_SKIN = (120.0, 300.0), 0.9, 0.15
"""Heights of a face in its photo up to which eyes, brows and lips are sharpened fully, and from which they are not at
all; by how much of what lies above their blur; and the share of that on plain skin, which would show compression."""
MOST_ADDED = 0.35
"""The most detail that is made stronger, natural logarithm: beyond, dark rims would get bright ones."""
FACE_OF_SIDE = 0.8
"""Height of a face in the texture over its side."""
EVENED = 0.5
"""Share of what two halves of plain skin differ by that is taken off small photos."""
SKIN_PX = 8.0
"""Width, texture pixels of the network, below which plain skin has no colours of its own."""
STRANGE = (0.46, 0.7)
"""Green or blue, natural logarithm more than skin has, from which something may be no face, and surely is none. More
red than skin has, a face may have."""
STRANGE_PX = 9
"""Side, texture pixels of the network, of what counts as near it: its border is mixed with skin."""
DARK = (-1.9, -1.3)
"""Logarithm of light below which a photo shows no colours that could be believed, and from which it does."""
COLOURS = (0.09, 0.18)
"""Colour, natural logarithm away from that of the skin, up to which plain skin has it by itself, and the most that it
is shown with: light from two lamps has more (nine photos of ten have less than 0.19)."""
OF_COLOURED, OF_PAINTED = 2.5, 5.0
"""How many times as much eyes and brows may have, and lips: lipstick."""
CONTRAST, LEAST_CONTRAST = 0.39, 0.65
"""Mean contrast of plain skin, natural logarithm, up to which it is its own, and the least share of it that stays.
Three of four photos have less; hard light, or somebody's idea of a strong picture, has more."""
OF_FEATURES = 0.3
"""Share of what is taken off plain skin that is taken off eyes, brows and lips, by which somebody is known."""
TELLING = ((0.18, 0.83), (0.28, 0.72))
"""Rows and columns of the texture, over its side, in which contrast is measured."""
ONE_SIDED = (0.085, 0.13)
"""How far the halves of plain skin are from their mean, natural logarithm, from which a face is taken to be lit from
one side, and surely is. Nine photos of ten have less than 0.087."""
EVEN_PX, EVEN_FEATURES = 4.0, 0.5
"""Width, texture pixels of the network, above which both halves of a face are alike but for that light; and how far
eyes, brows and lips are evened."""
COLOURED = (0.035, 0.07)
"""Colour, natural logarithm away from what goes with its darkness, that 95 of 100 places have less than: up to which a
photo is without colours, black-and-white, sepia or tinted, and from which it has its own. Those without any have 0.00,
99 of 100 photos in colour more than 0.09 (219 photos), all of them more than 0.057."""
SHADE_PX, SHADE_EDGE_PX = 17, 2.5
"""Side, texture pixels of the network, of what a brow or lashes do not fill: where nothing in it is bright, there is a
shadow; and how soft its edge is."""
SHADE_OF_BROWS, SHADE, SHADE_LEFT = -0.8, -0.5, 0.25
"""Logarithm of light, less that of plain skin, of the brightest there, from which it lies in a shadow, down to brows
and below them, and the share of what is darker that is left. Of 370 photos three of four have more than -0.5 around
the eyes, and nine of ten more than -0.8 on brows."""
BROWS_END = (0.28, 0.32)
"""Rows of the texture over its side, from which there is less of brows and more of lids, and only that."""
DARKNESS = (-2.5, -1.75, -1.3, -0.95, -0.68, -0.45, -0.25, -0.05, 0.15, 0.38, 0.75)
"""Logarithm of light, less that of plain skin, for which the colours below are."""
USUAL_RED = {
    "skin": (0.157, 0.224, 0.195, 0.146, 0.113, 0.080, 0.052, 0.016, -0.029, -0.082, -0.141),
    "features": (0.118, 0.140, 0.120, 0.089, 0.051, 0.026, -0.002, -0.038, -0.082, -0.129, -0.185),
    "lips": (0.438, 0.487, 0.396, 0.344, 0.286, 0.224, 0.164, 0.109, 0.049, -0.022, -0.098),
    "eyes": (-0.075, -0.145, -0.165, -0.198, -0.213, -0.221, -0.246, -0.290, -0.306, -0.351, -0.403),
}
"""Red over all light, natural logarithm, less the same of plain skin: of plain skin, of brows and lids, of lips, and
between lids. Medians of 100 photos in colour under permissive licences: skin in a shade is redder, what shines is not,
and the white of an eye is less red than skin. Red and blue are known to a fifth of a logarithm in eyes, and to half as
much elsewhere."""
USUAL_BLUE = {
    "skin": (-0.077, -0.121, -0.119, -0.093, -0.074, -0.061, -0.045, -0.016, 0.024, 0.070, 0.117),
    "features": (-0.053, -0.086, -0.078, -0.053, -0.027, -0.012, 0.007, 0.035, 0.071, 0.110, 0.156),
    "lips": (-0.164, -0.164, -0.089, -0.055, -0.022, 0.010, 0.043, 0.079, 0.126, 0.156, 0.187),
    "eyes": (0.076, 0.147, 0.166, 0.182, 0.200, 0.227, 0.238, 0.257, 0.301, 0.323, 0.341),
}
"""The same of blue; green is what is left."""
LEAST_SKIN = 200.0
"""Pixels of the network's texture without which nothing is said of the skin's colour."""
GRAINS = ((0.0, 1.0, 0.036), (1.0, 2.0, 0.042), (2.0, 4.0, 0.072))
"""Widths of the finest relief, pixels of a texture of 512, and the most of it that plain skin has, natural logarithm:
three of four photos have less. More is film grain, or what sharpening made of pores."""
GRAIN_PX = 14.0
"""Width, the same, over which it is measured: grain is strongest in shadows."""
CONTRAST_PX = 24.0
"""Width, texture pixels of the network, of what contrast is measured against."""
RELIEF_PX = 1.5
"""The same, below which what a place differs by is the person's own: folds, moles, pores."""
LIKELY, LIKELY_COLOUR = (3.0, 0.1), (1.0, 0.03)
"""How many times the spread of people, and how much besides, natural logarithm, plain skin differs at most from what is
usual there, in light and in colour: what differs by more is a highlight or a shadow."""
STRANGER, STRANGER_AT_NOSE = (0.25, 0.5), (0.06, 0.18)
"""How much more one half of a face differs from what is usual than the other, natural logarithms of light and colour
together, from which it is that of the other more and more, and in full; and beside a nose, which throws shadows, hides
what is behind it and is the same on both sides."""
NOSE = (0.47, 0.11, 0.16)
"""Row of the texture, over its side, of the middle of what is beside a nose, and half of its breadth and height."""
HARD_EDGE, EDGE_LEFT = (0.03, 0.15), 0.2
"""Natural logarithm that is taken off so, from which the finest detail near it is the edge of a shadow, and surely; and
the share of it that stays."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """A clean face.

    Attributes
    ----------
    detail
        (S, S, 3) float32 logarithm of linear light without the light that fell on it.
    own
        (S, S) float32, 0 to 1: how far it is what the photos showed and not what was completed.
    is_colourless
        Whether the photos have no colours, so that those of the face are what most people have.
    """

    detail: FloatArray
    own: FloatArray
    is_colourless: bool = False


@dataclass(frozen=True, slots=True)
class Fineness:
    """How finely a photo shows a face.

    Attributes
    ----------
    height
        Of the face in a photo of usual sharpness that would show as much, pixels.
    grain
        Standard deviation of its grain, levels of 255.
    tilt
        0 to 1: how far it is seen from so far below or above that its relief is smeared over the texture.
    """

    height: float = 512.0
    grain: float = 0.0
    tilt: float = 0.0

    @property
    def roughness(self) -> float:
        """0 to 1: how far the relief of plain skin is compression."""
        return 1 - smoothly(self.height, COARSE_PX)

    @property
    def noise(self) -> float:
        """0 to 1: how far its finest detail is grain, or smeared."""
        return max(smoothly(self.grain, GRAINY), self.tilt)

    @property
    def unsure(self) -> float:
        """0 to 1: how far what it shows is either."""
        return max(self.roughness, self.noise)

    @property
    def sharpened(self) -> float:
        """0 to `SHARPENED`: by how much of itself what is finer than the photo's blur is made stronger."""
        low, high = SOFT_PX
        return SHARPENED * min(max((high - self.height) / (high - low), 0.0), 1.0)

    @property
    def depth(self) -> float:
        """0 to 1: how far there is anything finer than the network's textures."""
        return smoothly(self.height, FINE_PX)


def fineness_of(height: float, finish: tuple[float, float] | None, tilt: float = 0.0) -> Fineness:
    """How finely a face is shown.

    Parameters
    ----------
    height
        Of the face in its photo, pixels.
    finish
        As of `facefusion.imaging.finish.measure_finish`.
    tilt
        As of `Fineness`.
    """
    if finish is None:
        return Fineness(height, tilt=tilt)
    blurred, grain = finish
    # Enlarging a picture shows no more of it.
    return Fineness(height * min(1.0, USUAL_BLUR / max(blurred, 1e-3)), grain, tilt)


class Completer:
    """Cleans and completes textures.

    Parameters
    ----------
    session
        A session of ``face_appearance_embedded``.
    occluder
        Says where a photo shows the face and nothing before it: the embedded one.

    Attributes
    ----------
    key
        What the answer depends on besides the photos.
    relief
        What faces usually look like in even light; None leaves hard light on skin.
    """

    def __init__(self, session: Session, occluder: Masker, relief: FaceRelief | None = None) -> None:
        self._session, self._occluder, self.relief = session, occluder, relief
        self.key = session.spec.key, session.provider

    def find_covered(self, source: SourceFace, plane: TexturePlane, rims: FloatArray | None) -> FloatArray:
        """(S, S) float32: how far something lies before the face of a photo, 0 to 1; rims as of `find_rims`."""
        (bare,) = self._occluder.mask([source.pixels], [source.face])
        covered = follow_strands(source.pixels, source.face.mesh, 1 - bare)
        covered = np.clip((covered - DOUBTFUL) * np.float32(1 / (SURE - DOUBTFUL)), 0, 1)
        if rims is not None:
            covered = np.maximum(covered, rims)
        coded = np.rint(covered * 255).astype(np.uint8)
        texture, _ = unwrap(np.repeat(coded[..., None], 3, axis=2), source.face.mesh, plane)
        return np.asarray(texture[..., 0] * np.float32(1 / 255), dtype=np.float32)

    def find_rims(self, source: SourceFace) -> FloatArray | None:
        """(H, W) how far frames of glasses hide each pixel of a photo; None where none are worn."""
        if not isinstance(self._occluder, LineMasker):
            return None
        ((_, free),) = self._occluder.mask_with_lines([source.pixels], [source.face])
        if free is None or not are_glasses(1 - free, source.face.mesh):
            return None
        return grown(1 - free, 2 * int(RIM_SHADE * float(np.ptp(source.face.mesh[:, 1]))) + 1)

    def complete(
        self,
        detail: FloatArray,
        seen: FloatArray,
        covered: FloatArray,
        skin: FloatArray | None = None,
        fineness: Fineness | None = None,
        bearded: FloatArray | None = None,
        lips: FloatArray | None = None,
        eyes: FloatArray | None = None,
    ) -> Appearance:
        """A clean texture from a spoiled one.

        Parameters
        ----------
        detail
            (S, S, 3) logarithm of linear light without the light that fell on the face.
        seen
            (S, S) how squarely each part was seen, 0 where it was not.
        covered
            (S, S) chance that something lies before it.
        skin
            (S, S) how far each place is plain skin in every face; None calms nothing.
        fineness
            How finely the photos show it; None for as finely as can be.
        bearded
            (S, S) how far a beard is known to be there, 0 to 1: what is seen of it is the person's own, however unlike
            most faces. None for nowhere.
        lips
            (S, S) where lips are in every face; None for nowhere.
        eyes
            (S, S) the same of what is between the lids.
        """
        fineness = fineness or Fineness()
        side = detail.shape[0]
        small, near, over = (resize(values, SIZE) for values in (np.clip(detail, LOW, HIGH), seen, covered))
        plain_skin = None if skin is None else resize(skin, SIZE)
        if plain_skin is not None:
            over = np.maximum(over, _strange(small, near, over, plain_skin))
        visible = np.clip(near * 12, 0, 1)
        image = np.dstack([small * visible[..., None], near, over]).transpose(2, 0, 1)[None]
        clean, own = self._session.run({"image": np.ascontiguousarray(image, dtype=np.float32)})
        whole, trust = np.ascontiguousarray(clean[0].transpose(1, 2, 0)), np.ascontiguousarray(own[0, 0])
        # What only one half shows, the other has too, more likely than what most people have there.
        hair = np.zeros_like(trust) if bearded is None else resize(bearded, SIZE)
        hair = hair * (1 - _foreign(over))
        trust = np.maximum(trust, hair)
        known = trust * np.clip((near - 0.06) / 0.4, 0, 1)
        whole = _with_own(whole, small, trust, known * np.float32(1 - fineness.unsure), over, hair)
        lack = np.clip((known[:, ::-1] - known - 0.15) / 0.6, 0, 1)
        lack = blur(np.asarray(lack * lack * (3 - 2 * lack), dtype=np.float32), 2.0)
        whole = whole + (whole[:, ::-1] - whole) * lack[..., None]
        # At the sides of the head there is skin and nothing that tells anybody apart; photos mostly show hair there.
        side_share = np.abs(np.arange(SIZE) - (SIZE - 1) / 2) / (SIZE / 2)
        plain = np.clip((side_share - PLAIN_FROM) / (PLAIN_TO - PLAIN_FROM), 0, 1)
        # A beard goes on to the ears, as far as either half shows it.
        whiskers = hair * np.clip(np.maximum(near, near[:, ::-1]) / 0.4, 0, 1)
        whole = whole * (1 - (plain * plain * (3 - 2 * plain))[None] * (1 - whiskers))[..., None]
        # Where brows have ended what is dark is hair that hangs there; whiskers are told by who found a beard.
        aside = smoothstep((side_share - BESIDE_BROWS[0]) / (BESIDE_BROWS[1] - BESIDE_BROWS[0]))[None] * (1 - hair)
        whole = whole - np.minimum(whole.mean(axis=-1), 0)[..., None] * aside[..., None]
        whole = whole - _shade_on_cheeks(whole, hair)[..., None]
        whole = np.ascontiguousarray(whole, dtype=np.float32)
        contrast, hard = 1.0, np.zeros_like(trust)
        if plain_skin is not None:
            red = np.zeros_like(plain_skin) if lips is None else resize(lips, SIZE)
            whole = _unshaded(whole, plain_skin, np.maximum(hair, red))
            whole = _calmed(_one_coloured(_evened(whole, plain_skin), plain_skin, red), plain_skin, fineness)
            whole, contrast = _softened(whole, plain_skin)
            if self.relief is not None:
                whole, hard = _in_even_light(whole, plain_skin, self.relief)
        wide = resize(whole, side)
        trusted = resize(trust, side)
        # Fine detail is what the network's size cannot hold; it comes from the half that shows it best.
        fine = detail - resize(resize(detail, SIZE), side)
        beside = resize(grown(_foreign(over), BESIDE_PX), side)  # the edge of glasses shows on either side of it
        share = trusted * np.clip(seen / SQUARE, 0, 1) * (1 - beside) * (1 - resize(hard, side))
        if plain_skin is not None:
            share = share * (1 - np.float32(max(fineness.noise, 1 - fineness.depth)) * resize(plain_skin, side))
        other = share[:, ::-1] * (1 - share)
        fine = (fine * share[..., None] + fine[:, ::-1] * other[..., None]) * np.float32(contrast)
        whole = np.asarray(wide + fine, dtype=np.float32)
        lack_of_colour = 0.0
        if skin is not None:
            lack_of_colour = _lack_of_colour(small, near * (1 - over))
            if lack_of_colour > 0:
                whole = _with_usual_colours(whole, lack_of_colour, skin, lips, eyes)
            whole = _sharpened(_with_less_grain(whole, skin), skin, fineness)
        return Appearance(whole, trusted, lack_of_colour > 0.5)


def _with_own(
    whole: FloatArray, small: FloatArray, trust: FloatArray, known: FloatArray, over: FloatArray, hair: FloatArray
) -> FloatArray:
    """The network's answer with what is the person's own put back, broad light left out but where it is a beard."""
    rest = np.asarray(small - whole, dtype=np.float32)
    odd = smoothstep((np.abs(blur(rest, 2.0)).max(axis=-1) - ODD[0]) / (ODD[1] - ODD[0])) * (known > 0.05)
    odd = odd * (1 - hair)
    foreign = np.maximum(smoothstep((0.35 - trust) / 0.2), _foreign(over))
    doubt = blur(grown(np.maximum(odd, foreign), NEAR_PX), 1.5)
    rest = np.asarray(rest * (known * (1 - doubt))[..., None], dtype=np.float32)
    return np.asarray(whole + rest - blur(rest, OWN_PX) * (1 - hair)[..., None], dtype=np.float32)


def _shade_on_cheeks(whole: FloatArray, hair: FloatArray) -> FloatArray:
    """(T, T) how much darker than they are the sides of cheeks are by hair beside them, 0 or less."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / np.float32(SIZE)
    side = smoothstep((np.abs(columns - 0.5) * 2 - BESIDE_CHEEKS[0]) / (BESIDE_CHEEKS[1] - BESIDE_CHEEKS[0]))
    below = smoothstep((rows - BELOW_EYES[0]) / (BELOW_EYES[1] - BELOW_EYES[0]))
    broad = blur(np.ascontiguousarray(whole.mean(axis=-1), dtype=np.float32), 2.0)
    return np.asarray(np.minimum(broad - SHADED, 0) * side * below * (1 - hair), dtype=np.float32)


def _foreign(over: FloatArray) -> FloatArray:
    """How far something lies before the face, 0 to 1, from the chance of it."""
    return smoothstep((over - 0.2) / 0.3)


def _lack_of_colour(small: FloatArray, near: FloatArray) -> float:
    """0 to 1: how far what was seen has no colours but those that go with its darkness, as prints and tints have."""
    shown = small[near > 0.1]
    if len(shown) <= LEAST_SKIN:
        return 0.0
    rest = colour_beyond_tone(np.maximum(shown, LOW))
    return 1 - smoothly(float(np.quantile(rest, 0.95)), COLOURED)


def _with_usual_colours(
    whole: FloatArray, share: float, skin: FloatArray, lips: FloatArray | None, eyes: FloatArray | None
) -> FloatArray:
    """The texture with so much of its colours replaced by those that most faces have where they are as dark."""
    grey = whole.mean(axis=-1)
    darkness = grey - np.median(grey[skin > 0.6 * skin.max()])
    plain = np.clip(skin, 0, 1)
    parts = {"skin": plain, "features": 1 - plain}
    for name, part in (("lips", lips), ("eyes", eyes)):
        if part is not None:
            parts = {other: weight * (1 - part) for other, weight in parts.items()} | {name: part}
    red, blue = (
        sum(np.interp(darkness, DARKNESS, usual[name]) * weight for name, weight in parts.items())
        for usual in (USUAL_RED, USUAL_BLUE)
    )
    usual = grey[..., None] + np.stack([red, -(red + blue), blue], axis=-1)
    return np.asarray(whole + (usual - whole) * np.float32(share), dtype=np.float32)


def _of_skin(colour: FloatArray, weight: FloatArray) -> FloatArray:
    """(3,) the colour that most of the skin has."""
    return np.asarray(np.median(colour[weight > 0.6 * weight.max()], axis=0), dtype=np.float32)


def _strange(small: FloatArray, near: FloatArray, over: FloatArray, skin: FloatArray) -> FloatArray:
    """(T, T) how far there is a colour where skin should be that skin cannot have: a cap, a scarf, another lamp."""
    grey = small.mean(axis=-1)
    bright = smoothstep((grey - DARK[0]) / (DARK[1] - DARK[0]))
    known = np.asarray(bright * np.clip(near * 12, 0, 1) * (1 - over), dtype=np.float32)
    telling = known * skin
    if telling.sum() < LEAST_SKIN:
        return np.zeros_like(grey)
    colour = blur(np.asarray((small - grey[..., None]) * known[..., None], dtype=np.float32), 1.5)
    colour /= blur(known, 1.5)[..., None] + np.float32(1e-3)
    away = (colour - _of_skin(colour, telling))[..., 1:].max(axis=-1)
    strange = smoothstep((away - STRANGE[0]) / (STRANGE[1] - STRANGE[0])) * (known > 0.3)
    return blur(grown(np.asarray(strange * smoothstep(skin * 2), dtype=np.float32), STRANGE_PX), 1.5)


def _evened(whole: FloatArray, skin: FloatArray) -> FloatArray:
    """The texture without what light from one side leaves of itself: an edge along the nose, half a face in the dark.

    Broad light is off already, but this is as narrow as a nose; that it is on one side alone tells it.
    """
    uneven = blur(np.ascontiguousarray((whole - whole[:, ::-1]) / 2, dtype=np.float32), EVEN_PX)
    both = np.minimum(skin, skin[:, ::-1])
    found = _size_on(uneven.mean(axis=-1), both)
    share = smoothly(found, ONE_SIDED) * (EVEN_FEATURES + (1 - EVEN_FEATURES) * both)
    return np.asarray(whole - uneven * share[..., None], dtype=np.float32)


def _unshaded(whole: FloatArray, skin: FloatArray, own: FloatArray) -> FloatArray:
    """The texture without the shadow that a cap or a brow throws over eyes, which is as narrow as they are.

    Parameters
    ----------
    whole, skin
        (T, T, 3) and (T, T) the texture, and where it is plain skin.
    own
        (T, T) how far what is dark there is the person's own, a beard or lips.
    """
    grey = np.ascontiguousarray(whole.mean(axis=-1))
    grey = grey - np.median(grey[skin > 0.6 * skin.max()])
    grey = blur(grey, 1.0)
    brightest = blur(-grown(-grown(grey, SHADE_PX), SHADE_PX), SHADE_EDGE_PX)  # where a shadow is, to its edge
    rows = np.arange(SIZE, dtype=np.float32)[:, None] / np.float32(SIZE)
    most = SHADE_OF_BROWS + (SHADE - SHADE_OF_BROWS) * smoothstep((rows - BROWS_END[0]) / (BROWS_END[1] - BROWS_END[0]))
    added = np.maximum(most - brightest, 0) * np.float32(1 - SHADE_LEFT) * (1 - own)
    return np.asarray(whole + added[..., None], dtype=np.float32)


def _size_on(values: FloatArray, skin: FloatArray) -> float:
    """Mean of how far some values are from 0 on the skin of the middle of the face."""
    telling = tuple(slice(round(SIZE * low), round(SIZE * high)) for low, high in TELLING)
    weight = skin[telling]
    return float((np.abs(values)[telling] * weight).sum()) / (float(weight.sum()) + 1e-6)


def _one_coloured(whole: FloatArray, skin: FloatArray, lips: FloatArray) -> FloatArray:
    """The texture with no more colours than a face has by itself, which are few on plain skin."""
    grey = whole.mean(axis=-1, keepdims=True)
    colour = whole - grey
    middle = _of_skin(blur(np.ascontiguousarray(colour), 2.0), skin)
    broad = blur(np.ascontiguousarray(colour - middle), 2.0)
    away = np.abs(broad).max(axis=-1)
    most = OF_COLOURED + (1 - OF_COLOURED) * skin + (OF_PAINTED - OF_COLOURED) * lips * (1 - skin)
    low, high = (limit * most for limit in COLOURS)
    # From the limit on, colours are pressed together and keep their order.
    over = np.maximum(away - low, 0)
    shown = np.minimum(away, low) + (high - low) * (1 - np.exp(-over / (high - low)))
    less = blur(np.asarray(1 - shown / np.maximum(away, 1e-6), dtype=np.float32), 1.0)
    return np.asarray(whole - broad * less[..., None], dtype=np.float32)


def _softened(whole: FloatArray, skin: FloatArray) -> tuple[FloatArray, float]:
    """The texture with no more contrast than skin has in even light, and the share of it that stayed."""
    grey = np.ascontiguousarray(whole.mean(axis=-1))
    relief = grey - blur(grey, CONTRAST_PX)
    found = _size_on(blur(relief, 1.5), skin)
    share = max(min(CONTRAST / max(found, 1e-6), 1.0), LEAST_CONTRAST)
    taken = relief * np.float32(1 - share) * (OF_FEATURES + (1 - OF_FEATURES) * skin)
    return np.asarray(whole - taken[..., None], dtype=np.float32), share


def relief_of(whole: FloatArray, skin: FloatArray) -> FloatArray:
    """(T, T, 3) what each place of a texture differs by, as `facefusion.models.face_relief.FaceRelief` has it."""
    grey = np.ascontiguousarray(whole.mean(axis=-1))
    colour = blur(np.ascontiguousarray(whole - grey[..., None]), RELIEF_PX)
    colour = colour - _of_skin(colour, skin)
    return np.dstack([blur(grey, RELIEF_PX) - blur(grey, CONTRAST_PX), colour[..., 0], colour[..., 2]])


def _in_even_light(whole: FloatArray, skin: FloatArray, relief: FaceRelief) -> tuple[FloatArray, FloatArray]:
    """The texture without the highlights and shadows of its photo on plain skin, and how far their edges go, 0 to 1.

    The far edge of a nose, and the shadow that it throws, are on one side: of two halves that differ the one is taken
    that is more as faces are. Where people differ much from each other, somebody may differ much from what is usual.
    """
    usual, spread = (
        np.dstack([resize(np.ascontiguousarray(values[..., c]), SIZE) for c in range(3)])
        for values in (relief.usual, relief.spread)
    )
    part = np.clip(skin, 0, 1)
    seen = relief_of(whole, skin)
    strange = np.ascontiguousarray(np.abs(seen - usual).sum(axis=-1), dtype=np.float32)
    lopsided = blur(np.ascontiguousarray(strange - strange[:, ::-1]), 1.0)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / np.float32(SIZE)
    nose = np.exp(-(np.square((columns - 0.5) / NOSE[1]) ** 2) - np.square((rows - NOSE[0]) / NOSE[2]) ** 2)
    low, high = (away + (near - away) * nose for away, near in zip(STRANGER, STRANGER_AT_NOSE, strict=True))
    lopsided = blur(smoothstep((lopsided - low) / (high - low)), 1.0) * part
    found = seen + (seen[:, ::-1] - seen) * lopsided[..., None]
    times, besides = np.array([LIKELY, LIKELY_COLOUR, LIKELY_COLOUR], dtype=np.float32).T
    most = spread * times + besides
    away = found - usual
    pressed = np.asarray((most * np.tanh(away / most) - away) * part[..., None], dtype=np.float32)
    near = blur(grown(np.ascontiguousarray(np.abs(pressed[..., 0])), BESIDE_PX), RELIEF_PX)
    edges = np.maximum(smoothstep((near - HARD_EDGE[0]) / (HARD_EDGE[1] - HARD_EDGE[0])) * part, lopsided)
    light, red, blue = np.moveaxis(found + pressed - seen, -1, 0)
    added = np.dstack([light + red, light - red - blue, light + blue])
    return np.asarray(whole + added, dtype=np.float32), np.asarray(edges * np.float32(1 - EDGE_LEFT), dtype=np.float32)


def _with_less_grain(whole: FloatArray, skin: FloatArray) -> FloatArray:
    """The texture with no more grain anywhere on plain skin than skin has."""
    unit = len(whole) / 512
    weight = np.asarray(skin + np.float32(1e-3), dtype=np.float32)
    around = blur(weight, GRAIN_PX * unit)
    for low, high, most in GRAINS:
        band = (blur(whole, low * unit) if low > 0 else whole) - blur(whole, high * unit)
        grey = band.mean(axis=-1)
        found = np.sqrt(blur(np.asarray(grey * grey * weight, dtype=np.float32), GRAIN_PX * unit) / around)
        less = (1 - np.minimum(np.float32(most) / np.maximum(found, 1e-4), 1)) * np.clip(skin, 0, 1)
        whole = np.asarray(whole - band * less[..., None], dtype=np.float32)
    return whole


def _sharpened(whole: FloatArray, skin: FloatArray, fineness: Fineness) -> FloatArray:
    """The texture of a small photo with sharper eyes, brows and lips."""
    if fineness.sharpened <= 0:
        return whole
    sigma = USUAL_BLUR * FACE_OF_SIDE * len(whole) / max(fineness.height, 1.0)
    fine = np.clip(whole - blur(whole, sigma), -MOST_ADDED, MOST_ADDED)
    share = (1 - np.clip(skin, 0, 1) * (1 - SHARPENED_SKIN)) * np.float32(fineness.sharpened)
    return np.asarray(whole + fine * share[..., None], dtype=np.float32)


def _calmed(whole: FloatArray, skin: FloatArray, fineness: Fineness) -> FloatArray:
    """The texture with plain skin free of a photo's compression and of coloured grain.

    Skin has hardly any colours of its own, and its halves are alike; what a small photo shows of either is compression,
    in squares so broad that a blur alone would take the face away with them.
    """
    rough = fineness.roughness
    pale = max(1 - smoothly(fineness.height, SMALL_PX), fineness.noise)
    if pale <= 0:
        return whole
    grey = whole.mean(axis=-1)
    colour = whole - grey[..., None]
    weight = skin + np.float32(1e-3)
    calm = blur(np.asarray(colour * weight[..., None], dtype=np.float32), SKIN_PX) / blur(weight, SKIN_PX)[..., None]
    colour = colour + (calm - colour) * (skin * np.float32(pale))[..., None]
    if rough > 0:
        uneven = np.asarray((grey - grey[:, ::-1]) / 2, dtype=np.float32)
        uneven = uneven - blur(uneven, OWN_PX)
        both = np.minimum(skin, skin[:, ::-1]) * np.float32(rough * EVENED)
        grey = np.asarray(grey - uneven * both, dtype=np.float32)
    return np.asarray(colour + grey[..., None], dtype=np.float32)


def build_completer(context: EngineContext) -> Completer:
    """The network and the mask of what is not face, as a recipe asks for them."""
    return Completer(context.session(MODEL), build_engine(*OCCLUDER, context), load_face_relief())
