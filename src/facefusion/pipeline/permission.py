"""May this be done here: faces of sources and of who is changed, and frames of the target, are looked at for that.

Faces are looked at again by our own engines with their own settings, in every process that works: what a request, a
plan, a message or saved tracks say of who somebody is does not count. What comes of it is judged by
`facefusion.policy`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from facefusion.declaration import Input, Need, Step
from facefusion.errors import FaceFusionError, MediaError, NoFaceInSource, PolicyUnready, RecipeError
from facefusion.media.image import read_photo
from facefusion.pipeline.cast import Looker, build_analyser, sort_sources
from facefusion.pipeline.clip import photo_frame, read_clip
from facefusion.pipeline.inputs import Shelf
from facefusion.pipeline.plan import Kind, Plan
from facefusion.pipeline.resolved import Chain, Resolved
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.plugins.registry import build_engine
from facefusion.policy.blocklist import Blocklist
from facefusion.policy.consent import Consent, Ledger, today
from facefusion.policy.content import Checker, check_content, find_checkers
from facefusion.policy.gate import Gate, Known, Seen, SeenModel
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.policy.verdict import Verdict
from facefusion.recipe import Recipe
from facefusion.types.crop import SourceFace
from facefusion.types.frame import Frame, Pixels
from facefusion.types.track import Track, Tracks
from facefusion.wording import counted

LOOKS = 3
"""Frames in which somebody is looked at who is changed."""
_CANDIDATES = 24
FEWEST_MOMENTS, MOST_MOMENTS, EVERY_S = 12, 60, 10.0
"""Frames of a clip whose content is looked at: one every so many seconds, within these bounds."""


class Permission:
    """Asks a site's policy about one request.

    Parameters
    ----------
    site
        What is in force.
    tenant
        On whose behalf.
    shelf
        Where photos and faces may be already.
    """

    def __init__(self, site: SitePolicy = NO_POLICY, tenant: str = "", shelf: Shelf | None = None) -> None:
        self.site, self._tenant, self._shelf = site, tenant, shelf or Shelf()
        self._checkers: tuple[Checker, ...] | None = None
        self._looks: dict[int, tuple[SourceFace, FloatArray, FloatArray | None]] = {}

    def request(self, plan: Plan) -> Verdict:
        """What can be said before the first frame: of sources, and of the content of a target that is there.

        Raises
        ------
        PolicyError
        """
        verdict = self.sources(plan.resolved, plan)
        return verdict if plan.is_generated else verdict.joined(self.content(plan.recipe, plan.kind))

    def sources(self, resolved: Resolved, plan: Plan | None = None) -> Verdict:
        """Whether those whose faces are put on have agreed, and nobody of them is blocked.

        Parameters
        ----------
        resolved
            The request.
        plan
            Where it was found out what its sources are.

        Raises
        ------
        ConsentMissing, PersonBlocked, PolicyUnready, NoFaceInSource
        """
        if not self.site.looks_at_people:
            return self._gate(resolved.recipe).judge((), (), Known())
        people, models = [], []
        looker = Looker(resolved, self._shelf)
        number = 0
        others = [step for step in resolved.recipe.steps if step.spec.kind != "face"]  # they are given all sources
        for chain in resolved.chains:
            takers = tuple(dict.fromkeys((*_takers(chain.steps), *_takers(others))))
            models += [SeenModel(ref.name, (step.processor,)) for step in chain.steps
                       if step.requirements.shows_somebody for ref in step.requirements.models]  # fmt: skip
            for path in sort_sources(chain.sources, None if plan is None else plan.found.sources)[0] if takers else ():
                number += 1
                face = looker.find(path)
                if id(face) not in self._looks:  # the shelf gives the same one as long as the file is the same
                    if len(self._looks) >= _CANDIDATES:
                        self._looks.clear()
                    own = describe([face.pixels], [face.face.five_points])
                    self._looks[id(face)] = face, own, _describe_all(face.pixels)
                _, own, everybody = self._looks[id(face)]
                people.append(Seen("source", f"The source {path}", f"Source {number}", takers, own, everybody))
        models += [SeenModel(ref.name, (step.processor,)) for step in resolved.recipe.steps
                   if step.spec.kind != "face" and step.requirements.shows_somebody
                   for ref in step.requirements.models if not _stands_in(step, resolved.chains)]  # fmt: skip
        return self._gate(resolved.recipe).judge(people, models, self._known())

    def people(
        self, resolved: Resolved, kind: Kind, tracks: Tracks, assigned: Mapping[int, int], frame: Frame | None = None
    ) -> Verdict:
        """Whether those who are changed have agreed, and nobody of them is blocked.

        Parameters
        ----------
        resolved
            The request, with a target that can be read here.
        kind
            Of the target.
        tracks
            Where people are; who they are is looked at anew.
        assigned
            Number of the chain that changes a track.
        frame
            The only frame to look at; None takes some of all in which they are seen.

        Raises
        ------
        ConsentMissing, PersonBlocked, PolicyUnready
        """
        nobody = Verdict(self.site.consent_mode)
        if not self.site.looks_at_people:
            return nobody
        people = []
        wanted = _changers(resolved, tracks, assigned)
        looks = self._look(resolved.recipe, kind, tracks, tuple(wanted), frame)
        for track_id, processors in wanted.items():
            if track_id in looks:
                name = f"Person {track_id} of the target"
                people.append(Seen("target", name, name, processors, looks[track_id]))
        return self._gate(resolved.recipe).judge(people, (), self._known()) if people else nobody

    def content(self, recipe: Recipe, kind: Kind) -> Verdict:
        """What frames from all over the target show.

        Raises
        ------
        ContentRefused, PolicyUnready
        """
        if self.site.content_mode == "off":
            return Verdict()
        return self.frames([frame.pixels for frame in self._moments(recipe, kind)])

    def frames(self, pixels: Sequence[Pixels]) -> Verdict:
        """The same of frames that are there.

        Raises
        ------
        ContentRefused, PolicyUnready
        """
        if self.site.content_mode == "off":
            return Verdict()
        if self._checkers is None:
            try:
                self._checkers = find_checkers(self.site)
            except FaceFusionError:
                return check_content(self.site, pixels)  # says so, or notes it
        return check_content(self.site, pixels, self._checkers)

    def _gate(self, recipe: Recipe) -> Gate:
        return Gate(self.site, recipe.consent, self._tenant, today())

    def _known(self) -> Known:
        """Everybody who has agreed and everybody who is blocked, as they are now."""
        consents: list[tuple[Consent, FloatArray]] = []
        flaws: list[str] = []
        site = self.site
        if site.consent_mode != "off":
            try:
                if site.ledger is None:
                    raise PolicyUnready("There is no ledger of consents here.", "Name one with --consent-ledger.")
                ledger = Ledger(site.ledger)
                consents = [(entry, looks_of(ledger, entry)) for entry in ledger.load()]
            except PolicyUnready:
                if site.consent_mode == "require":
                    raise
                flaws.append("There is no ledger of consents that can be read.")
        blocked = blocklist_of(site).load() if site.has_blocklist else ()
        return Known(tuple(consents), blocked, contract(), tuple(flaws))

    def _look(
        self, recipe: Recipe, kind: Kind, tracks: Tracks, track_ids: Sequence[int], frame: Frame | None
    ) -> dict[int, FloatArray]:
        """(K, D) looks at every track that is seen."""
        rows: dict[int, list[tuple[Track, int]]] = {}
        for track in tracks.tracks:
            if track.track_id in track_ids and len(track.frames):
                for row in _best_rows(track) if frame is None else []:
                    rows.setdefault(int(tracks.pts[track.frames[row]]), []).append((track, row))
        if frame is not None:
            rows[frame.pts] = tracks.at(frame.pts, track_ids)
        found: dict[int, list[FloatArray]] = {}
        for pts, seen in sorted(rows.items()):
            there = frame if frame is not None else self._frame_at(recipe, kind, pts)
            if there is None or not seen:
                continue
            codes = describe([there.pixels] * len(seen), [track.face(row).five_points for track, row in seen])
            for (track, _), code in zip(seen, codes, strict=True):
                found.setdefault(track.track_id, []).append(code)
        # Who cannot be looked at is unknown, and no less somebody.
        none = np.zeros((0, 1), dtype=np.float32)
        unseen = {track.track_id: none for rows_ in rows.values() for track, _ in rows_ if track.track_id not in found}
        return {**unseen, **{track_id: np.stack(codes) for track_id, codes in found.items()}}

    def _frame_at(self, recipe: Recipe, kind: Kind, pts: int) -> Frame | None:
        if kind == "photo":
            return photo_frame(self._shelf.photo(recipe.target_path, recipe.allow_8bit))
        return next(iter(read_clip(recipe, span=(pts, pts + 1))), None)

    def _moments(self, recipe: Recipe, kind: Kind) -> Iterator[Frame]:
        if kind == "photo":
            yield photo_frame(self._shelf.photo(recipe.target_path, recipe.allow_8bit))
            return
        reader = read_clip(recipe)
        info, begin = reader.info, reader.offset
        _, stop = reader.span_pts()
        end = begin + int(Fraction(info.duration_s).limit_denominator(1_000_000) / info.time_base)
        length = max((end if stop is None else min(stop, end)) - begin, 1)
        count = min(max(math.ceil(float(length * info.time_base) / EVERY_S), FEWEST_MOMENTS), MOST_MOMENTS)
        seen: set[int] = set()
        for number in range(count):
            at = begin + length * (2 * number + 1) // (2 * count)
            frame = next(iter(read_clip(recipe, span=(at, at + 1), halo=(0, 1))), None)
            if frame is not None and frame.pts not in seen:
                seen.add(frame.pts)
                yield frame
        if not seen and (first := next(iter(read_clip(recipe)), None)) is not None:
            yield first


def blocklist_of(site: SitePolicy) -> Blocklist:
    """The blocklist of a site.

    Raises
    ------
    PolicyUnready
        When it has none.
    """
    if site.blocklist is None:
        raise PolicyUnready("There is no place for a blocklist here.", "Name one with --blocklist-path.")
    return Blocklist(site.blocklist, site.blocklist_key_path, site.blocklist_key)


def _takers(steps: Iterable[Step]) -> tuple[str, ...]:
    """Processors that put on the face of a photo."""
    return tuple(
        step.processor
        for step in steps
        if Input.FACE_PHOTO in step.requirements.inputs and not step.requirements.is_protective
    )


def _stands_in(step: Step, chains: Iterable[Chain]) -> bool:
    return any(step in chain.steps for chain in chains)


def _changers(resolved: Resolved, tracks: Tracks, assigned: Mapping[int, int]) -> dict[int, tuple[str, ...]]:
    """Processors that change a track, for every track that is changed by one and hidden by none."""
    steps = [step for step in resolved.recipe.steps if step.spec.kind == "frame"]
    everywhere = tuple(
        step.processor
        for step in steps
        if Need.FACES in step.requirements.needs and not step.requirements.is_protective
    )
    found: dict[int, tuple[str, ...]] = {}
    for track in tracks.tracks:
        own: tuple[Step, ...] = ()
        if track.track_id in assigned:
            chain = resolved.chains[min(assigned[track.track_id], len(resolved.chains) - 1)]
            own = tuple(step for step in chain.steps if step.spec.kind == "face")
            if any(step.requirements.is_protective for step in own):
                continue
        processors = tuple(dict.fromkeys((*(step.processor for step in own), *everywhere)))
        if processors:
            found[track.track_id] = processors
    return found


def _best_rows(track: Track) -> list[int]:
    """Rows from all over a track in which the face is large and seen from the front."""
    candidates = np.unique(np.linspace(0, len(track.frames) - 1, _CANDIDATES).round().astype(int))
    if track.guessed is not None and not track.guessed[candidates].all():
        candidates = candidates[~track.guessed[candidates]]
    chosen = []
    for part in np.array_split(candidates, LOOKS):
        if len(part):
            chosen.append(max((int(row) for row in part), key=lambda row: _quality(track, row)))
    return chosen


def _quality(track: Track, row: int) -> float:
    yaw, pitch = (abs(float(angle)) for angle in track.poses[row][:2])
    height = float(np.ptp(np.asarray(track.meshes[row])[:, 1]))
    return min(height, 256.0) * max(1 - yaw / 90 - pitch / 120, 0.1) * float(track.scores[row])


@lru_cache(maxsize=1)
def _recipe() -> Recipe:
    return Recipe()


def _identifier() -> Any:
    return build_engine("face_identifier", "embedded", EngineContext(_recipe()))


def contract() -> str:
    """Name of the space of what our own recogniser says of faces."""
    return str(_identifier().contract)


def describe(pixels: Sequence[Pixels], points: Sequence[FloatArray]) -> FloatArray:
    """(N, D) float32 of unit length: what our own recogniser says of faces, whatever a request names.

    Parameters
    ----------
    pixels, points
        A picture and five points for each.
    """
    codes = np.asarray(_identifier().identify(pixels, points), dtype=np.float32)
    return np.asarray(codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def _describe_all(pixels: Pixels) -> FloatArray | None:
    """Everybody our own detector finds in a picture."""
    faces = build_analyser(_recipe(), has_identity=False).find_faces(pixels)
    return describe([pixels] * len(faces), [face.five_points for face in faces]) if faces else None


def describe_faces(path: Path, content: bytes | None = None) -> FloatArray:
    """(N, D) float32 of unit length, N at least 1: everybody in a photo, found by our own engines, the largest first.

    Parameters
    ----------
    path
        The photo.
    content
        What is in it, where it was read already.

    Raises
    ------
    NoFaceInSource
        When it shows none.
    MediaError
    """
    codes = _describe_all(read_photo(path, allow_8bit=True, content=content).pixels)
    if codes is None:
        raise NoFaceInSource(f"No face is found in {path}.", "Use a photo in which the face is at least 64 px high.")
    return codes


def describe_person(path: Path, content: bytes | None = None) -> FloatArray:
    """(D,) float32 of unit length: the only face of a photo that says who somebody is.

    Parameters
    ----------
    path, content
        As in `describe_faces`.

    Raises
    ------
    RecipeError
        When it shows several: nobody here can know which of them is meant.
    NoFaceInSource, MediaError
    """
    codes = describe_faces(path, content)
    if len(codes) > 1:
        raise RecipeError(
            f"{path} shows {counted(len(codes), 'face')}; which of them is meant nobody can tell.",
            "Cut the photo to the one person, or use another one.",
        )
    return np.asarray(codes[0])


_kept: OrderedDict[str, FloatArray | None] = OrderedDict()
_KEPT_MAX = 4096


def looks_of(ledger: Ledger, entry: Consent) -> FloatArray:
    """(K, D) float32: the faces of an entry's photos that are what was entered and show one person alone; kept by
    content, in memory.

    Parameters
    ----------
    ledger
        Where the photos are.
    entry
        Whose.
    """
    found = []
    for photo in entry.photos:
        content = ledger.read_photo(photo)
        if content is None:
            continue  # 'consent list' and 'consent check' say so
        if photo.sha256 not in _kept:
            try:
                _kept[photo.sha256] = describe_person(ledger.place_of(photo), content)
            except (MediaError, NoFaceInSource, RecipeError):
                _kept[photo.sha256] = None
            while len(_kept) > _KEPT_MAX:
                _kept.popitem(last=False)
        code = _kept[photo.sha256]
        if code is not None:
            found.append(code)
    return np.stack(found) if found else np.zeros((0, 1), dtype=np.float32)
