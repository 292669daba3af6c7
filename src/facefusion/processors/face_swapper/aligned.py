"""What the model swappers of the community share: aligned crops, pixel boost, masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from facefusion.errors import NoFaceInSource, RecipeError
from facefusion.imaging.resample import cut, resize_pixels
from facefusion.imaging.templates import align_to
from facefusion.imaging.tensors import from_tensor, join_phases, split_phases, to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray, Identifier
from facefusion.plugins.registry import build_engine
from facefusion.processors.masking import CropMasks
from facefusion.types.crop import Crop, CropShape, SourceFace
from facefusion.types.frame import Pixels


class AlignedSwapper(ABC):
    """Runs a graph with the inputs ``source`` and ``target`` on aligned crops.

    Parameters
    ----------
    context
        Recipe, catalogue entry and sessions.
    """

    def __init__(self, context: EngineContext) -> None:
        self.context, self.session = context, context.session(context.model)
        self.prepared = context.model.preprocess
        size, boost = self.prepared.size, boosted_size(context)
        # A size between two multiples runs at the next one and is reduced.
        self.factor = -(-boost // size)
        self.crop_shape: CropShape | None = CropShape(self.prepared.template, boost)
        self._masks = CropMasks(context, context.recipe.face_mask_types)
        self._source: FloatArray | None = None
        self.needs: frozenset[str] = frozenset()
        self.identity_contract = ""
        self.covers_fully = False

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        if not sources:
            raise NoFaceInSource("The face swapper has no source face.", "Give one or more photos with --source.")
        self._source = self.encode(sources)

    @abstractmethod
    def encode(self, sources: Sequence[SourceFace]) -> FloatArray:
        """What the sources are to the graph; called once per job."""

    def feed(self, source: FloatArray, crop: Crop) -> FloatArray:
        """The ``source`` input for one target face."""
        return source

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        if self._source is None:
            raise RuntimeError("prepare must be called before process")
        before = [crop.visible() for crop in crops]
        side = self.prepared.size * self.factor
        parts = [part for pixels in before for part in split_phases(resize_pixels(pixels, side, side), self.factor)]
        each = self.factor**2
        source = np.concatenate([np.repeat(self.feed(self._source, crop), each, axis=0) for crop in crops])
        target = to_tensor(parts, self.prepared.mean, self.prepared.std)
        (output,) = self.session.run_batch({"source": source, "target": target})
        is_scaled = bool(self.context.model.options.get("denormalise", False))
        scale = (self.prepared.mean, self.prepared.std) if is_scaled else ()
        found = from_tensor(output, *scale)
        swapped = []
        for k, (crop, pixels) in enumerate(zip(crops, before, strict=True)):
            joined = join_phases(found[k * each : (k + 1) * each], self.factor)
            new = resize_pixels(joined, pixels.shape[1], pixels.shape[0])
            swapped.append(crop.with_layer(new, self._masks.mask(pixels, new, crop.face)))
        return swapped


class EmbeddingSwapper(AlignedSwapper):
    """A swapper that is fed with the embedding of a recogniser, straight or converted.

    The weight moves the identity in the recogniser's own space, before anything is converted: 0.5 leaves the
    source's, 0 mixes in a third of the target's, 1 goes away from it.
    """

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        options = context.model.options
        self._identifier: Identifier = build_engine(
            "face_identifier", str(options.get("identifier", "arcface_w600k_r50")), context
        )
        converter = options.get("converter")
        self._converter: Session | None = context.session(str(converter)) if converter else None
        self._shift = 0.35 * (1 - 2 * context.options.weight)
        if self._shift:
            self.needs = frozenset({"identity"})
            self.identity_contract = self._identifier.contract

    def encode(self, sources: Sequence[SourceFace]) -> FloatArray:
        """Mean raw embedding of all sources, (1, D)."""
        found = self._identifier.identify([s.pixels for s in sources], [s.face.five_points for s in sources])
        return np.asarray(found.mean(axis=0, keepdims=True), dtype=np.float32)

    def feed(self, source: FloatArray, crop: Crop) -> FloatArray:
        """See `AlignedSwapper.feed`."""
        target = crop.face.identity
        if self._shift and target is not None:
            mixed = unit(source) * (1 - self._shift) + unit(target[None]) * self._shift
            source = mixed * np.linalg.norm(source, axis=1, keepdims=True)
        return self.convert(np.asarray(source, dtype=np.float32))

    @abstractmethod
    def convert(self, raw: FloatArray) -> FloatArray:
        """A raw embedding (1, D) as the graph wants it."""

    def run_converter(self, raw: FloatArray) -> FloatArray:
        """A raw embedding in the space of another recogniser.

        Raises
        ------
        RecipeError
            When the catalogue entry names no converter.
        """
        if self._converter is None:
            raise RecipeError(f"The entry of {self.context.model.id} names no converter.", "Add it to [options].")
        return self._converter.run({"#0": raw})[0].reshape(1, -1)


class PictureSwapper(AlignedSwapper):
    """A swapper that is fed with an aligned picture of the source; the first photo is taken."""

    def encode(self, sources: Sequence[SourceFace]) -> FloatArray:
        """(1, 3, S, S) RGB, 0 to 1."""
        options = self.context.model.options
        template, size = str(options["source_template"]), int(options["source_size"])
        first = sources[0]
        crop: Pixels = cut(first.pixels, align_to(first.face.five_points, template, size), size)
        return to_tensor([crop])


def boosted_size(context: EngineContext) -> int:
    """Side of the crops in pixels.

    Raises
    ------
    RecipeError
        When it is smaller than the model's own or too large.
    """
    size, wanted = context.model.preprocess.size, context.options.pixel_boost
    if wanted is None:
        return size
    boost = int(wanted.lower().split("x")[0])
    if not size <= boost <= 2048:
        raise RecipeError(
            f"Pixel boost {wanted} is not possible with {context.model.id}.", f"Take {size}x{size} to 2048x2048."
        )
    return boost


def unit(vectors: FloatArray) -> FloatArray:
    """Rows of length one."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9), dtype=np.float32)
