"""The embedded optical flow: no weights."""

from __future__ import annotations

from facefusion.imaging.flow import FlowEstimator, dense_inverse_search
from facefusion.plugins.protocols import EngineContext


def build(context: EngineContext) -> FlowEstimator:
    """Builder named in the entry point."""
    return dense_inverse_search
