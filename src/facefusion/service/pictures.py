"""Pictures in memory, changed one call at a time by what is loaded once: the road of a photo's job, without its files.

What is planned, found, permitted and drawn is what `facefusion.run` does with a photo. Files are read and written only
where a caller names them; photos that come as arrays lie in a working folder of the object, for its owner alone.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from html import escape
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from facefusion.analyse.analyser import Analyser
from facefusion.declaration import ModelRef
from facefusion.errors import FaceFusionError, MediaUnsupported, RecipeError, TracksError
from facefusion.imaging.crops import cut_native
from facefusion.jobs.provenance import sign_alone
from facefusion.media.image import Photo, check_photo_output, parts_behind, write_photo
from facefusion.media.picture import Picture, PilImage, as_pil, data_uri, is_one_picture, take_picture
from facefusion.media.privacy import clean_photo
from facefusion.pipeline.cast import Cast, FacePart, build_analyser, build_cast, build_parts
from facefusion.pipeline.clip import photo_frame, write_changed
from facefusion.pipeline.inputs import Shelf
from facefusion.pipeline.live import Live
from facefusion.pipeline.marks import marked
from facefusion.pipeline.permission import Permission
from facefusion.pipeline.plan import check_models, check_paths, check_sources, decided, models_of, settled
from facefusion.pipeline.progress import (
    NEVER,
    CancelToken,
    OnProgress,
    Progress,
    check_listener,
    check_token,
    ignore_progress,
)
from facefusion.pipeline.resolved import Resolved, Use, resolve
from facefusion.pipeline.review import judged
from facefusion.pipeline.runner import comment_on, own_errors
from facefusion.pipeline.still import Moment, look_around, render_still
from facefusion.plugins.protocols import FloatArray, ForgetsPeople, MeetsPeople
from facefusion.policy.mark import without_job
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.policy.verdict import Verdict
from facefusion.recipe import Recipe, build_recipe, check_is_here, check_no_blank, for_programs
from facefusion.render.overlap import prefetch
from facefusion.staying import Staying
from facefusion.types.face import Attributes, Face
from facefusion.types.frame import Frame, Pixels
from facefusion.types.paths import as_path
from facefusion.types.shown import shown
from facefusion.types.track import SAME_PERSON_COSINE, Tracks
from facefusion.workplace import Workplace, clear_dead, user_base, user_workplace
from facefusion.writing import delivery

OF_FILES = ("target_path", "output_path", "report_path", "fail_under", "start_s", "end_s")
"""Options that mean nothing where pictures come one at a time."""
_PHOTOS = ("source_paths", "source_path", "sources", "source", "exempt_paths", "reference_face_path")
"""Options that take pictures where a recipe takes paths."""
MOST_PER_S = 100_000.0
"""Frames a second beyond which a rate is a mistake."""
AHEAD = 2
"""Pictures of a batch that are looked at while one is drawn."""
THUMB_PX, SHOWN_PX = 96, 480


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace(Face):
    """A face in a picture: `facefusion.types.face.Face`, with what is known of the person.

    Attributes
    ----------
    attributes
        What a classifier estimates, or None where nobody asked.
    picture
        (h, w, 3) uint8 RGB, the face and some room, at most 96 px high, for showing.
    contract
        Name of the space of the embedding; those of other spaces cannot be compared with it.
    same_person_cosine
        Dot product of two embeddings above which they are taken to be of one person.
    """

    attributes: Attributes | None = None
    picture: Pixels | None = None
    contract: str = ""
    same_person_cosine: float = SAME_PERSON_COSINE

    __repr__ = shown

    @property
    def embedding(self) -> FloatArray | None:
        """(D,) float32 of unit length: the dot product of two is their likeness. None where nobody asked for it."""
        if self.identity is None:
            return None
        return np.asarray(self.identity / max(float(np.linalg.norm(self.identity)), 1e-9), dtype=np.float32)

    def is_same_person(self, other: SeenFace) -> bool:
        """Whether another face is taken to be of the same person. It is a guess, and no proof.

        Raises
        ------
        TracksError
            When one of them has no embedding, or one of another recogniser.
        RecipeError
            When it is no face.
        """
        if not isinstance(other, SeenFace):
            raise RecipeError(f"A face is wanted, not {type(other).__name__}.", "Take one of analyse_image(picture).")
        mine, theirs = self.embedding, other.embedding
        if mine is None or theirs is None or self.contract != other.contract:
            raise TracksError("Embeddings of two recognisers cannot be compared.", "Find both faces in the same way.")
        return float(mine @ theirs) > self.same_person_cosine

    def as_dict(self) -> dict[str, Any]:
        """For JSON: where the face is and what it looks like, without its embedding."""
        known = self.attributes
        return {
            "box": [round(float(v), 2) for v in self.box],
            "points": [[round(float(v), 2) for v in point] for point in self.five_points],
            "score": round(self.score, 4),
            "pose": {name: round(float(getattr(self.pose, name)), 2) for name in ("yaw", "pitch", "roll")},
            "attributes": None if known is None else {
                "ages": list(known.ages), "gender": known.gender, "race": known.race,
            },
        }  # fmt: skip

    def _repr_html_(self) -> str:
        """For notebooks: the face, how large and how it is turned. There is no embedding in it."""
        width, height = (self.box[2:] - self.box[:2]).round().astype(int)
        text = (
            f"{width} x {height} px, score {self.score:.2f}<br>yaw {round(self.pose.yaw)}°, "
            f"pitch {round(self.pose.pitch)}°, roll {round(self.pose.roll)}°"
        )
        if self.attributes is not None:
            low, high = self.attributes.ages
            text += escape(f"; {self.attributes.gender}, {low} to {high - 1} years, {self.attributes.race} (estimated)")
        image = "" if self.picture is None else f'<img alt="face" src="{data_uri(self.picture, THUMB_PX)}">'
        return f'<div style="display:inline-block;margin:4px;font:12px sans-serif">{image}<br>{text}</div>'


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """What became of a picture.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8 RGB, an array of its own; a step may have scaled its sides. It is neither signed nor
        marked: `save` does both.
    is_changed
        Whether anything is new in it. Where nobody is found it is the picture as it was.
    faces
        Who was found, the most prominent first.
    changed
        Numbers of those among them who were changed.
    """

    pixels: Pixels
    is_changed: bool
    faces: tuple[SeenFace, ...]
    changed: tuple[int, ...]
    _photo: Photo = field(repr=False)
    _save: Callable[[Changed, Path], tuple[str, ...]] = field(repr=False)

    __repr__ = shown

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, as results of other processes are, it is all but what signs it: that stays where it was made."""
        return type(self), (self.pixels, self.is_changed, self.faces, self.changed, self._photo, _save_elsewhere)

    def as_pil(self) -> PilImage:
        """As an image of Pillow, with the alpha, the colour profile and the resolution that the picture had."""
        return as_pil(replace(self._photo, pixels=self.pixels, alpha=self.alpha))

    @property
    def alpha(self) -> Pixels | None:
        """(H, W) uint8 of the picture before, or None where it had none."""
        alpha = self._photo.alpha
        return alpha if alpha is not None and alpha.shape == self.pixels.shape[:2] else None

    def save(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write it as a photo and sign it, as an output of `facefusion.run` is.

        Parameters
        ----------
        path
            Its ending chooses the format.

        Returns
        -------
        Sentences on what the picture told and the file does not.

        Raises
        ------
        OutputRefused, SigningRefused
            With nothing written.
        """
        with own_errors(ignore_progress):
            return self._save(self, as_path(path))

    def _repr_html_(self) -> str:
        """For notebooks: the picture, and how many were changed."""
        found = f"{len(self.changed)} of {len(self.faces)} changed" if self.faces else "nobody was found"
        image = f'<img alt="the picture" src="{data_uri(self.pixels, SHOWN_PX)}">'
        return f'<div style="font:12px sans-serif">{image}<br>{found}</div>'


def _save_elsewhere(made: Changed, path: Path) -> tuple[str, ...]:
    raise RecipeError(
        f"{path} cannot be written: the picture is a copy, or of another process, and signed where it was made.",
        "Save it there.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """A picture, and what is known before it is drawn."""

    photo: Photo
    frame: Frame
    tracks: Tracks
    assigned: Mapping[int, int]
    verdict: Verdict
    named: Path | None


class Changer(Staying):
    """Changes pictures as a recipe says. Sources are taken in and models loaded once, and stay. Safe to use from many
    threads: they look for faces side by side, and draw one after the other.

    Parameters
    ----------
    options
        Those of a recipe (`facefusion.build_recipe`). ``source_paths``, ``exempt_paths`` and ``reference_face_path``
        take pictures too: arrays, images of Pillow, the bytes of a photo. What speaks of a target or an output means
        nothing here.
    policy
        What may be done here. It is asked for every picture.

    Attributes
    ----------
    recipe
        What is done, with everything decided.
    policy
        What may be done.

    Raises
    ------
    FaceFusionError
        Everything that planning refuses.
    """

    def __init__(self, options: Mapping[str, Any], policy: SitePolicy = NO_POLICY) -> None:
        self.policy = policy
        self._names: dict[str, str] = {}
        self._place: Workplace | None = None
        self._drawing = threading.Lock()
        with self._own_errors():
            recipe = settled(build_recipe({name: self._filed(name, value) for name, value in options.items()}))
            for name in OF_FILES:
                if getattr(recipe, name) != Recipe.model_fields[name].default:
                    raise RecipeError(
                        f"'{name}' means nothing where pictures come one at a time.", "Leave it out, or use run()."
                    )
            if resolve(recipe).generator is not None:
                raise RecipeError("The first step makes the frames itself.", "Leave it out, or use run().")
            policy.signing.check()
            self.recipe = decided(recipe)
            self._resolved = resolve(self.recipe)
            check_models(self._resolved)
            self._shelf = Shelf()
            kinds = check_sources(self._resolved, self._shelf)
            self._permission = Permission(policy, shelf=self._shelf)
            self._permission.sources(self._resolved)
            self._mark = without_job() if policy.is_marked else None
            self._analyser: Analyser | None = build_analyser(self._resolved) if self._resolved.wants_faces else None
            self._cast: Cast = build_cast(self._resolved, self._analyser, kinds=kinds, shelf=self._shelf)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.recipe.processors)})"

    def close(self) -> None:
        """Take away the files of photos that came as arrays; it happens by itself where the object is gone."""
        if self._place is not None:
            self._place.close()

    @property
    def models(self) -> tuple[str, ...]:
        """Id, version and licence of every model that runs."""
        uses = [*self._resolved.uses_of_analysis, *self._resolved.uses_of_rendering]
        return tuple(f"{spec.key} ({spec.licence})" for spec in models_of(self.recipe, uses))

    def change(self, picture: Picture, cancel: CancelToken = NEVER) -> Changed:
        """Change a picture.

        Parameters
        ----------
        picture
            (H, W, 3) uint8 RGB, an image of Pillow, the bytes of a photo or its path. It is not written into.
        cancel
            Ends it.

        Returns
        -------
        The new picture, who was found and who was changed. Where nobody is found it is the old one.

        Raises
        ------
        MediaError
            When it is no picture; the message says what it is.
        PolicyError
            What must not be done here.
        Stopped
        """
        check_token(cancel)
        with self._own_errors():
            return self._draw(self._look(picture, "The picture", cancel), cancel)

    def change_each(
        self, pictures: Iterable[Picture], on_progress: OnProgress = ignore_progress, cancel: CancelToken = NEVER
    ) -> Iterator[Changed]:
        """Change many pictures that have nothing to do with each other: the next are looked at while one is drawn.

        Parameters
        ----------
        pictures
            Read as they are wanted, `AHEAD` in advance.
        on_progress
            Called after each.
        cancel
            Ends it; what was yielded until then is whole.

        Returns
        -------
        One for each picture, in order.

        Raises
        ------
        MediaError, PolicyError, Stopped
            As `change`; the message names the picture by its number, from 1.
        """
        if is_one_picture(pictures) or not (isinstance(pictures, Iterable) or hasattr(pictures, "__getitem__")):
            raise MediaUnsupported("Several pictures are wanted here.", "Give a list of them, such as [picture].")
        check_token(cancel)
        check_listener(on_progress)
        total = len(pictures) if isinstance(pictures, Sequence) else 0
        raised: list[BaseException] = []

        def given() -> Iterator[Picture]:
            try:
                # Not `yield from`: it would close the caller's generator, who may go on with it after a refusal.
                for picture in pictures:  # noqa: UP028
                    yield picture
            except Exception as error:  # the caller's own, and no fault of ours
                raised.append(error)
                raise

        def look() -> Iterator[_Looked]:
            for number, picture in enumerate(given()):
                yield self._look(picture, f"Picture {number + 1}", cancel)

        done = 0
        with closing(prefetch(look(), AHEAD)) as looked:  # type: ignore[type-var]
            while True:
                with self._own_errors(raised):
                    one = next(looked, None)
                    if one is None:
                        return
                    made = self._draw(one, cancel)
                yield made
                done += 1
                on_progress(Progress("render", done, total))

    def _look(self, picture: Picture, name: str, cancel: CancelToken) -> _Looked:
        cancel.check()
        photo = _taken(picture, name, self.recipe.allow_8bit)
        if self._resolved.is_private and isinstance(picture, str | os.PathLike | bytes | bytearray | memoryview):
            file = as_path(picture) if isinstance(picture, str | os.PathLike) else bytes(picture)
            photo = replace(photo, small_parts=photo.small_parts + parts_behind(file))
        frame = photo_frame(photo)
        verdict = self._permission.sources(self._resolved).joined(self._permission.frames([photo.pixels]))
        tracks, assigned = NOBODY, dict[int, int]()
        if self._analyser is not None:
            tracks = look_around(self.recipe, self._analyser, "photo", frame)
            if tracks.tracks:
                told = self.recipe.model_copy(update={"target_path": Path("the picture")})
                assigned = self._cast.assign(told, tracks)
        verdict = verdict.joined(self._permission.people(self._resolved, "photo", tracks, assigned, frame))
        return _Looked(
            photo, frame, tracks, assigned, verdict,
            as_path(picture) if isinstance(picture, str | os.PathLike) else None,
        )  # fmt: skip

    def _draw(self, looked: _Looked, cancel: CancelToken) -> Changed:
        cancel.check()
        frame, tracks = looked.frame, looked.tracks
        with self._drawing:
            self._forget()
            still = render_still(self.recipe, self._cast, tracks, looked.assigned, "photo", Moment(frame, (frame,), 0))
        pixels = still.pixels if still.is_changed else frame.pixels.copy()
        numbers = [track.track_id for track in tracks.tracks]
        changed = tuple(numbers.index(k) for k in looked.assigned if k in numbers) if still.is_changed else ()

        def save(made: Changed, path: Path) -> tuple[str, ...]:
            return self._save(made, looked, path)

        # What an image tells beside its pixels tells of nobody who is hidden.
        photo = clean_photo(looked.photo)[0] if self._resolved.is_private else looked.photo
        return Changed(pixels, still.is_changed, faces_of(self.recipe, tracks, frame.pixels), changed, photo, save)

    def _forget(self) -> None:
        """Nothing that was decided for people of one picture holds in the next."""
        chains = [chain for part in self._cast.parts if isinstance(part, FacePart) for chain in part.chains]
        meeting = [one for chain in chains for one in chain if isinstance(one, MeetsPeople)]
        if all(isinstance(one, ForgetsPeople) for one in meeting):
            for one in meeting:
                one.forget()  # type: ignore[attr-defined]
        else:
            parts = build_parts(self.recipe, self._resolved.people, self._cast.sources)
            self._cast = replace(self._cast, parts=parts)

    def _save(self, made: Changed, looked: _Looked, path: Path) -> tuple[str, ...]:
        height, width = made.pixels.shape[:2]
        check_photo_output(path, width, height)
        reads = [] if looked.named is None else [("picture", looked.named)]
        check_paths(self.recipe, writes=[("output", path)], reads=reads)
        comment = comment_on(self._resolved.wants_faces, self.models)
        told = None if looked.verdict.is_empty else looked.verdict.as_dict()
        pixels = made.pixels if self._mark is None or not made.is_changed else marked(made.pixels, self._mark)
        with user_workplace() as place, delivery(place, path) as partial:
            notes = write_changed(
                looked.photo, pixels, partial, self.recipe.output_image_quality, comment, self._resolved.is_private
            )
            sign_alone(partial, path, self.recipe, self.policy, made.is_changed, told)
        return notes

    def _filed(self, name: str, value: Any) -> Any:
        """An option with paths where pictures were given."""
        if name.replace("-", "_") not in _PHOTOS:
            return value
        if isinstance(value, Set) and not isinstance(value, KeysView):
            raise RecipeError(f"{name}: a set has no order, so it would give another face each time.", "Give a list.")
        is_one = isinstance(value, str | bytes | bytearray | memoryview | Mapping) or hasattr(value, "__array__")
        is_batch = isinstance(value, np.ndarray) and value.ndim == 4
        if isinstance(value, Iterable) and (is_batch or not is_one):
            return [self._file(one) for one in value]
        return self._file(value)

    def _file(self, picture: Any) -> Any:
        if picture is None or isinstance(picture, str | os.PathLike):
            return picture
        name = f"number {len(self._names) + 1}"
        photo = _taken(picture, f"Photo {name}", allow_8bit=True)
        if self._place is None:
            base = user_base()
            clear_dead(base)
            self._place = Workplace(base)
            weakref.finalize(self, self._place.close)
        path = self._place.folder / f"{name.replace(' ', '_')}.png"
        write_photo(path, Photo(photo.pixels, icc_profile=photo.icc_profile))
        self._names[str(path)] = name
        return path

    @contextmanager
    def _own_errors(self, callers: Sequence[BaseException] = ()) -> Iterator[None]:
        """Let nothing out but our errors and the caller's own, and in them no path that the caller never named."""
        try:
            with own_errors(ignore_progress, callers):
                yield
        except FaceFusionError as error:
            for path, name in self._names.items():
                error.message, error.hint = error.message.replace(path, name), error.hint.replace(path, name)
            error.hint = for_programs(error.hint)
            raise


def _checked_rate(rate: object) -> float:
    if not isinstance(rate, Real) or not 0 < float(rate) <= MOST_PER_S:
        raise RecipeError(
            f"There is no frame rate {rate!r}.",
            f"Give frames per second, above 0 and up to {MOST_PER_S:g}, such as 25.",
        )
    return float(rate)


def _checked_time(at_s: object) -> float:
    try:
        moment = float("nan" if isinstance(at_s, str) else at_s)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        moment = float("nan")
    if not np.isfinite(moment):
        raise MediaUnsupported(f"There is no time {at_s!r} s.", "Give seconds, such as 12.48.")
    return moment


class Stream(Staying):
    """Frames of one source, changed as they come, one call each, with people followed from frame to frame.

    Parameters
    ----------
    changer
        What is done, such as a `Swapper`; several streams may come from one.
    frame_rate
        Frames per second, for frames whose time is not told.

    Attributes
    ----------
    latency
        Frames by which the output is behind: 0 where faces are changed.

    Raises
    ------
    FaceFusionError
        What cannot be done without the whole of a clip (`facefusion.pipeline.live.check_live`).

    Notes
    -----
    Threads take turns. Frames are of one size.
    """

    def __init__(self, changer: Changer, frame_rate: float = 25.0) -> None:
        if not isinstance(changer, Changer):
            raise RecipeError(
                f"A stream is changed by a Swapper or its like, not by {type(changer).__name__}.",
                'Make one: Stream(Swapper("face.jpg")).',
            )
        self._changer, self._step_s = changer, 1 / _checked_rate(frame_rate)
        self._lock = threading.Lock()
        self._next_s, self._is_closed = 0.0, False
        with changer._own_errors():
            self._live = Live(changer.recipe, replace(changer.policy, is_marked=False))
        self.latency = self._live.latency

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Stream({self._changer!r}, {1 / self._step_s:g} fps)"

    def close(self) -> None:
        """Let threads go."""
        self._is_closed = True
        self._live.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise RecipeError("The stream is closed.", "Make another one; people are numbered anew then.")

    @property
    def people(self) -> tuple[int, ...]:
        """Numbers of the people who were changed in the frame that came last, in the order in which they came."""
        return tuple(sorted(set(self._live.people.values())))

    def change(self, picture: Picture, at_s: float | None = None, cancel: CancelToken = NEVER) -> Pixels | None:
        """Take the next frame in.

        Parameters
        ----------
        picture
            As `Changer.change` takes it.
        at_s
            When it is shown, seconds, later than the one before; None is one frame later.
        cancel
            Ends it, before the frame is looked at.

        Returns
        -------
        (H, W, 3) uint8 RGB of the frame that came `latency` frames ago; None at the beginning where that is not 0.

        Raises
        ------
        MediaUnsupported
            When its size or its time does not fit to those before.
        PolicyError
            What must not be done here.
        Stopped
        """
        check_token(cancel)
        with self._lock, self._changer._own_errors():
            self._check_open()
            cancel.check()
            pixels = _taken(picture, "The frame", self._changer.recipe.allow_8bit).pixels
            moment = self._next_s if at_s is None else _checked_time(at_s)
            found = self._live.change(pixels, moment)
            self._next_s = moment + self._step_s
            return found.copy() if found is pixels else found

    def finish(self) -> list[Pixels]:
        """What is left when no frame comes any more: `latency` frames."""
        with self._lock, self._changer._own_errors():
            self._check_open()
            return [rendered.pixels for rendered in self._live.finish()]


def find_faces(picture: Picture, options: Mapping[str, Any], has_attributes: bool = False) -> list[SeenFace]:
    """Who is in a picture, found as the first pass of a photo finds them.

    Parameters
    ----------
    picture
        See `facefusion.media.picture.Picture`.
    options
        Those of a recipe that say how faces are found.
    has_attributes
        Whether age, gender and appearance are estimated, which wants a model of the user's.

    Raises
    ------
    MediaError, ModelError, RecipeError
    """
    with own_errors(ignore_progress):
        recipe = build_recipe(dict(options))
        photo = _taken(picture, "The picture", recipe.allow_8bit)
        frame = photo_frame(photo)
        analyser = _analyser(recipe.model_dump_json(), has_attributes)
        return list(faces_of(recipe, look_around(recipe, analyser, "photo", frame), frame.pixels))


@lru_cache(maxsize=4)
def _analyser(recipe_json: str, has_attributes: bool) -> Analyser:
    resolved: Resolved = resolve(build_recipe(json.loads(recipe_json)))
    if has_attributes and not resolved.wants_attributes:
        use = Use(ModelRef("face_classifier", resolved.recipe.face_classifier_model))
        uses = (*resolved.uses_of_analysis, use)
        resolved = replace(resolved, wants_attributes=True, uses_of_analysis=uses)
    check_models(resolved, is_rendering=False)
    return build_analyser(resolved, has_identity=True)


def faces_of(recipe: Recipe, tracks: Tracks, pixels: Pixels) -> tuple[SeenFace, ...]:
    """People of a picture as faces, the most prominent first; in doubt are those that rendering takes for doubtful."""
    found, sure = [], judged(recipe, tracks)
    for track in tracks.tracks:
        for row in range(min(len(track.frames), 1)):
            face = track.face(row)
            values = {name: getattr(face, name) for name in Face.__dataclass_fields__}
            values |= {
                "person": tracks.person_of(track.track_id), "contract": tracks.contract,
                "same_person_cosine": tracks.same_person_cosine,
                "is_doubtful": sure.get(track.track_id, "sure") != "sure",
            }  # fmt: skip
            crop = cut_native(pixels, face, 0.2, THUMB_PX).pixels
            found.append(SeenFace(**values, attributes=track.attributes, picture=crop))
    return tuple(found)


def _taken(picture: Any, name: str, allow_8bit: bool) -> Photo:
    """`take_picture`, but of names that lead to no file of this machine, and of arrays of no numbers.

    Raises
    ------
    RecipeError, MediaUnsupported
    """
    if isinstance(picture, str | os.PathLike):
        try:
            check_is_here(as_path(check_no_blank(picture)))
        except ValueError as error:
            raise RecipeError(
                f"{name} {os.fspath(picture)!r} cannot be taken: {error}.",
                "Give a file of this machine, an array, an image or bytes.",
            ) from error
    if isinstance(picture, np.ndarray) and picture.dtype == object and picture.ndim < 3:  # it would be called grey
        raise MediaUnsupported(f"{name} is an array of objects.", "Give an array (H, W, 3) of uint8 in RGB.")
    return take_picture(picture, name, allow_8bit)


_NONE = np.zeros(0, dtype=np.int64)
NOBODY = Tracks(1, 1, Fraction(1), _NONE, (), {}, _NONE)
