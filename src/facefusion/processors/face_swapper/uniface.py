"""UniFace: a picture of the source."""

from __future__ import annotations

from facefusion.plugins.protocols import EngineContext
from facefusion.processors.face_swapper.aligned import PictureSwapper


class UnifaceSwapper(PictureSwapper):
    """Fed with an aligned crop of the source photo.

    References
    ----------
    Xu et al., Designing One Unified Framework for High-Fidelity Face Reenactment and Swapping, ECCV 2022.
    """


def build(context: EngineContext) -> UnifaceSwapper:
    """Builder named in the entry point."""
    return UnifaceSwapper(context)
