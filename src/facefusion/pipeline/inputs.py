"""Files that are read stay the files that were hashed, from the first look to the moment the output gets its name."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from facefusion.errors import JobMismatch, MediaMissing, MediaUnreadable
from facefusion.media.image import Photo, read_photo
from facefusion.models.spent import looked_up
from facefusion.types.crop import SourceFace

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


_known: OrderedDict[Path, tuple[State, str]] = OrderedDict()
_KNOWN_MAX = 1024


def known_hash_of(path: Path) -> str:
    """SHA-256 of a file, which is read once for each state that it is in.

    Who delivers what was made of it reads it once more (`BoundInputs.check`).

    Raises
    ------
    MediaMissing, MediaUnreadable
    """
    state, known = _state_of(path), _known.get(path)
    if known is not None and known[0] == state:
        return known[1]
    found = hash_of(path)
    if state is not None and _state_of(path) == state:
        _remember(path, state, found)
    return found


def known_hashes(paths: Iterable[Path]) -> dict[Path, tuple[State, str]]:
    """What this process knows of files, for another process of this machine (`learn_hashes`)."""
    return {path: known for path in paths if (known := _known.get(path)) is not None}


def learn_hashes(known: Mapping[Path, tuple[State, str]]) -> None:
    """Take over what another process of this machine knows; it holds as long as the files are in the same state."""
    for path, (state, sha256) in known.items():
        _remember(path, state, sha256)


def _remember(path: Path, state: State, sha256: str) -> None:
    _known[path] = state, sha256
    while len(_known) > _KNOWN_MAX:
        _known.popitem(last=False)


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
        bound = cls({path: known_hash_of(path) for path in paths}, states)
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


LARGE_BYTES, LARGE_PX = 64_000_000, 40_000_000
"""Photos of more are read anew each time: to keep them would take more memory than time."""


class Shelf:
    """What one process has read of the photos of a job, for whoever reads them next.

    Things are kept by what is in a file, so one that was replaced or written to meanwhile is read again.
    """

    def __init__(self) -> None:
        self._photos: dict[tuple[Path, str, bool], Photo] = {}
        self._faces: dict[tuple[Path, str, Hashable], SourceFace] = {}

    def clear(self) -> None:
        """Let go of everything."""
        self._photos.clear()
        self._faces.clear()

    def photo(self, path: Path, allow_8bit: bool = False) -> Photo:
        """A photo, decoded once for each content. Nothing may be written into its pixels.

        Raises
        ------
        MediaMissing, MediaUnreadable, MediaUnsupported
        """
        content = _content_of(path)
        if content is None:
            return read_photo(path, allow_8bit)
        key = path, hashlib.sha256(content).hexdigest(), allow_8bit
        looked_up("photos", key in self._photos)
        if key not in self._photos:
            photo = read_photo(path, allow_8bit, content)
            if photo.pixels.size > 3 * LARGE_PX:
                return photo
            photo.pixels.flags.writeable = False
            self._photos[key] = photo
        return self._photos[key]

    def face(self, path: Path, settings: Hashable, find: Callable[[Photo], SourceFace]) -> SourceFace:
        """The face of a source, looked for once for each content.

        Parameters
        ----------
        path
            A photo.
        settings
            What else the answer depends on.
        find
            Finds it; what it raises is not kept.
        """
        content = _content_of(path)
        if content is None:
            return find(read_photo(path, allow_8bit=True))
        key = path, hashlib.sha256(content).hexdigest(), settings
        looked_up("faces", key in self._faces)
        if key not in self._faces:
            self._faces[key] = find(self.photo(path, allow_8bit=True))
        return self._faces[key]


def _content_of(path: Path) -> bytes | None:
    """What is in a file; None where it is large, or cannot be read, which `read_photo` says better."""
    try:
        return path.read_bytes() if os.stat(path).st_size <= LARGE_BYTES else None
    except OSError:
        return None
