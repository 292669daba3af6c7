"""What the user gives besides the target, sorted by what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from facefusion.types.crop import SourceFace
from facefusion.types.sound import Sound


class Sources(Sequence[SourceFace]):
    """Sources of a chain: a sequence of faces, with the sounds beside it.

    Parameters
    ----------
    faces
        The largest face of every photo, in the order they were given.
    sounds
        Sounds, in the order they were given.

    Attributes
    ----------
    sounds
        As given.
    """

    def __init__(self, faces: Sequence[SourceFace] = (), sounds: Sequence[Sound] = ()) -> None:
        self._faces, self.sounds = tuple(faces), tuple(sounds)

    @property
    def sound(self) -> Sound | None:
        """The first sound."""
        return self.sounds[0] if self.sounds else None

    @overload
    def __getitem__(self, index: int) -> SourceFace: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SourceFace]: ...
    def __getitem__(self, index: int | slice) -> SourceFace | Sequence[SourceFace]:
        return self._faces[index]

    def __len__(self) -> int:
        return len(self._faces)
