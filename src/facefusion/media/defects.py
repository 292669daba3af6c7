"""What is not as it should be in a target, counted part by part so that sums do not depend on who read what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from facefusion.wording import agreed, counted

LEADING_TOLD = 25
"""A recording that begins amid a group of pictures has some that cannot be shown; only more than these are told."""


@dataclass(frozen=True, slots=True)
class Defects:
    """Defects of a part of a clip.

    Attributes
    ----------
    lost
        Frames that cannot be decoded.
    spoilt
        Frames that are shown though the decoder found them damaged.
    leading
        Frames before the first one that can be decoded.
    first_s
        Time of the first that is lost or spoilt, seconds from the beginning of the clip; -1 where there is none.
    changes
        Where pictures change their kind: seconds from the beginning, and what they are from there on.
    """

    lost: int = 0
    spoilt: int = 0
    leading: int = 0
    first_s: float = -1.0
    changes: tuple[tuple[float, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON; empty where nothing is wrong."""
        return asdict(self) if self != NO_DEFECTS else {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Defects:
        """What `as_dict` gave."""
        changes = tuple((float(at), str(kind)) for at, kind in values.get("changes", ()))
        return cls(**{**values, "changes": changes})


NO_DEFECTS = Defects()


def join_defects(parts: Iterable[Defects]) -> Defects:
    """Defects of several parts in order."""
    parts = list(parts)
    return Defects(
        sum(part.lost for part in parts),
        sum(part.spoilt for part in parts),
        sum(part.leading for part in parts),
        min((part.first_s for part in parts if part.first_s >= 0), default=-1.0),
        tuple(change for part in parts for change in part.changes),
    )


def describe_defects(found: Defects, kind: str, written: int, missing: int, ends_early: str = "") -> tuple[str, ...]:
    """Sentences for the summary.

    Parameters
    ----------
    found
        Of all of the clip.
    kind
        What its pictures are written as.
    written
        Frames that were written.
    missing
        Frames that the container promises behind the end of the file.
    ends_early
        A sentence where the clip ends before the time that it states.
    """
    notes = []
    if missing:
        promised = counted(written + found.lost + missing, "promised frame")
        notes.append(f"{missing} of {promised} {agreed(missing, 'is', 'are')} missing: the file is cut off.")
    elif ends_early:
        notes.append(ends_early)
    damaged, of = found.lost + found.spoilt, counted(written + found.lost, "frame")
    what = f"{damaged} of {of} {agreed(damaged, 'is', 'are')} damaged"
    first = f"first at {found.first_s:.2f} s"
    if found.lost and found.spoilt:
        left, kept = (counted(count, "is", "are") for count in (found.lost, found.spoilt))
        notes.append(f"{what} ({first}): {left} left out and {kept} kept, as players do.")
    elif found.lost:
        notes.append(f"{what} and left out, as players do ({first}).")
    elif found.spoilt:
        notes.append(f"{what} and kept as players show {agreed(damaged, 'it', 'them')} ({first}).")
    if found.leading > LEADING_TOLD:
        notes.append(f"{found.leading} frames before the first whole picture are left out.")  # more than one
    for at_s, what in found.changes:
        notes.append(f"From {at_s:.2f} s on the pictures are {what}; they are fitted to {kind}.")
    return tuple(notes)
