"""SimSwap: embeddings of another recogniser, of length one."""

from __future__ import annotations

from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.processors.face_swapper.aligned import EmbeddingSwapper, unit


class SimswapSwapper(EmbeddingSwapper):
    """Swaps aligned crops.

    References
    ----------
    Chen et al., SimSwap, ACM MM 2020.
    """

    def convert(self, raw: FloatArray) -> FloatArray:
        """See `EmbeddingSwapper.convert`."""
        return unit(self.run_converter(raw))


def build(context: EngineContext) -> SimswapSwapper:
    """Builder named in the entry point."""
    return SimswapSwapper(context)
