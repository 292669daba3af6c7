"""What an engine must offer. Implement one of these, name its builder in an entry point, and it is found.

A builder is a function ``build(context: EngineContext) -> engine``. An engine with a model of its own is named in the
group of its capability (``facefusion.detectors`` …); one that runs the models of a family is named after the family in
``facefusion.families``, and every catalogue entry of that family can then be asked for by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from facefusion.declaration import Step, processor_names
from facefusion.models.session import SESSIONS, Session, SessionCache
from facefusion.models.spec import ModelSpec
from facefusion.models.store import ModelStore
from facefusion.recipe import Recipe
from facefusion.types.crop import Crop, CropShape, Inspection, SourceFace
from facefusion.types.face import Attributes, Detection, Face
from facefusion.types.frame import FrameWindow, Pixels, SourceInfo
from facefusion.types.sources import Sources
from facefusion.types.track import Tracks

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What a builder gets.

    Attributes
    ----------
    recipe
        What was asked for.
    thread_count
        Threads that one call of a model may use.
    spec
        The catalogue entry that was asked for; None for an engine with a model of its own.
    sessions
        Where loaded models are shared.
    step
        What a processor is built for; None for an engine of pass 1.
    """

    recipe: Recipe
    thread_count: int = 1
    spec: ModelSpec | None = None
    sessions: SessionCache = SESSIONS
    step: Step | None = None

    @property
    def options(self) -> Any:
        """Options of the step.

        Raises
        ------
        RuntimeError
            When the engine was built without one.
        """
        if self.step is None:
            raise RuntimeError("this engine has options; build it for a step")
        return self.step.options

    @property
    def store(self) -> ModelStore:
        """Where model files are, under the recipe's licence policy."""
        return ModelStore(self.recipe.models_paths, self.recipe.licences)

    @property
    def model(self) -> ModelSpec:
        """The catalogue entry.

        Raises
        ------
        RuntimeError
            When the engine was built without one.
        """
        if self.spec is None:
            raise RuntimeError("this engine runs catalogue models; build it with a spec")
        return self.spec

    def session(self, spec: ModelSpec | str) -> Session:
        """A loaded model, shared with everyone else who uses it.

        Raises
        ------
        ModelError
        """
        store = self.store
        wanted = store.get(spec) if isinstance(spec, str) else spec
        recipe = self.recipe
        # What decides where faces are and whose they are stays exact; pictures bear the rounding.
        is_half = recipe.execution_precision == "half" and makes_pictures(wanted)
        return self.sessions.get(
            wanted, store, recipe.execution_providers, self.thread_count, recipe.execution_device_ids[0], is_half
        )


def makes_pictures(spec: ModelSpec) -> bool:
    """Whether a model answers with pictures and not with numbers that something is decided by."""
    return spec.capability in processor_names()


Builder = TypeVar("Builder", bound=Callable[..., object])


def opens(find: Callable[[EngineContext], Sequence[str]]) -> Callable[[Builder], Builder]:
    """Declare which catalogue entries a builder's engine opens, so that a plan can check and record them.

    Parameters
    ----------
    find
        Gives their ids under a recipe.
    """

    def declare(builder: Builder) -> Builder:
        builder.models_of = find  # type: ignore[attr-defined]
        return builder

    return declare


def sees_glasses(builder: Builder) -> Builder:
    """Declare that a builder's engine is a `SeesGlasses`, so that pass 1 opens it, too."""
    builder.sees_glasses = True  # type: ignore[attr-defined]
    return builder


class Detector(Protocol):
    """Finds faces."""

    def detect(self, pixels: Sequence[Pixels]) -> list[list[Detection]]:
        """Faces of every picture, best score first.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB pictures of any size.
        """


class Landmarker(Protocol):
    """Reads the 478-point mesh off crops."""

    crop_size: int
    """Side of its crops in pixels."""

    def landmark(self, crops: Sequence[Pixels]) -> tuple[FloatArray, FloatArray]:
        """Meshes and scores of upright crops.

        Parameters
        ----------
        crops
            (S, S, 3) uint8 RGB with S = ``crop_size``.

        Returns
        -------
        (N, 478, 3) float32 in crop pixels, and (N,) float32 scores, 0 to 1.
        """


@runtime_checkable
class CloserLook(Protocol):
    """A `Landmarker` that also looks at parts of a face in the picture itself, finer than crops of whole faces show."""

    def look_closer(self, pixels: Pixels, meshes: Sequence[FloatArray]) -> list[FloatArray]:
        """Meshes whose eyes, brows and mouths are where a closer look sees them.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB picture.
        meshes
            (478, 3) float32 each, in its pixels.

        Returns
        -------
        As many, (478, 3) float32; those that are given are not written into.
        """


class PointLandmarker(Protocol):
    """Reads the 68-point layout off faces that are already found."""

    def locate(self, pixels: Pixels, faces: Sequence[Face]) -> list[tuple[FloatArray, float]]:
        """Points and scores.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB picture.
        faces
            Faces in it.

        Returns
        -------
        For each face (68, 2) float32 in picture pixels, and a score from 0 to 1.
        """


class Identifier(Protocol):
    """Turns faces into vectors that are near for one person and far for two."""

    contract: str
    """Name of the space; vectors of two spaces must not be compared."""

    same_person_cosine: float
    """Cosine of two embeddings above which they show one person."""

    def identify(self, pixels: Sequence[Pixels], points: Sequence[FloatArray]) -> FloatArray:
        """(N, D) float32 raw embeddings of one face in each picture, at its (5, 2) points."""


class Classifier(Protocol):
    """Estimates age, gender and appearance."""

    def classify(self, pixels: Sequence[Pixels], points: Sequence[FloatArray]) -> list[Attributes]:
        """Attributes of one face in each picture, at its (5, 2) points."""


class ContentCheck(Protocol):
    """Says of whole pictures whether they show what must not be worked on."""

    limit: float
    """Score above which a picture must not be worked on."""

    def check(self, pixels: Sequence[Pixels]) -> FloatArray:
        """(N,) float32 scores of (H, W, 3) uint8 RGB pictures of any size; of any range, higher is worse."""


class Masker(Protocol):
    """Says which pixels of a crop count."""

    def mask(self, crops: Sequence[Pixels], faces: Sequence[Face]) -> list[FloatArray]:
        """(H, W) float32 masks, 0 to 1, of (H, W, 3) uint8 RGB crops of any size with a face in each."""


@runtime_checkable
class LineMasker(Masker, Protocol):
    """A masker that also finds lines before a face, which are lost in a mask that is smoothed."""

    def mask_with_lines(
        self, crops: Sequence[Pixels], faces: Sequence[Face]
    ) -> list[tuple[FloatArray, FloatArray | None]]:
        """Masks as those of `mask`, but for lines, and (H, W) float32 masks that are 0 on lines; None without any."""


@runtime_checkable
class SeesGlasses(Protocol):
    """A masker that can tell in pass 1 who wears glasses, so that they stay or go in a whole shot."""

    def see_glasses(self, pixels: Pixels, face: Face) -> tuple[float, float]:
        """What speaks for glasses and for dark ones in one look (`facefusion.imaging.glasses.worn_of`)."""


@runtime_checkable
class MeetsPeople(Protocol):
    """A processor that wants to know who is in the clip before the first frame."""

    def meet(self, tracks: Tracks) -> None:
        """Called before anything is rendered, with all that pass 1 left.

        Where frames come without an end it is called before every frame, with who was seen lately: what was decided for
        a person should stay.
        """


@runtime_checkable
class ForgetsPeople(Protocol):
    """A processor that meets people and can be used for another target, with all that it has loaded."""

    def forget(self) -> None:
        """Called before a target that has nothing to do with the one before: nothing decided for people remains."""


@runtime_checkable
class ShowsSources(Protocol):
    """A processor that can show what it makes of source photos."""

    def inspect(self, sources: Sequence[SourceFace]) -> Inspection:
        """Look at sources without taking them in."""


@runtime_checkable
class TellsOfTargets(Protocol):
    """A processor that leaves something of some people as it is, of which users would like to know."""

    def note_on(self, beard: float) -> str:
        """A sentence on somebody in the target, whom ``{who}`` stands for; empty where there is nothing to tell.

        Parameters
        ----------
        beard
            As of `facefusion.types.face.Face`.
        """


class FaceProcessor(Protocol):
    """Changes faces, crop by crop."""

    crop_shape: CropShape | None
    """The crops it wants; None for upright crops at the frame's own scale."""

    needs: frozenset[str]
    """What it wants to know about target faces beyond the mesh: ``identity``."""

    covers_fully: bool
    """Whether it hides people, so that it must never fade in or out."""

    def prepare(self, sources: Sources) -> None:
        """Take in the sources, once per job: a sequence of faces, with ``sources.sound`` beside it."""

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """Changed crops in the same order, with ``alpha`` where they replace the frame.

        Called from several threads at once. ``crop.moment`` tells when the frame is shown.
        """


class FrameProcessor(Protocol):
    """Changes whole frames."""

    scale: Fraction
    """Sides of the frames it makes over those it is given, such as 2."""

    def prepare(self, sources: Sources) -> None:
        """Take in the sources, once per job."""

    def process(self, windows: Sequence[FrameWindow]) -> list[Pixels]:
        """(H x scale, W x scale, 3) uint8 RGB for the frame in the middle of every window.

        Parameters
        ----------
        windows
            Frames with as many neighbours on both sides as the requirements' ``halo`` says; at the ends of a clip there
            are fewer. Nothing may be written into them.

        Called from several threads at once.
        """


class FrameSource(Protocol):
    """Makes frames itself: a speaking portrait, a test picture. It takes the place of the target."""

    def prepare(self, sources: Sources) -> None:
        """Take in the sources, once per job."""

    @property
    def info(self) -> SourceInfo:
        """What is going to be made; known once it is prepared."""

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """Frames by their numbers, from ``start`` up to ``stop``.

        (H, W, 3) uint8 RGB. A frame depends on its number alone, so that any worker can make any part.
        """
