"""Ghost: embeddings of another recogniser as they come."""

from __future__ import annotations

from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.processors.face_swapper.aligned import EmbeddingSwapper


class GhostSwapper(EmbeddingSwapper):
    """Swaps aligned crops.

    References
    ----------
    Groshev et al., GHOST, IEEE Access 2022.
    """

    def convert(self, raw: FloatArray) -> FloatArray:
        """See `EmbeddingSwapper.convert`."""
        return self.run_converter(raw)


def build(context: EngineContext) -> GhostSwapper:
    """Builder named in the entry point."""
    return GhostSwapper(context)
