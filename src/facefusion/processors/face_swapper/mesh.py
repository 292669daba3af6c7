"""The embedded swapper: a textured mesh, no weights of its own.

Source photos are unwrapped once into one texture. In every frame that texture is drawn on the target's
mesh, its own light taken out and the target's put in. Lids and lips are the source's, and so are eyes where its photos
show them (`facefusion.processors.face_swapper.eyes`); gaze, blinks and the inside of the mouth are the target's.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from facefusion.errors import NoFaceInSource
from facefusion.imaging.align import compose, invert, shifted, transform
from facefusion.imaging.beards import Beards
from facefusion.imaging.composite import paste
from facefusion.imaging.crops import MARGIN, cut_native, move_face, native_box, shrunk
from facefusion.imaging.face_map import CELLS, SHADING_SIGMA, SIZE, plain_places, plain_skin, texture_plane
from facefusion.imaging.finish import measure_finish, missing_blur, sharp_blur, soften
from facefusion.imaging.flaws import folds_between_brows, one_sidedness, spread_of_light
from facefusion.imaging.light import (
    OFFSET,
    colour_beyond_tone,
    estimate_shading,
    from_log,
    largest_of_channels,
    limit_gain,
    mean_of_three,
    to_log,
)
from facefusion.imaging.masks import beside_heads
from facefusion.imaging.membrane import join_light, show_own
from facefusion.imaging.resample import warp
from facefusion.imaging.reshape import find_bend
from facefusion.imaging.smear import smeared
from facefusion.imaging.texture import (
    SurfaceGrid,
    TexturePlane,
    blur,
    build_grid,
    facing,
    grown,
    halved,
    inner_distance,
    look_up_grid,
    resize,
    ring_extended,
    sample_soft,
    smoothly,
    smoothstep,
    unwrap,
    view_reduced,
    view_surface,
    worth,
)
from facefusion.imaging.tones import Change, Lit, brightest, change_to, changed, draw, find_line, to_tones
from facefusion.imaging.veil import SURE, find_veil, measure_black
from facefusion.models.face_shape import HABITS, known_habits, load_face_shape, proportions_of, reshaped, with_habits
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.plugins.protocols import EngineContext, opens
from facefusion.plugins.registry import models_behind
from facefusion.processors.face_swapper.appearance import MODEL as APPEARANCE_MODEL
from facefusion.processors.face_swapper.appearance import (
    OCCLUDER,
    Appearance,
    Completer,
    build_completer,
    fineness_of,
)
from facefusion.processors.face_swapper.eyes import (
    LID_PX,
    EyePlace,
    Eyes,
    Opening,
    drawn_opening,
    find_eyes,
    find_lids,
    find_openings,
    find_places,
    lids_together,
    opened,
    shown_lids,
    usual_opening,
    with_lids,
    with_own_lids,
)
from facefusion.processors.face_swapper.fusion import Fusion, build_fusion
from facefusion.processors.face_swapper.lips import (
    LEAST_PLAIN,
    find_lips,
    find_own_lips,
    openness,
    with_dark,
    with_line,
    with_own_lips,
    with_whole_lips,
    without_mouth,
)
from facefusion.processors.face_swapper.smile import frown_of, smile_of, without_folds, without_frown
from facefusion.processors.masking import CropMasks
from facefusion.types.crop import Crop, CropShape, Flaw, Inspection, SourceFace
from facefusion.types.face import Face, Pose
from facefusion.types.frame import Pixels
from facefusion.types.topology import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_BROW,
    RIGHT_EYE,
)

FloatArray = npt.NDArray[np.float32]

MAX_GAIN = 4.0
"""Limit of brightening, natural logarithm: what lies in the dark of a source has no light that could be measured."""
MAX_LOSS = 6.0
"""Limit of darkening: a face in the dark must not glow."""
FAINT = (2.0, 4.0)
"""Brightening, natural logarithm, from which the relief of a source is noise more and more, and where most of it is."""
LIPS_AMID_PX = 9
"""Pixels of a texture of 512 around lips that stay with those that a target's beard grows around; odd."""
SHOWN = 0.02
"""Alpha from which the light of the new face is compared with what it joins."""
EDGE = (0.015, 0.16)
"""Width of the soft edge over the side of the texture: the least, and what softness, squared, adds to it."""
ABOVE_BROWS = 0.042
"""Room above the brows, over the side of the texture, below which a forehead is all the source's: raised brows of the
target are there."""
BURNT = (-0.55, -0.1)
"""Logarithm of linear light from which a target is burnt out more and more, so that its skin shows little relief."""
LEAST_RELIEF = 0.35
"""Share of its relief that a source keeps there."""
CAST = (0.5, 1.0)
"""Change of colour, natural logarithm, from which the colours of a source's detail are believed less, and its width."""
LEAST_TINT = 0.5
"""Share of them that is always shown."""
TONED = (0.06, 0.11)
"""Colour of a target's face beyond what goes with its tone, natural logarithm, that 95 of 100 places have less than: up
to which it is a print in one colour and shows none of a source's, and from which it shows all. Frames of 13 clips that
were toned, tinted and compressed have 0.02 to 0.07, of clips in colour 0.126 at least."""
TONE_SEEN = 0.3
"""How squarely a place must be seen to count there."""
GAMMA = 0.42
"""Linear light to what an eye sees, near enough."""
RAISED = 0.07
"""How far from where the mesh says it is a brow may be, over the side of the texture."""
FACE = (0.7, 0.95)
"""Mask from which what is dark above a brow is the brow more and more, and from which it is nothing else."""
MAX_TONE_ERROR, LEAST_SKIN = 0.4, 24.0
"""Largest correction of tone, natural logarithm, and cells of skin without which there is none."""
LEVEL_BAND = 0.35
"""Octaves of size over which one level of the texture passes into the next."""
VEIL_ROOM = 0.14
"""Room around a source over its longer side in which haze is looked for."""
CLEARED = 0.93
"""Share of a source's haze that is taken away: with a little too much its shadows are lost and the rest glows."""
PLAIN_LIGHT = np.array([-0.75, -1.25, -1.6], dtype=np.float32)
"""Logarithm of an even light on skin, in which sources are shown."""
RING_SIDE, FREE = 1.5, 0.2
"""Sides of the box within which things bend, over the face's own; how far from there a head must be for all of it."""
SHARPER = 0.29
"""How much steeper a blurred edge becomes by what is finer than its own blur, once more."""
MAX_BLUR = 0.06
"""Limit of softening over the height of the face."""
SEEN_PX, SEEN_FINELY_PX = 200, 512
"""Height of a face down to which its picture is shrunk before it is measured; the same for masks that see more."""
OPAQUE = 0.998
"""Alpha from which nothing is seen of what lies under it."""
ROOM = 0.14
"""Room around the mesh over its longer side that the fusion network sees."""
SHAPE_ROOM, SHAPE_MAX_SIDE = 0.24, 4096
"""Room that bends with a head, and the largest picture of it, pixels: nothing outside of the face is shrunk."""
SHAPE_GAIN = 1.5
"""The best guess of two people's proportions says less than they differ by; this much is made of it."""
HABIT_SHARE, MAX_HABIT = 1.0, 0.14
"""Share of what brows and corners of the eyes of two people differ by that is taken over, and the most of it besides
what proportions say, eye distances."""
MAX_MOVE = 0.22
"""Furthest that the outline of a head is moved, eye distances."""
USUAL_PITCH, TILTED = -7.0, (26.0, 40.0)
"""Pitch of most photos, degrees; how far from it a mesh, which is made for faces from the front, is believed less and
less of a source, and least."""
BELOW, ABOVE, ASIDE = 22.0, -29.0, (32.0, 40.0)
"""Pitch and yaw, degrees, from which a photo is told to be from below, above or the side, farther than which it is told
to be a poor one anyway."""
ONE_SIDED, SPREAD, BURNT_OUT, FROWN = 0.78, 2.1, 0.15, 0.16
"""Difference of the halves of a face, spread of its light, share of it that is burnt out and depth of folds between its
brows from which they are told."""
DOUBTED = 0.33
"""Share of the skin in sight that is not believed from which light is told to be hard."""
FLAWS_SIDE = 192
"""Side of the texture that halves are compared in."""
TILTED_TURN = 60.0
"""Yaw, degrees, that tells as little of a shape."""
TURNED = (40.0, 65.0)
"""Yaw in degrees from which a head takes less of another shape, and at which none."""


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """A source as a texture.

    Attributes
    ----------
    tones
        (S, S, 4) uint8, finest first: what is left of the light without the source's own, and alpha last (see
        `facefusion.imaging.tones`).
    top
        Detail that is 255 in them, natural logarithm.
    shading
        (G, G, 3) logarithm of the source's own light.
    contrast
        Standard deviation of the middle frequencies of its skin.
    blur
        Standard deviation of the blur of its main photo over the height of the face.
    coarse
        (G, G, 3) the finest level by cells of the grid.
    closed
        Of every level, what the lips change that are closed.
    calm
        Of every level, what is another when the target does not smile; empty where the source does not smile itself.
    smile
        How much the source smiles, 0 to 1.
    relaxed, frown
        The same two of brows that are drawn together.
    eyes
        Its eyes, or None where the target's stay.
    beard
        How far it has a beard, 0 to 1.
    """

    tones: tuple[Pixels, ...]
    top: float
    shading: FloatArray
    contrast: float
    blur: float
    coarse: FloatArray
    closed: tuple[Change, ...]
    eyes: Eyes | None = None
    beard: float = 0.0
    calm: tuple[Change, ...] = ()
    smile: float = 0.0
    relaxed: tuple[Change, ...] = ()
    frown: float = 0.0

    def levels(self, number: int, openness: float, smile: float, frown: float) -> tuple[Pixels, ...]:
        """Two levels of the texture, as they are drawn when the mouth is so far open and smiles, and brows frown, so
        much, 0 to 1."""
        found = self.tones[number : number + 2]
        shares = (self.calm, self.smile - smile), (self.relaxed, self.frown - frown), (self.closed, 1 - openness)
        for changes, share in shares:
            if changes and share > 0:
                found = tuple(map(changed, found, changes[number : number + 2], (share, share)))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Taken:
    """What was taken off the sources.

    Attributes
    ----------
    detail
        (S, S, 3) logarithm of linear light without their own light.
    alpha
        (S, S) where it is drawn.
    shading
        (G, G, 3) logarithm of their light.
    skin
        (G, G) how far each cell is plain skin that was seen.
    contrast
        See `_Prepared`.
    main
        The source that most of it is from.
    appearance
        What the network made of it, or None where none was asked.
    beard
        How far they show a beard, 0 to 1.
    has_glasses
        Whether they wear any.
    flaws
        Of the main one, as of `Inspection`.
    """

    detail: FloatArray
    alpha: FloatArray
    shading: FloatArray
    skin: FloatArray
    contrast: float
    main: SourceFace
    appearance: Appearance | None = None
    beard: float = 0.0
    has_glasses: bool = False
    flaws: tuple[Flaw, ...] = ()


class MeshSwapper:
    """Swaps faces by a textured mesh.

    Parameters
    ----------
    light
        How much of the target's light and colour the new face takes, 0 to 1.
    softness
        Width of the soft edge, 0 to 1.
    masks
        Masks of models that are laid over its own, or None.
    fusion
        Network that makes the face fit its frame, or None for the plain blend.
    finish
        How far the new face is made as soft as the picture around it, 0 to 1.
    broadness
        Smoothing of the light that is taken over, in cells of the grid, away from the outline: light with
        detail in it shows the relief of the face it fell on.
    has_veil
        Whether the new face gets the haze or the lifted black of the picture.
    shape
        How far the head takes the source's proportions, 0 to 1.
    blend
        How the new face is joined to a head that was reshaped.
    completer
        Cleans and completes what the sources show; None takes them as they are.
    seen_px
        Least height of a face in the picture that it is measured in, pixels.
    has_eyes
        Whether the source's eyes are drawn, too, where its photos show them; else the target's stay.
    keeps_beards
        Whether the beard of a target stays, where it goes on beyond the face.
    """

    crop_shape: CropShape | None = CropShape("", 0, margin=ROOM)
    needs: frozenset[str] = frozenset()
    covers_fully = False

    def __init__(
        self,
        light: float = 1.0,
        softness: float = 0.3,
        masks: CropMasks | None = None,
        fusion: Fusion | None = None,
        finish: float = 1.0,
        broadness: float = 0.0,
        has_veil: bool = True,
        shape: float = 0.0,
        blend: str = "feather",
        completer: Completer | None = None,
        seen_px: int = SEEN_PX,
        has_eyes: bool = False,
        keeps_beards: bool = False,
    ) -> None:
        self._plane, self._grid = _surface()
        self._finest = float(np.ptp(self._plane.points[:, 1]))  # height of a face as it is in the texture, pixels
        self._seen_px = seen_px
        self._light, self._masks, self._fusion, self._finish = light, masks, fusion, finish
        self._has_veil, self._completer = has_veil, completer
        self._broadness, self._inner = broadness, _once("inner", self._build_inner) if broadness > 0 else None
        self._blend, self._room = blend, MARGIN if fusion is None else ROOM
        self._shape, self._proportions = shape, np.zeros(0, dtype=np.float32)
        if shape > 0:
            self.crop_shape = CropShape("", 0, margin=SHAPE_ROOM, max_side=SHAPE_MAX_SIDE)
        elif fusion is None:
            self.crop_shape = None
        passes = broadness == 0  # somebody's own forehead tells who hides
        self._cover = _once(f"cover {softness} {passes}", lambda: self._build_cover(softness, passes))
        self._mouth = _once("mouth", lambda: self._hole(LIPS_INNER))
        self._lips = _once("lips", lambda: self._hole(LIPS_OUTER))
        self._lidded = _once("lidded", lambda: np.maximum(self._hole(LEFT_EYE), self._hole(RIGHT_EYE)))
        self._red = _once("red", lambda: resize(self._lips, CELLS))
        self._mouth_place = find_lips(self._plane.points, SIZE, self._lips, self._mouth)
        self._plain = plain_places(self._plane)
        self._skin = plain_skin(self._plane)
        self._upper = _once("upper", self._build_upper)
        self._rim = _once("rim", self._build_rim)
        self._raised = _once("raised", self._build_raised)
        self._beards = Beards(self._plane, self._skin, SHADING_SIGMA)
        self._keeps_beards, self._bearded = keeps_beards, self._build_bearded() if keeps_beards else ()
        # Whoever is hidden shows nothing of themselves, lids neither, and no more of a pale mouth.
        self._has_eyes, follows = has_eyes, broadness == 0
        self._least_plain = LEAST_PLAIN if follows else 1.0
        self._eyes, self._lids = (_eye_places(), _lids()) if follows else ((), ())
        self._prepared: _Prepared | None = None

    def _polygon(self, ring: Sequence[int]) -> FloatArray:
        return self._plane.points[list(ring)]

    def _build_cover(self, softness: float, passes: bool) -> FloatArray:
        """(S, S) alpha: soft inside the oval, open at the eyes and the mouth; foreheads may pass into each other."""
        edge = SIZE * (EDGE[0] + EDGE[1] * softness**2)
        depth = inner_distance(self._polygon(FACE_OVAL), SIZE)
        cover = smoothstep((depth - SIZE * 0.006) / edge)
        if passes:
            cover = cover * self._build_passage(depth > 0)
        for ring in (LEFT_EYE, RIGHT_EYE, LIPS_INNER):
            cover *= 1 - self._hole(ring)
        return np.asarray(cover, dtype=np.float32)

    def _build_passage(self, inside: npt.NDArray[np.bool_]) -> FloatArray:
        """(S, S) alpha of a forehead: the mesh ends amid it, and the skin of two people must not meet in a line."""
        rows = np.arange(SIZE, dtype=np.float32)[:, None]
        top = np.where(inside.any(axis=0), inside.argmax(axis=0), SIZE).astype(np.float32)
        brows = float(self._plane.points[[*LEFT_BROW, *RIGHT_BROW], 1].min())
        return smoothstep((rows - top) / np.maximum(brows - SIZE * ABOVE_BROWS - top, SIZE * 0.02))

    def _hole(self, ring: Sequence[int]) -> FloatArray:
        """(S, S) 1 within a ring, with a soft edge."""
        return _soft_inside(inner_distance(self._polygon(ring), SIZE))

    def _build_bearded(self) -> tuple[FloatArray, ...]:
        """For every level of a texture, (h, w) what stays with a beard: the lips amid it, too.

        Others than those that it grows around lie on its moustache.
        """
        lips = np.clip(blur(grown(self._lips, LIPS_AMID_PX), LIPS_AMID_PX / 3) * 1.3, 0, 1)
        whole = np.maximum(np.clip(resize(self._beards.stays, SIZE), 0, 1), lips)
        levels = [np.asarray(whole, dtype=np.float32)]
        while levels[-1].shape[0] > 64:
            levels.append(halved(levels[-1]))
        return tuple(levels)

    def _build_rim(self) -> FloatArray:
        """(G, G) the sides of the face without eyes and brows."""
        rim = np.ones((CELLS, CELLS), dtype=np.float32)
        for ring in (LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW):
            inside = (inner_distance(self._polygon(ring), SIZE) > 0).astype(np.float32)
            rim *= 1 - np.clip(resize(blur(inside, SIZE * 0.025), CELLS) * 4, 0, 1)
        return rim

    def _build_raised(self) -> FloatArray:
        """(G, G) where brows are that the mesh does not raise as far as they are."""
        brows = np.zeros((SIZE, SIZE), dtype=np.float32)
        for ring in (LEFT_BROW, RIGHT_BROW):
            brows = np.maximum(brows, inner_distance(self._polygon(ring), SIZE) > 0)
        raised = grown(brows, 2 * int(SIZE * RAISED) + 1)
        return np.asarray(np.clip(resize(blur(raised, SIZE * 0.012), CELLS) * 1.2, 0, 1), dtype=np.float32)

    def _build_inner(self) -> FloatArray:
        """(G, G) 0 at the outline, 1 well inside."""
        depth = inner_distance(self._polygon(FACE_OVAL), SIZE)
        return resize(smoothstep((depth - SIZE * 0.02) / (SIZE * 0.16)), CELLS)

    def _build_upper(self) -> FloatArray:
        """(G, G) where hair may hang in: the forehead above the brows and the temples."""
        rows, columns = np.mgrid[0:CELLS, 0:CELLS].astype(np.float32)
        brows = self._plane.points[[*LEFT_BROW, *RIGHT_BROW], 1].min() / SIZE * CELLS
        forehead = smoothstep((brows + 1.5 - rows) / 4)
        side = np.abs(columns - (CELLS - 1) / 2) / (CELLS / 2)
        temple = smoothstep((side - 0.62) / 0.15) * smoothstep((0.62 * CELLS - rows) / 6)
        return np.asarray(np.maximum(forehead, temple), dtype=np.float32)

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """Unwrap the sources into one texture; each part is taken from the photo that shows it best."""
        if not sources:
            raise NoFaceInSource("The face swapper has no source face.", "Give one or more photos with --source.")
        self._proportions = _proportions([source.face for source in sources])
        cleared = [self._cleared(source) for source in sources]
        if self._completer is None:
            taken = self._take(cleared)
        else:
            taken = self._completed(sources, cleared, self._completer)
        detail, alpha, shading, main = taken.detail, taken.alpha, taken.shading, taken.main
        # Lips that are closed leave a dark line; those of an open mouth have none of it on their edge.
        whole, detail = np.minimum(alpha + self._mouth, 1), without_mouth(detail, self._mouth_place)
        dark = with_dark(detail, self._mouth)
        levels, covers, shut, filled = ([one.astype(np.float32)] for one in (detail, alpha, dark, whole))
        while levels[-1].shape[0] > 64:
            for pyramid in (levels, covers, shut, filled):
                pyramid.append(halved(pyramid[-1]))
        top = brightest(detail, alpha)
        tones = tuple(to_tones(level, cover, top) for level, cover in zip(levels, covers, strict=True))
        finish = measure_finish(main.pixels, main.face.mesh)
        height = max(float(np.ptp(main.face.mesh[:, 1])), 1.0)
        source_blur = 0.0 if finish is None else finish[0] / height
        if self._completer is not None:
            source_blur /= 1 + SHARPER * fineness_of(height, finish).sharpened
        closed = tuple(
            change_to(level, to_tones(other, cover, top))
            for level, other, cover in zip(tones, shut, filled, strict=True)
        )
        coarse = resize(levels[0], CELLS)
        eyes = self._eyes_of(taken, top)
        smile = 0.0 if self._completer is None else smile_of(main.face.mesh)
        frown = 0.0 if self._completer is None else frown_of(main.pixels, main.face.mesh)
        calm: tuple[Change, ...] = ()
        relaxed: tuple[Change, ...] = ()
        if smile > 0:
            hair = None if taken.beard <= 0 else self._beards.grows * np.float32(taken.beard)
            calm = self._changes(without_folds(detail, self._plane, hair), tones, covers, top)
        if frown > 0:
            relaxed = self._changes(without_frown(detail, self._plane), tones, covers, top)
        self._prepared = _Prepared(
            tones,
            top,
            shading,
            taken.contrast,
            source_blur,
            coarse,
            closed,
            eyes,
            taken.beard,
            calm,
            smile,
            relaxed,
            frown,
        )

    def _changes(
        self, detail: FloatArray, tones: Sequence[Pixels], covers: Sequence[FloatArray], top: float
    ) -> tuple[Change, ...]:
        """For every level of a texture, what is another where its detail is this one."""
        levels = [detail]
        while len(levels) < len(tones):
            levels.append(halved(levels[-1]))
        return tuple(
            change_to(own, to_tones(level, cover, top)) for own, level, cover in zip(tones, levels, covers, strict=True)
        )

    def _eyes_of(self, taken: _Taken, top: float) -> Eyes | None:
        """The eyes that the photos show, or None where the target's stay."""
        if not self._has_eyes or taken.appearance is None:
            return None
        sharpness = fineness_of(1.0, measure_finish(taken.main.pixels, taken.main.face.mesh)).height
        own, mesh = taken.appearance.own, taken.main.face.mesh
        return find_eyes(taken.detail, own, mesh, sharpness, top, self._plane, self._eyes)

    def _take(self, sources: Sequence[SourceFace]) -> _Taken:
        """The sources' texture as it is; each part from the photo that shows it best, or from the other half."""
        log_texture, known, main = self._merge(sources)
        coarse = np.stack([resize(np.ascontiguousarray(log_texture[..., c]), CELLS) for c in range(3)], axis=-1)
        shading, trust = estimate_shading(coarse, self._skin * resize(known, CELLS), SHADING_SIGMA)
        # The source's own fringe is not pasted: there the target's forehead stays.
        fringe = (1 - trust) * self._upper * (coarse - shading < -0.25).any(axis=-1)
        keep = 1 - np.clip(resize(blur(fringe.astype(np.float32), 1.2), SIZE) * 1.6, 0, 1)
        alpha = self._cover * keep * known
        # Without its own light, and plain (0) where no photo shows anything, and where hair or an earring
        # hangs over the side of the face.
        columns = np.abs(np.arange(CELLS) - (CELLS - 1) / 2) / (CELLS / 2)
        strange = (1 - trust) * self._rim * smoothstep((columns - 0.36) / 0.12)
        plain = known * (1 - np.clip(resize(blur(strange.astype(np.float32), 1.0), SIZE) * 2, 0, 1))
        detail = (log_texture - resize(shading, SIZE)) * plain[..., None]
        skin = self._skin * trust * resize(known, CELLS)
        contrast = _contrast(coarse - shading, skin)
        return _Taken(detail.astype(np.float32), alpha.astype(np.float32), shading, skin, contrast, main)

    def _complete(self, sources: Sequence[SourceFace], completer: Completer) -> _Taken:
        """The sources' texture cleaned and completed; see `facefusion.processors.face_swapper.appearance`."""
        covered, has_glasses = [], False
        for source in sources:
            rims = completer.find_rims(source)
            covered.append(completer.find_covered(source, self._plane, rims))
            has_glasses |= rims is not None
        log_texture, seen, hidden, main = self._join(sources, covered)
        coarse = np.stack([resize(np.ascontiguousarray(log_texture[..., c]), CELLS) for c in range(3)], axis=-1)
        known = np.asarray(np.clip(seen * 12, 0, 1) * (1 - hidden), dtype=np.float32)
        in_sight = resize(known, CELLS)
        shading, _ = estimate_shading(coarse, self._skin * in_sight, SHADING_SIGMA)
        beard = self._beards.find(log_texture, known)
        finish = measure_finish(main.pixels, main.face.mesh)
        fineness = fineness_of(float(np.ptp(main.face.mesh[:, 1])), finish, tilted(main.face.pose))
        plain, bearded = self._plain, None
        if beard > 0:
            hair = resize(self._beards.grows, SIZE) * np.float32(beard)
            plain, bearded = plain * (1 - hair), np.asarray(hair * (1 - self._lips), dtype=np.float32)
        lips = self._lips * (1 - self._mouth)
        even = log_texture - resize(shading, SIZE)
        appearance = completer.complete(even, seen, hidden, plain, fineness, bearded, lips, self._lidded)
        if beard > 0:
            lost = self._beards.lost(coarse, in_sight, shading) * np.float32(beard)
            appearance = replace(appearance, detail=appearance.detail + resize(lost, SIZE))
        if appearance.is_colourless:  # what it lacks to skin is no coloured light
            shading = shading.mean(axis=-1, keepdims=True) + (PLAIN_LIGHT - PLAIN_LIGHT.mean())
        red = _mean(shading[..., 0] - shading[..., 1], self._skin * in_sight)
        own = appearance.own * np.clip(seen, 0, 1) * (1 - hidden)
        whole = with_whole_lips(appearance.detail, self._mouth_place, beard, own.astype(np.float32), red)
        appearance = replace(appearance, detail=whole)
        rest = resize(appearance.detail, CELLS)
        around, trust = estimate_shading(rest, self._skin, SHADING_SIGMA)
        if beard > 0:  # its darkness is no shade
            hair = self._beards.grows[..., None] * np.float32(beard)
            around = around + (self._beards.shaved(rest, np.ones_like(in_sight)) - around) * hair
        skin = self._skin * trust
        contrast = _contrast(rest - around, skin)
        flaws = self._flaws(main.face.pose, log_texture, known, coarse, shading, appearance.own)
        return _Taken(
            appearance.detail, self._cover, shading, skin, contrast, main, appearance, beard, has_glasses, flaws
        )

    def _flaws(
        self,
        pose: Pose,
        log_texture: FloatArray,
        known: FloatArray,
        coarse: FloatArray,
        shading: FloatArray,
        own: FloatArray,
    ) -> tuple[Flaw, ...]:
        """What of a photo is seen in the new face although nothing is before the face."""
        even = resize(np.ascontiguousarray(log_texture - resize(shading, SIZE)), FLAWS_SIDE)
        sided = one_sidedness(even, resize(self._plain * known, FLAWS_SIDE))
        spread, burnt = spread_of_light(coarse, shading, self._skin * resize(known, CELLS))
        # Skin in sight that the network takes for none of the person's lies in a hard shadow, or shines.
        telling = self._plain * known * self._parts()["face"]
        is_aside = ASIDE[0] < abs(pose.yaw) <= ASIDE[1]
        is_hard = not is_aside and _mean(1 - own, telling) > DOUBTED
        found: dict[Flaw, bool] = {
            "below": pose.pitch > BELOW,
            "above": pose.pitch < ABOVE,
            "turned": is_aside,
            "light": is_hard or sided > ONE_SIDED or spread > SPREAD,
            "burnt": burnt > BURNT_OUT,
            "frown": folds_between_brows(log_texture, known, self._plane) > FROWN,
        }
        return tuple(name for name, is_so in found.items() if is_so)

    def _completed(self, sources: Sequence[SourceFace], cleared: Sequence[SourceFace], completer: Completer) -> _Taken:
        """`_complete`, once for the same sources: they are looked at when a job is made, and taken in when it is done.

        It is kept as long as the first of the sources is, and no longer.
        """
        key = (completer.key, self._has_veil, tuple(map(id, sources)))
        with _taking:
            kept = _completed.get(sources[0], {}).get(key)
        if kept is not None and all(ref() is one for ref, one in zip(kept[0], sources, strict=True)):
            return replace(kept[1], main=cleared[kept[2]], alpha=self._cover)
        taken = self._complete(cleared, completer)
        number = next(k for k, one in enumerate(cleared) if one is taken.main)
        refs = tuple(weakref.ref(one) for one in sources)
        with _taking:  # without the source itself, which would then never go
            _completed.setdefault(sources[0], {})[key] = refs, replace(taken, main=_NOBODY), number
        return taken

    def inspect(self, sources: Sequence[SourceFace]) -> Inspection:
        """See `facefusion.plugins.protocols.ShowsSources`."""
        if not sources:
            raise NoFaceInSource("There is no source face to look at.", "Give one or more photos.")
        cleared = [self._cleared(source) for source in sources]
        plain = self._take(cleared)
        used = plain if self._completer is None else self._completed(sources, cleared, self._completer)
        own = self._cover if used.appearance is None else used.appearance.own
        parts = {name: part * self._cover for name, part in self._parts().items()}
        alone = [used] if len(cleared) == 1 or self._completer is None else []
        if self._completer is not None and not alone:
            alone = [self._complete([source], self._completer) for source in cleared]
        owns = [own if one.appearance is None else one.appearance.own for one in alone]
        eyes = self._eyes_of(used, brightest(used.detail, used.alpha))
        return Inspection(
            from_log(np.ascontiguousarray(plain.detail * (plain.alpha > 0.02)[..., None] + PLAIN_LIGHT)),
            from_log(np.ascontiguousarray(used.detail * (used.alpha > 0.02)[..., None] + PLAIN_LIGHT)),
            np.asarray(own * (self._cover > 0.02), dtype=np.float32),
            {name: _mean(own, part) for name, part in parts.items()},
            tuple(_mean(one, parts["face"]) for one in owns),
            not self._has_eyes or (eyes is not None and eyes.trust >= 0.5),
            used.has_glasses,
            used.flaws,
            used.appearance is not None and used.appearance.is_colourless,
        )

    def _parts(self) -> dict[str, FloatArray]:
        """(S, S) what tells somebody apart, without the sides of the head, and its parts."""
        rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
        telling = (np.abs(columns - (SIZE - 1) / 2) < SIZE * 0.25).astype(np.float32)
        brows = self._plane.points[[*LEFT_BROW, *RIGHT_BROW], 1]
        eyes = self._plane.points[[*LEFT_EYE, *RIGHT_EYE], 1]
        mouth = self._plane.points[list(LIPS_OUTER), 1]
        under = float(eyes.max()) + SIZE * 0.03
        is_upper, is_lower = rows < brows.min(), rows > (under + mouth.min()) / 2
        return {
            "face": telling,
            "left half": telling * (columns < SIZE / 2),
            "right half": telling * (columns >= SIZE / 2),
            "forehead": telling * is_upper,
            "brows and eyes": telling * (~is_upper & (rows < under)),
            "nose and cheeks": telling * ((rows >= under) & ~is_lower),
            "mouth and chin": telling * is_lower,
        }

    def _cleared(self, source: SourceFace) -> SourceFace:
        """A source without the haze of its own photo."""
        near = cut_native(source.pixels, source.face, VEIL_ROOM)
        black = measure_black(source.pixels, source.face.mesh)
        veil = find_veil(near.pixels, near.face.mesh, black, SURE) if self._has_veil else None
        return source if veil is None else SourceFace(veil.weaker(CLEARED).lift(source.pixels), source.face)

    def _merge(self, sources: Sequence[SourceFace]) -> tuple[FloatArray, FloatArray, SourceFace]:
        """One texture from all sources.

        Returns
        -------
        (S, S, 3) logarithm of linear light, (S, S) where it is known, and the source that most of it is from.
        """
        unwrapped = [unwrap(source.pixels, source.face.mesh, self._plane) for source in sources]
        base, total, weight, main, quality = self._sum(sources, unwrapped)
        mirrored = base[:, ::-1]
        seen_there = quality[:, ::-1]
        # What no photo shows comes from the other half of the face, in the light of this half.
        lack = smoothstep((0.42 - np.sqrt(np.clip(weight, 0, 1))) / 0.3) * seen_there**2
        fill = mirrored + self._light_difference(base, mirrored, quality * seen_there)
        total += fill * (lack * 2)[..., None]
        weight = weight + lack * 2
        log_texture = (total / np.maximum(weight, 1e-4)[..., None]).astype(np.float32)
        known = np.clip(weight / 0.02, 0, 1).astype(np.float32)
        return log_texture, known, sources[main]

    def _join(
        self, sources: Sequence[SourceFace], covered: Sequence[FloatArray]
    ) -> tuple[FloatArray, FloatArray, FloatArray, SourceFace]:
        """One texture from all sources; what lies before the face in one is taken from another.

        Returns
        -------
        (S, S, 3) logarithm of linear light, (S, S) how squarely it was seen, (S, S) chance that something lies before
        it, and the source that most of it is from.
        """
        unwrapped = [self._unwrap(source) for source in sources]
        seen = [quality for _, quality in unwrapped]
        if len(sources) == 1:
            return to_log(unwrapped[0][0]), seen[0], covered[0], sources[0]
        bare = [(log, quality * (1 - 0.9 * over)) for (log, quality), over in zip(unwrapped, covered, strict=True)]
        _, total, weight, main, _ = self._sum(sources, bare)
        log_texture = (total / np.maximum(weight, 1e-4)[..., None]).astype(np.float32)
        squares = [quality**2 for _, quality in bare]
        of_all = np.maximum(np.sum(squares, axis=0), 1e-6)
        hidden = np.sum([square * over for square, over in zip(squares, covered, strict=True)], axis=0) / of_all
        return log_texture, np.maximum.reduce(seen), hidden.astype(np.float32), sources[main]

    def _unwrap(self, source: SourceFace) -> tuple[Pixels, FloatArray]:
        """The texture of a photo, and how squarely it shows each place; 0 where that is too flat to be used."""
        texture, quality = unwrap(source.pixels, source.face.mesh, self._plane)
        share = worth(quality, source.face.mesh, load_mesh_topology().mean, self._plane)
        return texture, quality * share

    def _sum(
        self, sources: Sequence[SourceFace], unwrapped: Sequence[tuple[Pixels, FloatArray]]
    ) -> tuple[FloatArray, FloatArray, FloatArray, int, FloatArray]:
        """Weighted sum of the sources' textures, in the light of the main one.

        Returns
        -------
        (S, S, 3) logarithm of linear light of the main source, (S, S, 3) the sum, (S, S) its weights, the number of the
        main source, and (S, S) how squarely it was seen.
        """
        frontality = [-abs(source.face.pose.yaw) - 0.5 * abs(source.face.pose.pitch) for source in sources]
        sizes = [float(np.ptp(source.face.mesh[:, 1])) for source in sources]
        rank = [f + 12 * np.log2(min(s, 300.0)) for f, s in zip(frontality, sizes, strict=True)]
        main = int(np.argmax(rank))
        logs = [to_log(texture) for texture, _ in unwrapped]
        qualities = [quality for _, quality in unwrapped]
        base, weight = logs[main], qualities[main] ** 2
        total = base * weight[..., None]
        for k, (log, quality) in enumerate(zip(logs, qualities, strict=True)):
            if k == main:
                continue
            # Better turned and large enough: it takes over, after its light is matched.
            better = smoothstep((quality - qualities[main] - 0.08) / 0.25) * min(1.0, (sizes[k] / sizes[main]) ** 2)
            share = (better * 4 * quality**2).astype(np.float32)
            total += (log + self._light_difference(base, log, qualities[main] * quality)) * share[..., None]
            weight = weight + share
        return base, total, weight, main, qualities[main]

    def _light_difference(self, goal: FloatArray, log: FloatArray, quality: FloatArray) -> FloatArray:
        """What to add to ``log`` so that its low frequencies are those of ``goal``."""
        weight = resize(quality.astype(np.float32), CELLS) * self._skin + 1e-3
        difference = resize(np.ascontiguousarray(goal - log, dtype=np.float32), CELLS)
        spread = blur(difference * weight[..., None], SHADING_SIGMA) / blur(weight, SHADING_SIGMA)[..., None]
        return resize(spread.astype(np.float32), SIZE)

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        return [self._swap(crop) for crop in crops]

    def _swap(self, crop: Crop) -> Crop:
        """The face on the head, which takes its shape first."""
        pixels, face = crop.visible(), crop.face
        offsets = self._offsets(face)
        if offsets is None:
            over, share, (x0, y0) = self._draw(pixels, face)
            layer, alpha = pixels.copy(), np.zeros(crop.alpha.shape, dtype=np.float32)
            window = slice(y0, y0 + share.shape[0]), slice(x0, x0 + share.shape[1])
            layer[window], alpha[window] = over, share
            return crop.with_layer(layer, alpha)
        height, width = pixels.shape[:2]
        there = replace(face, mesh=reshaped(face.mesh, offsets), points=None)
        triangles = self._plane.triangles[: self._plane.face_count]
        bend = find_bend(face.mesh, there.mesh, triangles, self._plane.oval, height, width)
        moved = bend.apply(pixels)
        # What is drawn needs less room than what is moved.
        inner = cut_native(moved, there, self._room)
        over, share, corner = self._draw(inner.pixels, inner.face, face.mesh)
        alpha = bend.reach()
        box = paste(moved, over, share, compose(shifted(*corner), inner.crop_from_frame), self._blend)
        if box is not None:  # there the moved picture already holds the new face
            alpha[box[1] : box[3], box[0] : box[2]] = 1
        return crop.with_layer(moved, alpha)

    def _offsets(self, face: Face) -> FloatArray | None:
        """(478, 3) where the points go from the front, eye distances; None where everything stays."""
        # A profile shows half of the outline, and what the mesh says of the other half is a guess.
        share = self._shape * float(smoothstep(np.array((TURNED[1] - abs(face.pose.yaw)) / (TURNED[1] - TURNED[0]))))
        share *= _room_beside(face)
        model = load_face_shape()
        count = len(model.axes)
        own = face.proportions
        # Tracks that another model of proportions made have others, and those of earlier versions tell no habits.
        if share <= 0 or own is None or len(self._proportions) < count or len(own) not in (count, count + HABITS):
            return None
        offsets = model.offsets((self._proportions[:count] - own[:count]) * np.float32(SHAPE_GAIN))
        habits = known_habits(own)
        if habits is not None:
            offsets = with_habits(offsets, self._proportions[count:] - habits, HABIT_SHARE, MAX_HABIT)
        furthest = float(np.linalg.norm(offsets[list(FACE_OVAL)], axis=1).max())
        return offsets * np.float32(share * min(1.0, MAX_MOVE / max(furthest, 1e-6)))

    def _draw(
        self, pixels: Pixels, face: Face, own: FloatArray | None = None
    ) -> tuple[Pixels, FloatArray, tuple[int, int]]:
        """The new face of a crop: (h, w, 3) uint8 RGB, (h, w) alpha, and where in the crop their corner lies.

        Parameters
        ----------
        pixels, face
            The crop and the face in it.
        own
            (478, 3) its mesh, in pixels of any size, before the head took another shape; None where it took none.
        """
        prepared = self._prepared
        if prepared is None:
            raise RuntimeError("prepare must be called before process")
        # Light, and what covers the face, need no finer picture.
        seen, seen_from_crop = shrunk(pixels, max(int(float(np.ptp(face.mesh[:, 1])) / self._seen_px), 1))
        there = move_face(face, seen_from_crop)
        veil = find_veil(seen, there.mesh, face.black) if self._has_veil else None
        clear = seen if veil is None else veil.lift(seen)
        mask = None if self._masks is None else self._masks.mask(seen, seen, there, has_outline=True)
        shading, keep, relief, colourfulness, tint, skin_light = self._measure_light(clear, there, prepared, mask)
        mouth = with_own_lips(face.mesh, find_own_lips(clear, there.mesh, self._least_plain))
        open_by = openness(mouth)
        smile = smile_of(face.mesh if own is None else own) if prepared.calm else 0.0
        frown = frown_of(clear, there.mesh) if prepared.relaxed else 0.0
        density = self._finest / max(float(np.ptp(face.mesh[:, 1])), 1.0)
        mesh, eyes = with_line(mouth, open_by), prepared.eyes
        openings: tuple[Opening, ...] = ()
        if self._eyes:
            known = known_habits(face.proportions)
            usual = usual_opening(None if known is None else float(known[0]))
            goal = usual if eyes is None else drawn_opening(float(self._proportions[-HABITS]), usual)
            shares = lids_together(face.mesh if own is None else own, usual)
            wide = opened(there.mesh, shares, goal)
            openings = find_openings(clear, skin_light, wide, self._plane, self._eyes, shares)
            if eyes is not None:
                mesh = with_lids(opened(mesh, shares, goal), openings, goal / usual)
        # Around the face itself there is more in the crop, for the network to see, than is drawn.
        x0, y0, x1, y1 = native_box(pixels, face)
        height, width = y1 - y0, x1 - x0
        window_from_crop = shifted(x0, y0)
        mesh = transform(window_from_crop, mesh)
        view = view_surface(mesh, self._plane, height, width)
        # What changes slowly is composed on the reduced picture.
        light = look_up_grid(np.concatenate([shading, keep[..., None], relief[..., None]], axis=-1), view, SIZE)
        fade = smoothstep((view.towards - 0.06) / 0.3) * view.inside * np.clip(light[..., 3], 0, 1)
        gains, offsets = find_line(
            np.ascontiguousarray(light[..., :3]), light[..., 4], prepared.top, None if veil is None else veil.lay_values
        )

        keeps_beard = self._share_of_beard(face.beard)

        def lit(density: float, has_eyes: bool = True) -> Lit:
            # Up to two texture pixels per picture pixel: coarser levels would blur, finer ones alias. A face that grows
            # or shrinks passes from level to level without a jump.
            number, further = _choose_level(density, len(prepared.tones))
            levels = prepared.levels(number, open_by, smile, frown)
            if eyes is not None and has_eyes:
                levels = eyes.draw(levels, number, mesh, openings, self._plane, self._eyes)
            if keeps_beard > 0:
                levels = self._with_beard(levels, number, keeps_beard)
            if openings:
                trust = 0.0 if eyes is None else eyes.trust * has_eyes
                levels = with_own_lids(levels, number, openings, self._lids, self._eyes, trust)
            return Lit(levels, further, prepared.top, tint, gains, offsets, fade)

        if self._fusion is not None:
            # In the few pixels that the network sees there are no eyes to speak of.
            over, alpha = draw(lit(density * view.step, has_eyes=False), view_reduced(view), SIZE)
            over_from_seen = compose(_reduction(view.step), compose(window_from_crop, invert(seen_from_crop)))
            more, added, kept = self._fusion.fit(over, alpha, over_from_seen, seen, there.mesh, colourfulness)
            gains, offsets, fade = gains * more, offsets * more + added, fade * kept
        over, alpha = draw(lit(density), view, SIZE)
        over = self._soften(over, face, prepared)
        shown, bare = np.asarray(alpha > SHOWN, dtype=np.float32), None
        if mask is not None:
            window_from_seen = compose(window_from_crop, invert(seen_from_crop))
            bare = warp(mask, window_from_seen, width, height, is_border_black=False)
            alpha, shown = np.minimum(alpha, bare), shown * bare
        if self._light > 0 and self._inner is None:  # what is fine in the light of a face tells whose it is
            if prepared.beard > 0:  # that of the source is no shade on the head's skin
                hair = warp(
                    look_up_grid(self._beards.grows, view, SIZE), invert(_reduction(view.step)), width, height,
                    is_border_black=False,
                )  # fmt: skip
                shown = shown * (1 - hair * np.float32(prepared.beard))
            outline = mesh[list(FACE_OVAL), :2]
            over = join_light(over, pixels[y0:y1, x0:x1], outline, shown, self._light)
        for outline, share in shown_lids(mesh, openings) if openings and self._light > 0 else ():
            show_own(over, alpha, pixels[y0:y1, x0:x1], bare, outline, share * self._light)
        return over, np.asarray(alpha, dtype=np.float32), (x0, y0)

    def _share_of_beard(self, beard: float) -> float:
        """How far the beard of a target stays, 0 to 1, and the lips that it grows around.

        One that goes on beyond the face cannot be shaved: what is left of it would be a strap under the jaw. A grey one
        of the source would end at the jaw in the colour of another.
        """
        prepared = self._prepared
        if not self._keeps_beards or beard <= 0 or prepared is None or prepared.beard <= 0:
            return beard if self._keeps_beards else 0.0
        return beard * (1 - prepared.beard * self._beards.darkness(prepared.coarse))

    def note_on(self, beard: float) -> str:
        """See `facefusion.plugins.protocols.TellsOfTargets`."""
        if self._share_of_beard(beard) < 0.5:
            return ""
        return (
            "The beard of {who} stays, and so do the lips in it, since it goes on beyond the face. "
            "--face-swapper-beard source draws those of the photo, as far as the face goes."
        )

    def _with_beard(self, levels: Sequence[Pixels], number: int, share: float) -> tuple[Pixels, ...]:
        """Levels of a texture, the first of which is ``number``, that let the target's own beard through."""
        drawn = []
        for level, own in zip(levels, self._bearded[number:], strict=False):
            shown = level.copy()
            shown[..., 3] = np.rint(level[..., 3] * (1 - own * np.float32(share)))
            drawn.append(shown)
        return tuple(drawn)

    def _soften(self, over: Pixels, face: Face, source: _Prepared) -> Pixels:
        """The new face as soft as the picture around it; one that is softer already stays.

        Outside of the texture ``over`` is plain light, so nothing strange comes in over the edge.
        """
        height = float(np.ptp(face.mesh[:, 1]))
        # One that is drawn as sharp as can be is measured as that, and not as without blur; beyond the texture's own
        # size it is enlarged.
        sharpest = sharp_blur(min(height, self._finest)) * max(height / self._finest, 1.0)
        own = max(source.blur * height, sharpest)
        sigma = missing_blur(face.blur, own)
        if face.smear is None:
            return soften(over, min(sigma * self._finish, MAX_BLUR * height))
        # Of this frame alone: ``blur`` is that of frames that are not smeared.
        across, down, more = (face.smear * self._finish).tolist()
        over = soften(over, min(float(np.hypot(sigma * self._finish, more)), MAX_BLUR * height))
        return smeared(over, across, down)

    def _measure_light(
        self, pixels: Pixels, face: Face, source: _Prepared, mask: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, FloatArray, float, float, FloatArray]:
        """The target's light on the face.

        Parameters
        ----------
        pixels, face
            (H, W, 3) uint8 RGB, and the face in it.
        source
            What is drawn.
        mask
            (H, W) what models say is face, or None.

        Returns
        -------
        (G, G, 3) logarithm of the light the new face gets, (G, G) where skin is in sight, (G, G) the
        factor for the source's detail: hard light makes strong relief, soft light a faint one; how
        colourful the target's skin is, 0 to 1; the share of the colours of the source's detail that is shown; and
        (G, G, 3) the logarithm of the light on the target's own skin.
        """
        mesh = face.mesh
        points = ring_extended(mesh, self._plane.oval)
        at = self._grid.locate(points)[..., :2]
        height, width = pixels.shape[:2]
        cell = float(np.ptp(mesh[:, 1])) / (CELLS * 0.8)
        colour = sample_soft(pixels, at, cell * 1.2)
        towards = np.clip(facing(points, self._plane.triangles), 0, 1)
        seen = np.where(self._grid.owner >= 0, towards[self._grid.owner], 0.0)
        # Cells that leave the picture lose their say one by one, not at once.
        to_border = np.minimum(
            np.minimum(at[..., 0], width - 1 - at[..., 0]), np.minimum(at[..., 1], height - 1 - at[..., 1])
        )
        inside = np.clip(to_border / max(4 * cell, 1.0), 0, 1)
        weight = (self._skin * smoothstep((seen - 0.12) / 0.4) * inside).astype(np.float32)
        x, y = (np.clip(np.rint(at[..., k]), 0, limit - 1).astype(int) for k, limit in ((0, width), (1, height)))
        if face.covers:  # the light of somebody who stands before it is not its own
            weight *= beside_heads(face.covers, height, width)[y, x]
        log = to_log(colour)
        shading, trust = estimate_shading(log, weight, SHADING_SIGMA, is_mixed=True)
        change = limit_gain(shading - source.shading, MAX_LOSS, MAX_GAIN) * self._light
        if self._inner is not None:
            change = change + (blur(change, self._broadness) - change) * self._inner[..., None]
        # Hair over the forehead: darker than the light explains, and away from the brows.
        is_dark = smoothstep((mean_of_three(shading - log) - 0.35) / 0.4)
        hair = (1 - trust) * is_dark * self._upper * (seen > 0.15)
        if mask is not None:  # a raised brow is as dark as hair, and no hair
            is_face = smoothstep((mask[y, x] - FACE[0]) / (FACE[1] - FACE[0]))
            hair = hair * (1 - self._raised * is_face)
        keep = 1 - np.clip(blur(hair.astype(np.float32), 0.9) * 1.5, 0, 1)
        ratio = (_contrast(log - shading, weight * trust) + 0.02) / (source.contrast + 0.02)
        strength = 1 + (float(np.clip(ratio, 0.5, 1.15)) - 1) * 0.7 * self._light
        # What is lifted out of the dark is noise, and what is burnt out is flat.
        faint = smoothstep((mean_of_three(change) - FAINT[0]) / (FAINT[1] - FAINT[0]))
        burnt = smoothstep((mean_of_three(shading) - BURNT[0]) / (BURNT[1] - BURNT[0]))
        burnt = burnt * (1 - self._red)  # lips keep their colour, as those of the target do
        relief = strength * (1 - (1 - LEAST_RELIEF) * np.maximum(faint, burnt))
        # An old film has no colour, and neither has a face in it. A source in light of one colour holds little of
        # the others, and lifting them shows what its compression left of them.
        colourfulness = _colourfulness(colour, weight)
        cast = largest_of_channels(np.abs(change - mean_of_three(change)[..., None]))
        # A print that is toned or tinted has a colour and shows no others.
        in_sight = (seen > TONE_SEEN) & (inside > 0)
        beyond = np.quantile(colour_beyond_tone(log[in_sight][::2]), 0.95) if in_sight.sum() > LEAST_SKIN else TONED[1]
        mean_cast = float((cast * weight).sum()) / (float(weight.sum()) + 1e-6)
        tint = colourfulness * smoothly(float(beyond), TONED)
        tint *= 1 - (1 - LEAST_TINT) * float(smoothstep(np.array((mean_cast - CAST[0]) / CAST[1])))
        lit = source.shading + change
        share = self._light if self._inner is None else 0.0
        if share > 0:
            detail = np.asarray(source.coarse * relief[..., None], dtype=np.float32)
            grey = mean_of_three(detail)[..., None]
            # A beard or a shadow of the source is not the tone of its skin.
            plain = 1 / (1 + np.square(np.square(grey[..., 0] / 0.35)))
            skin = weight * trust * plain
            lit = lit + _tone_error(lit + grey + (detail - grey) * np.float32(tint), shading, skin) * share
        return (
            lit.astype(np.float32),
            keep.astype(np.float32),
            relief.astype(np.float32),
            colourfulness,
            tint,
            shading.astype(np.float32),
        )


def _proportions(faces: Sequence[Face]) -> FloatArray:
    """Of the person in several photos."""
    meshes = np.stack([face.mesh for face in faces])
    # Looks from below and above tell no more of a shape than those from the side.
    turns = [float(np.hypot(face.pose.yaw, TILTED_TURN * tilted(face.pose))) for face in faces]
    return proportions_of(meshes, np.array(turns, dtype=np.float32))


def tilted(pose: Pose) -> float:
    """0 to 1: how far a face is seen from so far below or above that a mesh is wrong about it."""
    return smoothly(abs(pose.pitch - USUAL_PITCH), TILTED)


def _choose_level(density: float, count: int) -> tuple[int, float]:
    """Level of a texture to draw, and how much of the next coarser one is mixed in, 0 to 1.

    Parameters
    ----------
    density
        Texture pixels of the finest level for one of the picture.
    count
        How many levels there are.
    """
    octaves = float(np.log2(max(density, 1.0))) - LEVEL_BAND / 2
    number = int(np.clip(np.floor(octaves), 0, count - 1))
    # The band lies around the size of the coarser level: what aliases up to there costs less than what would blur
    # (flicker 0.005 more, and nearer to the source; docs/quality.md).
    share = (octaves - number - (1 - LEVEL_BAND)) / LEVEL_BAND
    return (number, float(smoothstep(np.array(share)))) if number < count - 1 else (number, 0.0)


def _reduction(step: int) -> FloatArray:
    """(2, 3) affine from a picture to a reduced one, each pixel of which is ``step`` of its own wide."""
    return np.array([[1 / step, 0, 0.5 / step - 0.5], [0, 1 / step, 0.5 / step - 0.5]], dtype=np.float32)


_masks: dict[str, FloatArray] = {}
_MOST_MASKS = 32


def _once(name: str, build: Callable[[], FloatArray]) -> FloatArray:
    """A mask in the texture plane, made once for all swappers of the process; nothing may be written into it."""
    found = _masks.get(name)
    if found is None:
        if len(_masks) > _MOST_MASKS:
            _masks.clear()
        found = _masks[name] = build()
    return found


_NOBODY = SourceFace(
    np.zeros((1, 1, 3), dtype=np.uint8), Face(np.zeros((478, 3), np.float32), 0.0, Pose(0.0, 0.0, 0.0))
)
_taking = threading.Lock()
_Key = tuple[object, ...]
_completed: weakref.WeakKeyDictionary[
    SourceFace, dict[_Key, tuple[tuple[weakref.ref[SourceFace], ...], _Taken, int]]
] = weakref.WeakKeyDictionary()
"""What was made of sources that are still there: references to them, the texture, and which is the main one."""


@cache
def _surface() -> tuple[TexturePlane, SurfaceGrid]:
    """The unrolled mean face and its coarse grid; both are the same for everyone."""
    plane = texture_plane(load_mesh_topology())
    return plane, build_grid(plane, CELLS)


@cache
def _lids() -> tuple[EyePlace, ...]:
    """The lids of both eyes in the texture plane; the same for everyone."""
    plane, _ = _surface()
    return find_lids(plane)


@cache
def _eye_places() -> tuple[EyePlace, ...]:
    """Both eyes in the texture plane; the same for everyone."""
    plane, _ = _surface()
    depths = [inner_distance(plane.points[list(ring)], SIZE) for ring in (LEFT_EYE, RIGHT_EYE)]
    holes, balls = ([_soft_inside(depth - margin) for depth in depths] for margin in (0.0, LID_PX))
    return find_places(holes, balls)


def _soft_inside(depth: FloatArray) -> FloatArray:
    """1 within a ring, with a soft edge."""
    return blur(np.asarray(np.clip(depth / 1.5, 0, 1), dtype=np.float32), 1.2)


def _tone_error(log: FloatArray, goal: FloatArray, weight: FloatArray) -> FloatArray:
    """(3,) what to add to the logarithm of light so that skin has the tone of the goal on average, as it is seen.

    What is whiter than white is lost, and detail is not as bright as it is dark, so the mean of the logarithm is not
    that of the picture.
    """
    total = float(weight.sum())
    if total < LEAST_SKIN:
        return np.zeros(3, dtype=np.float32)
    wanted = _seen_tone(goal, weight, total)
    added = np.zeros(3, dtype=np.float32)
    for _ in range(3):
        missing = np.log(wanted / np.maximum(_seen_tone(log + added, weight, total), 1e-3)) / GAMMA
        added = np.clip(added + missing, -MAX_TONE_ERROR, MAX_TONE_ERROR).astype(np.float32)
    return np.asarray(added * min(total / (4 * LEAST_SKIN), 1.0), dtype=np.float32)


def _seen_tone(log: FloatArray, weight: FloatArray, total: float) -> FloatArray:
    """(3,) weighted mean of what an eye sees of logarithms of light."""
    seen = np.clip(np.exp(log) - OFFSET, 1e-4, 1) ** GAMMA
    return np.asarray((seen * weight[..., None]).sum(axis=(0, 1)) / total, dtype=np.float32)


def _colourfulness(colour: Pixels, weight: FloatArray) -> float:
    """0 where skin in sight is grey, 1 where it has any colour to speak of."""
    values = colour.astype(np.float32)
    spread = largest_of_channels(values) + largest_of_channels(-values)
    saturation = spread / (mean_of_three(values) + 8)
    mean = float((saturation * weight).sum()) / (float(weight.sum()) + 1e-6)
    return float(smoothstep(np.array((mean - 0.02) / 0.06)))


def _mean(values: FloatArray, weight: FloatArray) -> float:
    return float((values * weight).sum()) / (float(weight.sum()) + 1e-6)


def _contrast(residual: FloatArray, weight: FloatArray) -> float:
    """Weighted standard deviation of the luminance of what light does not explain."""
    light = mean_of_three(residual)
    total = float(weight.sum()) + 1e-6
    mean = float((light * weight).sum()) / total
    return float(np.sqrt(((light - mean) ** 2 * weight).sum() / total))


def _room_beside(face: Face) -> float:
    """0 to 1: how free the surroundings are that bend with the head; nobody else's face may bend with it."""
    room = 1.0
    low, high = face.mesh[:, :2].min(axis=0), face.mesh[:, :2].max(axis=0)
    for other in face.beside:
        begin, end = other[:, :2].min(axis=0), other[:, :2].max(axis=0)
        reach = RING_SIDE * (high - low) / 2 + 1.1 * (end - begin) / 2
        gap = (np.abs((low + high) - (begin + end)) / 2 - reach) / np.maximum(high - low, 1.0)
        room = min(room, float(np.clip(gap.max() / FREE, 0, 1)))
    return room


def find_models(context: EngineContext) -> list[str]:
    """What cleans and completes sources, and what fits the new face to its frame."""
    return [
        APPEARANCE_MODEL,
        *(spec.id for spec in models_behind(*OCCLUDER, context)),
        *(["face_fusion_embedded"] if context.options.fusion > 0 else []),
    ]


@opens(find_models)
def build(context: EngineContext) -> MeshSwapper:
    """Builder named in the entry point."""
    recipe = context.recipe
    # Its own soft outline stands in for the box.
    kinds = [kind for kind in recipe.face_mask_types if kind != "box"]
    masks = CropMasks(context, kinds) if kinds else None
    models = {recipe.face_occluder_model, recipe.face_parser_model}
    return MeshSwapper(
        context.options.light,
        recipe.face_mask_blur,
        masks,
        build_fusion(context),
        recipe.finish_matching,
        shape=context.options.shape,
        blend=context.options.blend,
        completer=build_completer(context),
        seen_px=SEEN_PX if models == {"embedded"} else SEEN_FINELY_PX,
        has_eyes=context.options.eyes == "source",
        keeps_beards=context.options.beard == "fit",
    )
