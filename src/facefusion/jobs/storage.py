"""Where the working files of jobs are: a folder, or object storage by URL. Names are keys with slashes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from facefusion.errors import DiskLimitReached, FaceFusionError, OutputRefused, StoreUnreachable

R = TypeVar("R")
PATIENCE_S = 45.0
"""How long a call waits for storage that does not answer."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One file."""

    key: str
    size_bytes: int
    changed_at: float


class Storage(ABC):
    """Files by key. Writing replaces a file whole or not at all."""

    url: str

    @abstractmethod
    def put(self, key: str, path: Path) -> None:
        """Copy a local file in."""

    @abstractmethod
    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """A local file with the content of a key, for reading.

        Raises
        ------
        FileNotFoundError
        """

    @abstractmethod
    def has(self, key: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def list(self, prefix: str = "") -> list[Stored]:
        """All files whose key begins so."""

    @abstractmethod
    def delete(self, prefix: str) -> None:
        """Take all files away whose key begins so; ``prefix`` ends in a slash or is a whole key."""

    @abstractmethod
    def open_range(self, key: str) -> Any:
        """A seekable binary file that reads only what is asked for."""

    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(stored.size_bytes for stored in self.list())


class FolderStorage(Storage):
    """A folder on this machine, or on a file system that all workers mount.

    Parameters
    ----------
    folder
        Made where it is missing.
    limit_bytes
        Most that may lie in it, or None.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self.folder, self._limit = folder, limit_bytes
        self.url = folder.absolute().as_uri()

    def path(self, key: str) -> Path:
        """Where a key is."""
        return self.folder / key

    def put(self, key: str, path: Path) -> None:
        """Copy or move a file in; one that lies in the same folder already is only renamed."""
        goal = self.path(key)
        if self._limit is not None:
            used = self.size_bytes() + (0 if path.is_relative_to(self.folder) else path.stat().st_size)
            if used > self._limit:
                raise DiskLimitReached(
                    f"Working files would take {used / 1e9:.2f} GB; the limit is {self._limit / 1e9:.2f} GB.",
                    "Raise --disk-limit, delete old jobs, or use another --jobs-path; then resume the job.",
                )
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            if path.is_relative_to(self.folder):
                _sync(path)
                os.replace(path, goal)
                return
            partial = goal.with_name(f".{goal.name}.{os.getpid()}.part")
            try:
                shutil.copyfile(path, partial)
                _sync(partial)
                os.replace(partial, goal)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise _refusal(error, goal) from error

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """The file itself."""
        path = self.path(key)
        if not path.is_file():
            raise FileNotFoundError(key)
        yield path

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        return self.path(key).is_file()

    def list(self, prefix: str = "") -> list[Stored]:
        """All files whose key begins so."""
        found = []
        for path in sorted(self.folder.rglob("*")):
            key = path.relative_to(self.folder).as_posix()
            if key.startswith(prefix):
                try:
                    state = path.stat()
                except FileNotFoundError:
                    continue
                if path.is_file():
                    found.append(Stored(key, state.st_size, state.st_mtime))
        return found

    def delete(self, prefix: str) -> None:
        """Take files away, and the folder they were in."""
        path = self.path(prefix.rstrip("/"))
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def open_range(self, key: str) -> Any:
        """The file, open for reading."""
        return self.path(key).open("rb")


_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
"""Where obstore looks for an address of one's own; one without TLS is meant as it is written."""


class ObjectStorage(Storage):
    """Object storage through obstore: ``s3://``, ``gs://``, ``az://``.

    Parameters
    ----------
    url
        Bucket and prefix. Keys, endpoint and region come from the environment variables that obstore reads, such as
        ``AWS_ACCESS_KEY_ID`` and ``AWS_ENDPOINT_URL``, or ``AZURE_STORAGE_ACCOUNT_NAME``.
    cache
        Folder for files while they are used.
    options
        More options of obstore's store.
    """

    def __init__(self, url: str, cache: Path, options: Mapping[str, Any] | None = None) -> None:
        try:
            import obstore.store
        except ModuleNotFoundError as error:
            raise StoreUnreachable(
                f"Storage {url} needs a package that is not installed.", "Run: pip install 'facefusion[worker]'"
            ) from error
        self.url, self._cache = url, cache
        settings = dict(options or {})
        if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS):
            settings.setdefault("client_options", {"allow_http": True})
        try:
            self._store: Any = obstore.store.from_url(url, **settings)
        except Exception as error:  # obstore has errors of many kinds
            raise StoreUnreachable(f"There is no storage at {url}: {error}.", "Check the URL.") from error

    def put(self, key: str, path: Path) -> None:
        """Upload, in parts where it is large."""
        import obstore

        self._call(key, lambda: obstore.put(self._store, key, path))

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """A copy that is taken away afterwards."""
        import obstore

        path = self._cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{os.getpid()}{Path(key).suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)

        def download() -> None:
            with path.open("wb") as file:
                for part in obstore.get(self._store, key).stream():
                    file.write(part)

        try:
            self._call(key, download)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        import obstore

        try:
            self._call(key, lambda: obstore.head(self._store, key))
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> list[Stored]:
        """All objects whose key begins so."""
        import obstore

        def read() -> list[Stored]:
            found = []
            for batch in obstore.list(self._store, prefix or None):
                for meta in batch:
                    found.append(Stored(meta["path"], meta["size"], meta["last_modified"].timestamp()))
            return found

        return self._call(prefix, read)

    def delete(self, prefix: str) -> None:
        """Take objects away."""
        import obstore

        keys = [stored.key for stored in self.list(prefix.rstrip("/"))]
        if keys:
            self._call(prefix, lambda: obstore.delete(self._store, keys))

    def open_range(self, key: str) -> Any:
        """An object that is read in ranges."""
        import obstore

        size = self._call(key, lambda: int(obstore.head(self._store, key)["size"]))

        def fetch(start: int, stop: int) -> bytes:
            return self._call(key, lambda: bytes(obstore.get_range(self._store, key, start=start, end=stop)))

        return _Ranged(size, fetch)

    def _call(self, key: str, function: Callable[[], R]) -> R:
        """Call obstore; wait while the storage does not answer."""
        until, wait_s = time.monotonic() + PATIENCE_S, 0.2
        while True:
            try:
                return function()
            except FileNotFoundError:
                raise
            except Exception as error:  # obstore has errors of many kinds
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES):
                    raise _refusal(error, self._cache) from error
                if (
                    type(error).__name__ in ("UnauthenticatedError", "PermissionDeniedError")
                    or time.monotonic() > until
                ):
                    raise StoreUnreachable(
                        f"Storage {self.url} does not answer for {key}: {str(error).splitlines()[0]}.",
                        "Check address, bucket and keys; the job can then be resumed.",
                    ) from error
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, 5.0)


BLOCK_BYTES, BLOCKS = 1 << 20, 24
"""Objects are read in blocks of this size, and so many are remembered: a demuxer jumps back and forth."""


class _Ranged:
    """A seekable file over an object, read in blocks."""

    def __init__(self, size_bytes: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size, self._fetch = size_bytes, fetch
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, count: int = -1) -> bytes:
        stop = self._size if count < 0 else min(self._at + count, self._size)
        parts = []
        while self._at < stop:
            number, start = divmod(self._at, BLOCK_BYTES)
            part = self._block(number)[start : start + stop - self._at]
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * BLOCK_BYTES
            self._blocks[number] = self._fetch(start, min(start + BLOCK_BYTES, self._size))
            if len(self._blocks) > BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._blocks.clear()


def open_storage(url: str, cache: Path, limit_bytes: int | None = None) -> Storage:
    """Storage at a URL: ``file://`` or a path is a folder, everything else object storage."""
    if url.startswith("file://"):
        from urllib.parse import unquote, urlparse

        return FolderStorage(Path(unquote(urlparse(url).path)), limit_bytes)
    if "://" not in url:
        return FolderStorage(Path(url), limit_bytes)
    return ObjectStorage(url, cache)


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _refusal(error: OSError, path: Path) -> FaceFusionError:
    if isinstance(error, FaceFusionError):
        return error
    reason = error.strerror or error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputRefused(f"There is no room left for {path}.", "Free some space and resume the job.")
    return OutputRefused(f"{path} cannot be written: {reason}.", "Check the folder and resume the job.")
