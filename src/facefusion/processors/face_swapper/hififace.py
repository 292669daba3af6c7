"""HifiFace (unofficial): embeddings of another recogniser, of length one."""

from __future__ import annotations

from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.processors.face_swapper.aligned import EmbeddingSwapper, unit


class HififaceSwapper(EmbeddingSwapper):
    """Swaps aligned crops.

    References
    ----------
    Wang et al., HifiFace, IJCAI 2021.
    """

    def convert(self, raw: FloatArray) -> FloatArray:
        """See `EmbeddingSwapper.convert`."""
        return unit(self.run_converter(raw))


def build(context: EngineContext) -> HififaceSwapper:
    """Builder named in the entry point."""
    return HififaceSwapper(context)
