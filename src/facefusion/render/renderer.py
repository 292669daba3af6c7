"""Renders frames: cut out, process, paste back once. A frame needs only its pixels, the tracks and the sources."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from facefusion.imaging.align import compose, invert, transform
from facefusion.imaging.composite import crop_box, paste
from facefusion.imaging.crops import cut_native, move_face
from facefusion.imaging.masks import beside_heads
from facefusion.imaging.resample import cut, warp
from facefusion.imaging.templates import align_to
from facefusion.plugins.protocols import FaceProcessor, FloatArray, MeetsPeople
from facefusion.render.depth import stand_before, stand_beside
from facefusion.render.presence import presence
from facefusion.types.crop import Crop, CropShape
from facefusion.types.face import Face
from facefusion.types.frame import Frame, Pixels, RenderedFrame
from facefusion.types.track import Track, Tracks

AROUND_PX = 32
"""Room around a crop for averaging before a strong reduction, and for whole colour samples."""
Chain = tuple[FaceProcessor, ...]
"""Processors that one person's crops go through, in order."""
_Layer = tuple[Crop, float, str]
"""A changed crop, how strongly it is shown, 0 to 1, and how it is joined to the frame."""


class Renderer:
    """Renders frames in any order and from several threads.

    Parameters
    ----------
    chains
        For every person who is changed (by track id) the prepared processors.
    tracks
        What pass 1 left.
    blend
        How crops are joined to the frame: ``feather``, ``pyramid`` or ``poisson``; for all, or for every person.
    begin
        Time in pts at which the output begins.
    keeps_alpha
        Whether rendered frames tell how far what is new covers the target.
    doubtful
        Tracks that may be no faces (`facefusion.types.face.Face.is_doubtful`).
    """

    def __init__(
        self,
        chains: Mapping[int, Sequence[FaceProcessor]],
        tracks: Tracks,
        blend: str | Mapping[int, str] = "feather",
        begin: int = 0,
        keeps_alpha: bool = False,
        doubtful: Collection[int] = (),
    ) -> None:
        self._keeps_alpha = keeps_alpha
        self._chains = {track_id: tuple(chain) for track_id, chain in chains.items()}
        self._tracks, self._begin, self._doubtful = tracks, begin, frozenset(doubtful)
        self._blends = dict.fromkeys(chains, blend) if isinstance(blend, str) else dict(blend)
        for processor in {id(p): p for chain in self._chains.values() for p in chain}.values():
            if isinstance(processor, MeetsPeople):
                processor.meet(tracks)
        # Who must not be seen is covered in full from the first frame to the last.
        self._presence = {
            track.track_id: np.ones(len(track.frames), dtype=np.float32)
            if any(processor.covers_fully for processor in self._chains[track.track_id])
            else presence(track, tracks, self._chains)
            for track in tracks.tracks
            if track.track_id in self._chains
        }

    def render(self, frame: Frame) -> RenderedFrame:
        """Change the chosen faces of a frame; a frame without any comes back as it is."""
        return self.render_many([frame])[0]

    def region(self, pts: int) -> tuple[int, int, int, int] | None:
        """Half-open xyxy box of the frame at a time that rendering looks at, None where it looks at nothing.

        It is not clipped to the frame.
        """
        boxes = [
            _reach(replace(track.face(row), is_doubtful=track.track_id in self._doubtful), processor.crop_shape)
            for track, row in self._tracks.at(pts, tuple(self._chains))
            for processor in self._chains[track.track_id]
        ]
        if not boxes:
            return None
        low = np.floor(np.min([box[:2] for box in boxes], axis=0)).astype(int) - AROUND_PX
        high = np.ceil(np.max([box[2:] for box in boxes], axis=0)).astype(int) + AROUND_PX
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def render_many(self, frames: Sequence[Frame]) -> list[RenderedFrame]:
        """Change several frames; faces of all of them that go through the same processors go together."""
        layers: list[list[_Layer]] = [[] for _ in frames]
        by_chain: dict[Chain, list[tuple[int, Face, float, str]]] = {}
        for number, frame in enumerate(frames):
            for track, row in self._tracks.at(frame.pts, tuple(self._chains)):
                share = float(self._presence[track.track_id][row])
                if share > 0:
                    face = replace(
                        track.face(row),
                        person=self._tracks.person_of(track.track_id),
                        covers=self._covers(track, row),
                        beside=self._beside(track, row),
                        is_doubtful=track.track_id in self._doubtful,
                    )
                    by_chain.setdefault(self._chains[track.track_id], []).append(
                        (number, face, share, self._blends[track.track_id])
                    )
        for chain, found in by_chain.items():
            pixels = [frames[number].pixels for number, *_ in found]
            moments = [(frames[number].pts - self._begin) * frames[number].time_base for number, *_ in found]
            done = self._process(chain, pixels, [face for _, face, _, _ in found], moments)
            for (number, _, share, blend), crops in zip(found, done, strict=True):
                layers[number] += [(crop, share, blend) for crop in crops]
        return [self._join(frame, crops) for frame, crops in zip(frames, layers, strict=True)]

    def _beside(self, track: Track, row: int) -> tuple[FloatArray, ...]:
        """Meshes of the other people near by, where what surrounds the face may be bent."""
        if any(processor.covers_fully for processor in self._chains[track.track_id]):
            return ()
        return stand_beside(self._tracks, track, row)

    def _covers(self, track: Track, row: int) -> tuple[FloatArray, ...]:
        """Meshes of the people who stand before somebody; who must not be seen is covered with all that is there."""
        if any(processor.covers_fully for processor in self._chains[track.track_id]):
            return ()
        return stand_before(self._tracks, track, row)

    def _process(
        self, chain: Chain, pixels: Sequence[Pixels], faces: Sequence[Face], moments: Sequence[Fraction]
    ) -> list[list[Crop]]:
        """Crops of every face after all processors; more than one where a template did not hold what was there."""
        done: list[list[Crop]] = [[] for _ in faces]
        crops = [
            replace(cut_out(p, face, chain[0].crop_shape), moment=moment)
            for p, face, moment in zip(pixels, faces, moments, strict=True)
        ]
        for before, processor in zip((None, *chain), chain, strict=False):
            if before is not None and before.crop_shape != processor.crop_shape:
                for k, crop in enumerate(crops):
                    crops[k], kept = hand_on(crop, pixels[k], faces[k], processor.crop_shape)
                    done[k] += kept
            crops = processor.process(crops)
        return [[_behind_others(one) for one in (*kept, crop)] for kept, crop in zip(done, crops, strict=True)]

    def _join(self, frame: Frame, layers: Sequence[_Layer]) -> RenderedFrame:
        """Paste crops onto a copy of the part of the frame that they cover, far faces first."""
        if not layers:
            return RenderedFrame(frame)
        # So that a near face covers a far one where they overlap.
        layers = sorted(layers, key=lambda layer: _size_in_frame(layer[0]))
        height, width = frame.pixels.shape[:2]
        boxes = [crop_box(crop.crop_from_frame, crop.pixels.shape[1], crop.pixels.shape[0]) for crop, _, _ in layers]
        x0, y0 = (max(min(box[k] for box in boxes), 0) for k in (0, 1))
        x1, y1 = (min(max(box[k] for box in boxes), limit) for k, limit in ((2, width), (3, height)))
        if x1 <= x0 or y1 <= y0:
            return RenderedFrame(frame)
        part = frame.pixels[y0:y1, x0:x1].copy()
        changed = []
        bare = np.ones(part.shape[:2], dtype=np.float32) if self._keeps_alpha else None
        for crop, share, blend in layers:
            before = part.copy() if share < 1 else None
            crop_from_part = crop.crop_from_frame.copy()
            crop_from_part[:, 2] += crop_from_part[:, :2] @ np.array([x0, y0], dtype=np.float32)
            cover = None if bare is None else np.zeros_like(bare)
            box = paste(part, crop.pixels, crop.alpha, crop_from_part, blend, cover)
            if box is None:
                continue
            if bare is not None and cover is not None:
                bare *= 1 - cover * np.float32(share)
            changed.append(box)
            if before is not None:
                inside = (slice(box[1], box[3]), slice(box[0], box[2]))
                mixed = before[inside] + (part[inside].astype(np.float32) - before[inside]) * share
                part[inside] = (mixed + 0.5).astype(np.uint8)
        if not changed:
            return RenderedFrame(frame)
        left, top = (min(box[k] for box in changed) for k in (0, 1))
        right, bottom = (max(box[k] for box in changed) for k in (2, 3))
        alpha = None if bare is None else 1 - bare[top:bottom, left:right]
        box = (x0 + left, y0 + top, x0 + right, y0 + bottom)
        return RenderedFrame(frame, part[top:bottom, left:right], box, alpha)


def _behind_others(crop: Crop) -> Crop:
    """A changed crop that leaves those alone who stand before the face."""
    if not crop.face.covers or crop.under is None:
        return crop
    height, width = crop.alpha.shape
    return replace(crop, alpha=np.minimum(crop.alpha, beside_heads(crop.face.covers, height, width)))


def cut_out(pixels: Pixels, face: Face, shape: CropShape | None) -> Crop:
    """A crop as a processor wants it, resampled once at most."""
    if shape is None:
        return cut_native(pixels, face)
    if not shape.template:
        return cut_native(pixels, face, shape.room_around(face), shape.max_side)
    affine = align_to(face.five_points, shape.template, shape.size)
    crop = cut(pixels, affine, shape.size)
    return Crop(crop, affine, move_face(face, affine), np.zeros(crop.shape[:2], dtype=np.float32))


def hand_on(crop: Crop, pixels: Pixels, face: Face, shape: CropShape | None) -> tuple[Crop, list[Crop]]:
    """A changed crop in the shape of the next processor.

    The frame is cut out afresh and the layer goes over by one composed warp. A layer that does not fit into the
    next crop is pasted on its own before it.

    Parameters
    ----------
    crop
        What the processor before left.
    pixels
        The whole frame.
    face
        The face in frame pixels.
    shape
        What the next processor wants.

    Returns
    -------
    The new crop, and crops that must be pasted before it.
    """
    fresh = replace(cut_out(pixels, face, shape), moment=crop.moment)
    if crop.under is None:
        return fresh, []
    height, width = fresh.pixels.shape[:2]
    new_from_old = compose(fresh.crop_from_frame, invert(crop.crop_from_frame))
    layer = warp(crop.pixels, new_from_old, width, height, is_border_black=False)
    alpha = warp(crop.alpha, new_from_old, width, height, is_border_black=True)
    changed = fresh.with_layer(layer, alpha)
    if _holds(crop.alpha, new_from_old, width, height):
        return changed, []
    return replace(fresh, pixels=changed.visible()), [crop]


def _holds(alpha: FloatArray, new_from_old: FloatArray, width: int, height: int) -> bool:
    """Whether all of a layer lies inside the new crop."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not rows.size:
        return True
    corners = [[x, y] for x in (columns[0], columns[-1]) for y in (rows[0], rows[-1])]
    moved = transform(new_from_old, np.array(corners, dtype=np.float32))
    return bool((moved >= -0.5).all() and (moved <= np.array([width, height]) - 0.5).all())


def _reach(face: Face, shape: CropShape | None) -> FloatArray:
    """(4,) xyxy of the frame pixels that a crop of a face is cut from."""
    if shape is None or not shape.template:
        room = 0.03 + (0.02 if shape is None else shape.room_around(face))
        margin = room * float((face.box[2:] - face.box[:2]).max())
        return np.concatenate([face.box[:2] - margin, face.box[2:] + margin])
    side = shape.size - 1
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]], dtype=np.float32)
    moved = transform(invert(align_to(face.five_points, shape.template, shape.size)), corners)
    return np.concatenate([moved.min(axis=0), moved.max(axis=0)])


def _size_in_frame(crop: Crop) -> float:
    scale = float(np.sqrt(abs(np.linalg.det(crop.crop_from_frame[:, :2].astype(np.float64)))))
    return float(np.ptp(crop.face.mesh[:, 1])) / max(scale, 1e-9)
