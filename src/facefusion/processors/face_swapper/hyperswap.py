"""HyperSwap: embeddings of length one."""

from __future__ import annotations

from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.processors.face_swapper.aligned import EmbeddingSwapper, unit


class HyperswapSwapper(EmbeddingSwapper):
    """Swaps aligned crops.

    References
    ----------
    FaceFusion, HyperSwap, 2025.
    """

    def convert(self, raw: FloatArray) -> FloatArray:
        """See `EmbeddingSwapper.convert`."""
        return unit(raw)


def build(context: EngineContext) -> HyperswapSwapper:
    """Builder named in the entry point."""
    return HyperswapSwapper(context)
