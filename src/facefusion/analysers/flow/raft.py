"""RAFT and networks with its inputs and outputs, where the user has one."""

from __future__ import annotations

import numpy as np

from facefusion.imaging.flow import FlowEstimator, resize_flow
from facefusion.imaging.resample import resize_pixels
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.frame import Pixels


class RaftFlow:
    """Two RGB pictures in, the flow from the first to the second out; scaling comes from the catalogue entry.

    Side and range are the graph's: ``preprocess.size`` pixels, values ``(x / 255 - mean) / std``.

    References
    ----------
    Teed and Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, ECCV 2020.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, before: Pixels, after: Pixels) -> FloatArray:
        """See `facefusion.imaging.flow.FlowEstimator`."""
        prepared = self._session.spec.preprocess
        side = before.shape[0]
        pair = [
            to_tensor([resize_pixels(p, prepared.size, prepared.size)], prepared.mean, prepared.std)
            for p in (after, before)
        ]
        flow = self._session.run({"#0": pair[0], "#1": pair[1]})[-1][0].transpose(1, 2, 0)
        return resize_flow(np.ascontiguousarray(flow, dtype=np.float32), side)


def build(context: EngineContext) -> FlowEstimator:
    """Builder named in the entry point."""
    return RaftFlow(context.session(context.model))
