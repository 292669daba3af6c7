"""What the library offers under ``facefusion``: the same calls as below, under the policy of this site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from facefusion.analyse.analyser import Analyser
from facefusion.apps.backends import site_policy
from facefusion.errors import FaceFusionError, RecipeError, Stopped
from facefusion.jobs import once
from facefusion.jobs.prepare import execution_of
from facefusion.media.picture import Picture, PilImage
from facefusion.pipeline import live, runner
from facefusion.pipeline.progress import NEVER, CancelToken, OnProgress, check_listener, check_token, ignore_progress
from facefusion.pipeline.runner import Outcome, own_errors
from facefusion.recipe import Recipe, for_programs
from facefusion.service.backend import Backend
from facefusion.service.jobs import Jobs
from facefusion.service.pictures import Changed, Changer, SeenFace, Stream, find_faces
from facefusion.service.sequences import settle_sequences
from facefusion.types.frame import Pixels
from facefusion.types.paths import PathLike, as_path
from facefusion.types.track import Tracks


@contextmanager
def _own_words() -> Iterator[None]:
    """Have hints call options as the library does, and not by the flags of the command line."""
    try:
        yield
    except FaceFusionError as error:
        error.hint = for_programs(error.hint)
        raise


@_own_words()
def run(
    recipe: Recipe,
    on_progress: OnProgress = ignore_progress,
    *,
    cancel: CancelToken = NEVER,
    jobs_path: PathLike | None = None,
) -> Outcome:
    """Do what a recipe asks for: plan, analyse, render.

    Parameters
    ----------
    recipe
        What is asked for.
    on_progress
        Called now and then, from another thread. What it raises ends the run and comes out of it.
    cancel
        Ends the run from another thread.
    jobs_path
        Folder of jobs, as ``--jobs-path`` names it: what is finished is kept there, and the same call goes on with it.
        Without it nothing is kept of a run that ends early.

    Returns
    -------
    What was done.

    Raises
    ------
    Stopped
        When it was cancelled.
    FaceFusionError
        With nothing written; an older output is still there.

    Examples
    --------
    >>> recipe = build_recipe({"source_paths": "face.jpg", "target_path": "clip.mp4", "output_path": "out.mp4"})
    >>> outcome = run(recipe)
    >>> outcome.changed_frame_count
    6
    """
    if not isinstance(recipe, Recipe):
        raise _no_recipe(recipe)
    check_token(cancel)
    check_listener(on_progress)
    recipe = settle_sequences(recipe)
    if jobs_path is None:
        return once.run(recipe, on_progress, site_policy(), cancel)
    backend = Backend(as_path(jobs_path), worker_count=1, policy=site_policy())
    with own_errors(on_progress) as told, Jobs(backend) as jobs:
        try:
            cancel.check()
            job = jobs.submit(recipe).job
            return jobs.run(job.id, execution_of(recipe), told, cancel)
        except Stopped as stopped:
            raise Stopped(stopped.message, "What is finished is kept; the same call goes on with it.") from None


@_own_words()
def analyse_target(
    recipe: Recipe,
    analyser: Analyser | None = None,
    on_progress: OnProgress = ignore_progress,
    *,
    cancel: CancelToken = NEVER,
) -> Tracks:
    """Pass 1 over a photo or clip.

    Parameters
    ----------
    recipe
        Its target, and how faces are found.
    analyser
        Engines that are there already.
    on_progress
        Called after each frame.
    cancel
        Ends it from another thread.

    Returns
    -------
    Tracks, which may hold nobody. They are of this file as it is: its hash is noted with them.

    Raises
    ------
    Stopped
        When it was cancelled.
    FaceFusionError
        Where the file changes meanwhile too.

    Examples
    --------
    >>> tracks = analyse_target(build_recipe({"target_path": "clip.mp4"}))
    >>> tracks
    Tracks(256 x 256 px, 6 frames, 0.00 to 1.00 s, 1 person in 1 track)
    >>> tracks.save("clip.tracks")
    """
    if not isinstance(recipe, Recipe):
        raise _no_recipe(recipe)
    check_token(cancel)
    check_listener(on_progress)
    cancel.check()
    if recipe.target_path == Path():
        raise RecipeError("No target is given.", "Name a photo or clip with --target.")
    recipe = settle_sequences(recipe)
    return runner.analyse_target(recipe, analyser, on_progress if cancel is NEVER else cancel.watched(on_progress))


@_own_words()
def render_target(
    recipe: Recipe, tracks: Tracks, on_progress: OnProgress = ignore_progress, *, cancel: CancelToken = NEVER
) -> Outcome:
    """Pass 2 alone, from tracks that were saved.

    Raises
    ------
    TracksError
        When the tracks were made from a target of another size.
    Stopped
        When it was cancelled.

    Examples
    --------
    >>> recipe = build_recipe({"source_paths": "face.jpg", "target_path": "clip.mp4", "output_path": "again.mp4"})
    >>> render_target(recipe, Tracks.load("clip.tracks")).frame_count
    6
    """
    if not isinstance(recipe, Recipe):
        raise _no_recipe(recipe)
    if not isinstance(tracks, Tracks):
        raise RecipeError(f"Tracks are wanted, not {type(tracks).__name__}.", "Load them: Tracks.load(path).")
    check_token(cancel)
    check_listener(on_progress)
    recipe = settle_sequences(recipe)
    return once.render_target(recipe, tracks, on_progress, site_policy(), cancel)


class Live(live.Live):
    """Changes frames as they come (`facefusion.pipeline.live.Live`).

    Parameters
    ----------
    recipe
        What is done; target, output, times and report mean nothing here.

    Raises
    ------
    FaceFusionError
    """

    @_own_words()
    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, site_policy())


class FaceFusion(Changer):
    """Changes pictures in memory by any chain of processors; `Swapper` and `Anonymiser` are this with one of them.

    Parameters
    ----------
    options
        Those of `build_recipe`, by position or by name. Photos may be arrays, images of Pillow, bytes or paths.

    Raises
    ------
    FaceFusionError
        Everything that planning refuses.

    Examples
    --------
    >>> studio = FaceFusion(processors=["face_swapper", "face_anonymiser"], sources="face.jpg", faces="all")
    >>> studio
    FaceFusion(face_swapper, face_anonymiser)
    >>> changed = studio.change("photo.jpg")
    >>> len(changed.faces), changed.is_changed
    (1, True)
    """

    def __init__(self, options: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        if options is not None and not isinstance(options, Mapping):
            raise RecipeError(f"Options are names with values, not {type(options).__name__}.", "Give a dict.")
        super().__init__({**(options or {}), **more}, site_policy())


class Swapper(FaceFusion):
    """Puts the face of one person on pictures. Sources are taken in once; safe to use from many threads.

    Parameters
    ----------
    sources
        One or more photos of one person: arrays, images of Pillow, bytes or paths.
    options
        Those of `build_recipe`: ``faces="all"``, ``face_swapper_blend="pyramid"``, ``processors=[…]`` …

    Raises
    ------
    NoFaceInSource
        Naming the photo.
    FaceFusionError
        Everything else that planning refuses.

    Examples
    --------
    >>> swapper = Swapper("face.jpg")
    >>> picture = np.asarray(Image.open("photo.jpg"))
    >>> new = swapper.swap(picture)
    >>> new.shape == picture.shape, new.dtype.name
    (True, 'uint8')
    >>> notes = swapper.change("photo.jpg").save("new.png")  # signed, as an output of run() is
    """

    def __init__(self, sources: Picture | Sequence[Picture], /, **options: Any) -> None:
        if sources is None:
            raise RecipeError("No source is given.", "Give photos of one person: arrays, images, bytes or paths.")
        super().__init__({"processors": ("face_swapper",), "source_paths": sources, **options})
        _check_does(self, "face_swapper")

    @overload
    def swap(self, picture: PilImage, cancel: CancelToken = ...) -> PilImage: ...

    @overload
    def swap(self, picture: Pixels | bytes | PathLike, cancel: CancelToken = ...) -> Pixels: ...

    def swap(self, picture: Picture, cancel: CancelToken = NEVER) -> Any:
        """`change`, for who wants the picture alone.

        Parameters
        ----------
        picture
            (H, W, 3) uint8 RGB, an image of Pillow, the bytes of a photo or its path.
        cancel
            Ends it.

        Returns
        -------
        An image of Pillow for one, else (H, W, 3) uint8 RGB: an array of its own, not signed. Where nobody is found it
        shows what was given.

        Raises
        ------
        MediaError, PolicyError, Stopped
        """
        return _given_back(picture, self.change(picture, cancel))

    def swap_each(self, pictures: Iterable[Picture], cancel: CancelToken = NEVER) -> Iterator[Pixels]:
        """`swap` for many pictures that have nothing to do with each other, in order, as arrays."""
        return (changed.pixels for changed in self.change_each(pictures, cancel=cancel))


class Anonymiser(FaceFusion):
    """Hides everybody in pictures. It misses whom the detector misses: look at what matters.

    Parameters
    ----------
    options
        Those of `build_recipe`: ``face_anonymiser_model="blur"``, ``exempt_paths=photo``, ``face_detector_score=0.3`` …

    Raises
    ------
    FaceFusionError
        Everything that planning refuses.

    Examples
    --------
    >>> anonymiser = Anonymiser(face_anonymiser_model="blur")
    >>> hidden = anonymiser.hide(Image.open("photo.jpg"))
    >>> hidden.size
    (256, 256)
    """

    def __init__(self, /, **options: Any) -> None:
        super().__init__({"processors": ("face_anonymiser",), **options})
        _check_does(self, "face_anonymiser")

    @overload
    def hide(self, picture: PilImage, cancel: CancelToken = ...) -> PilImage: ...

    @overload
    def hide(self, picture: Pixels | bytes | PathLike, cancel: CancelToken = ...) -> Pixels: ...

    def hide(self, picture: Picture, cancel: CancelToken = NEVER) -> Any:
        """`change`, for who wants the picture alone.

        Parameters
        ----------
        picture
            (H, W, 3) uint8 RGB, an image of Pillow, the bytes of a photo or its path.
        cancel
            Ends it.

        Returns
        -------
        An image of Pillow for one, without its metadata, else (H, W, 3) uint8 RGB: an array of its own, not signed.
        Where nobody is found it shows what was given.

        Raises
        ------
        MediaError, PolicyError, Stopped
        """
        return _given_back(picture, self.change(picture, cancel))

    def hide_each(self, pictures: Iterable[Picture], cancel: CancelToken = NEVER) -> Iterator[Pixels]:
        """`hide` for many pictures that have nothing to do with each other, in order, as arrays."""
        return (changed.pixels for changed in self.change_each(pictures, cancel=cancel))


def analyse_image(picture: Picture, *, attributes: bool = False, **options: Any) -> list[SeenFace]:
    """Who is in a picture.

    Parameters
    ----------
    picture
        (H, W, 3) uint8 RGB, an image of Pillow, the bytes of a photo or its path.
    attributes
        Whether age, gender and appearance are estimated, which wants a model that you bring.
    options
        Those of `build_recipe` that say how faces are found: ``face_detector_score=0.3`` …

    Returns
    -------
    Faces, the most prominent first: ``box``, ``five_points``, ``points_68``, ``mesh`` (478 points), ``pose``,
    ``score``, ``embedding``, ``attributes``. They are biometric data.

    Raises
    ------
    MediaError, ModelError, RecipeError

    Examples
    --------
    >>> (face,) = analyse_image("photo.jpg")
    >>> face.box.shape, face.five_points.shape, face.points_68.shape, face.mesh.shape
    ((4,), (5, 2), (68, 2), (478, 3))
    >>> face.embedding.shape, face.is_same_person(analyse_image("face.jpg")[0])
    ((128,), False)
    """
    return find_faces(picture, options, attributes)


def _check_does(changer: FaceFusion, processor: str) -> None:
    """Refuse processors without the one that a class is named after.

    Raises
    ------
    RecipeError
    """
    if processor not in changer.recipe.processors:
        name, said = type(changer).__name__, ", ".join(changer.recipe.processors) or "nothing"
        raise RecipeError(
            f"A {name} is to do {said}, and not {processor}.",
            f"Name {processor} among the processors, or make a FaceFusion(processors=[…]), which does any of them.",
        )


def _given_back(picture: Picture, changed: Changed) -> Any:
    """An image of Pillow for one, an array for all others."""
    return changed.as_pil() if isinstance(picture, PilImage) else changed.pixels


def _no_recipe(given: object) -> RecipeError:
    return RecipeError(f"A recipe is wanted, not {type(given).__name__}.", "Make one with build_recipe({…}).")


__all__ = [
    "Anonymiser", "CancelToken", "Changed", "FaceFusion", "Live", "SeenFace", "Stream", "Swapper", "analyse_image",
    "analyse_target", "render_target", "run",
]  # fmt: skip
