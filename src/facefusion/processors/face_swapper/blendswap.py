"""BlendSwap: a picture of the source."""

from __future__ import annotations

from facefusion.plugins.protocols import EngineContext
from facefusion.processors.face_swapper.aligned import PictureSwapper


class BlendswapSwapper(PictureSwapper):
    """Fed with an aligned crop of the source photo.

    References
    ----------
    Shiohara et al., BlendFace, ICCV 2023.
    """


def build(context: EngineContext) -> BlendswapSwapper:
    """Builder named in the entry point."""
    return BlendswapSwapper(context)
