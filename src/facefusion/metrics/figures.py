"""What a report holds: figures of every person in every shot, and limits on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

LIMITS: dict[str, tuple[str, bool]] = {
    "similarity_source": ("cosine to the source, 1 is the same person", True),
    "similarity_target": ("cosine to who was there before", False),
    "pose_error_deg": ("mean difference of yaw, pitch and roll, degrees", False),
    "expression_error": ("mean distance of mesh points over the eye distance", False),
    "flicker": ("warping error of the output over that of the target, 1 is as steady", False),
    "border": ("change of the step of colour across the outline, CIELAB", False),
    "covered": ("share of the face that something lies before", False),
    "lost_share": ("frames between first and last sight in which nobody was found", False),
    "guessed_share": ("frames in which the face was not measured but taken from its neighbours", False),
}
"""What a gate can be set on: what it means, and whether more is better."""


@dataclass(slots=True)
class Sample:
    """What was measured in one frame; nan where nothing could be."""

    time_s: float
    similarity_source: float = np.nan
    similarity_target: float = np.nan
    pose_error_deg: float = np.nan
    expression_error: float = np.nan
    flicker_target: float = np.nan
    flicker_output: float = np.nan
    border: float = np.nan
    covered: float = np.nan


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame to look at, before and after."""

    time_s: float
    reason: str
    badness: float
    before: bytes
    after: bytes


@dataclass(slots=True)
class Row:
    """One person in one shot."""

    shot: int
    person: int
    track: int
    start_s: float
    stop_s: float
    frames: int
    samples: list[Sample] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    lost_share: float = 0.0
    guessed_share: float = 0.0

    def figures(self) -> dict[str, float]:
        """Means over the samples, by the names of `LIMITS`; nan where nothing was measured."""
        found = {name: _mean([getattr(s, name) for s in self.samples]) for name in LIMITS if hasattr(Sample, name)}
        output, target = self.unrest()
        found["flicker"] = output / max(target, 1e-6) if output == output else np.nan
        return {**found, "lost_share": self.lost_share, "guessed_share": self.guessed_share}

    def unrest(self) -> tuple[float, float]:
        """Mean warping error of output and target; nan where nothing was measured."""
        return _mean([s.flicker_output for s in self.samples]), _mean([s.flicker_target for s in self.samples])


@dataclass(frozen=True, slots=True)
class Report:
    """What a render is like.

    Attributes
    ----------
    title
        Name of the target.
    models
        What ran.
    rows
        One for every person in every shot.
    notes
        Sentences on what the sources lack.
    """

    title: str
    models: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def overall(self) -> dict[str, float]:
        """Means over all rows, weighted by their frames; flicker is the ratio of such means."""
        found = [(row.figures(), row.frames) for row in self.rows]
        result = {}
        for name in LIMITS:
            pairs = [(figures[name], frames) for figures, frames in found if figures[name] == figures[name]]
            total = sum(frames for _, frames in pairs)
            result[name] = sum(value * frames for value, frames in pairs) / total if total else float("nan")
        # The ratio of all, not the mean of ratios: beside somebody who hardly moves a small error is a large ratio.
        unrest = [(*row.unrest(), row.frames) for row in self.rows]
        known = [(output * frames, target * frames) for output, target, frames in unrest if output == output]
        if known:
            outputs, targets = (sum(values) for values in zip(*known, strict=True))
            result["flicker"] = outputs / max(targets, 1e-6)
        return result

    def failures(self, limits: Mapping[str, float]) -> list[str]:
        """What is worse than a limit, in words."""
        figures = self.overall()
        failed = []
        for name, limit in limits.items():
            value, is_more_better = figures[name], LIMITS[name][1]
            if value != value:
                failed.append(f"{name} could not be measured")
            elif (value < limit) if is_more_better else (value > limit):
                failed.append(f"{name} is {_apart(value, limit)}, the limit is {limit:g}")
        return failed

    def as_dict(self) -> dict[str, Any]:
        """The same for programs; nothing biometric is in it, and no pictures."""

        def clean(value: object) -> object:
            if isinstance(value, dict):
                return {key: clean(item) for key, item in value.items()}
            if isinstance(value, list):
                return [clean(item) for item in value]
            return None if isinstance(value, float) and value != value else value

        rows = [
            {
                "shot": row.shot,
                "person": row.person,
                "track": row.track,
                "start_s": row.start_s,
                "stop_s": row.stop_s,
                "frames": row.frames,
                "figures": row.figures(),
                "samples": [asdict(sample) for sample in row.samples],
                "worst": [{"time_s": p.time_s, "reason": p.reason} for p in row.pictures],
            }
            for row in self.rows
        ]
        head = {"title": self.title, "models": list(self.models), "notes": list(self.notes)}
        content = {**head, "overall": self.overall(), "rows": rows}
        return {name: clean(value) for name, value in content.items()}


def _apart(value: float, limit: float) -> str:
    """A figure with as many digits as it takes to tell it from a limit that it does not meet."""
    return next((text for digits in range(3, 17) if float(text := f"{value:.{digits}f}") != limit), repr(value))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
