"""Inswapper: embeddings through the map that the graph carries."""

from __future__ import annotations

from facefusion.models.tensors import last_initializer
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.processors.face_swapper.aligned import EmbeddingSwapper, unit


class InswapperSwapper(EmbeddingSwapper):
    """Swaps aligned crops.

    References
    ----------
    InsightFace, inswapper_128.
    """

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._map = last_initializer(context.store.read(context.model), (512, 512), context.model.id)

    def convert(self, raw: FloatArray) -> FloatArray:
        """See `EmbeddingSwapper.convert`."""
        return unit(raw) @ self._map


def build(context: EngineContext) -> InswapperSwapper:
    """Builder named in the entry point."""
    return InswapperSwapper(context)
