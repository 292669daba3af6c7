"""What metrics tell of, as doors hand it down; loads nothing of Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Watched:
    """What is told of.

    Attributes
    ----------
    store_url
        The job store.
    door
        ``serve`` or ``worker``.
    classes
        Class by tenant.
    queues
        Queues that are told of also when nothing is in them.
    folders
        Folders of this machine that are measured, by what they are called.
    """

    store_url: str
    door: str
    classes: Mapping[str, str] = field(default_factory=dict)
    queues: Sequence[str] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
