"""Files that are read stay the files that were hashed, from the first look to the moment the output gets its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from facefusion.errors import JobMismatch, MediaMissing, MediaUnreadable

State = tuple[int, int, int, int, int]
"""Device, number, bytes, and times of the last change of content and of the file itself, ns."""

_BEGIN_AGAIN = "Bring the file back, or begin again with what is there now."


def hash_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises
    ------
    MediaMissing, MediaUnreadable
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise MediaMissing(f"There is no file {path}.", "Check the path.") from error
    except OSError as error:
        raise MediaUnreadable(f"{path} cannot be read: {error.strerror}.", "Check the file.") from error


def _state_of(path: Path) -> State | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


@dataclass(frozen=True, slots=True)
class BoundInputs:
    """Files as they were when their work began.

    Attributes
    ----------
    hashes
        SHA-256 by path.
    states
        What tells one state of a file from another, by path.
    """

    hashes: Mapping[Path, str]
    states: Mapping[Path, State | None]

    @classmethod
    def bind(cls, paths: Iterable[Path], expected: Mapping[str, str] | None = None) -> BoundInputs:
        """Hash files.

        Parameters
        ----------
        paths
            What will be read.
        expected
            What their hashes must be, by path, where it was recorded.

        Raises
        ------
        JobMismatch
            When a file is another than expected, or changes meanwhile.
        MediaMissing, MediaUnreadable
        """
        paths = list(dict.fromkeys(paths))
        states = {path: _state_of(path) for path in paths}
        bound = cls({path: hash_of(path) for path in paths}, states)
        for path in paths:
            if expected is not None and expected[str(path)] != bound.hashes[path]:
                raise JobMismatch(f"{path} has changed since the job began.", _BEGIN_AGAIN)
        bound.check_untouched()
        return bound

    def check_untouched(self) -> None:
        """Refuse what was made while a file was replaced or written to. Reads no file that is as it was.

        Raises
        ------
        JobMismatch
            ``retryable`` where the file is the right one again: what was made meanwhile may be of another.
        """
        for path, state in self.states.items():
            if _state_of(path) != state:
                self._check_hash(path)
                error = JobMismatch(f"{path} was touched while it was read.", "It is read again.")
                error.retryable = True
                raise error

    def check(self) -> None:
        """`check_untouched`, and the content of every file too: for the moment before the output gets its name.

        Raises
        ------
        JobMismatch
        """
        self.check_untouched()
        for path in self.hashes:
            self._check_hash(path)
        self.check_untouched()

    def _check_hash(self, path: Path) -> None:
        try:
            is_same = hash_of(path) == self.hashes[path]
        except (MediaMissing, MediaUnreadable) as error:
            raise JobMismatch(f"{path} is gone; nothing was written.", _BEGIN_AGAIN) from error
        if not is_same:
            raise JobMismatch(f"{path} was changed while it was read; nothing was written.", _BEGIN_AGAIN)
