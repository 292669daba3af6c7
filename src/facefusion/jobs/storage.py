"""Where the working files of jobs are: a folder, or object storage by URL. Names are keys with slashes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from facefusion.documents import reason_of
from facefusion.errors import DiskLimitReached, ExtraMissing, JobError, OutputRefused, StoreRefused, StoreUnreachable
from facefusion.wording import sizes_of
from facefusion.workplace import Workplace, make_folder, refusal
from facefusion.writing import copy_private, link_or_copy, sync

R = TypeVar("R")
WORK = ".work"
"""Folder in a `FolderStorage` with the working folders of processes."""
ASSETS = "assets"
"""First part of keys that belong to a service, and to no job."""
_JOB_ID = re.compile(r"[0-9a-f]{16,32}")
LEAST_BYTES = 1_000_000_000
"""With less room than this a job of any length may fail."""
PATIENCE_S = 45.0
"""How long a call waits for storage that does not answer."""
_RETRY = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
"""What obstore does by itself, for a part of a large file: its own three minutes would come on top of our patience."""
_left_s: ContextVar[list[float] | None] = ContextVar("facefusion_storage_patience", default=None)


@contextmanager
def one_patience(patience_s: float | None = None) -> Iterator[None]:
    """Have all calls made meanwhile wait no longer than one would: somebody waits for all of them together."""
    token = None if _left_s.get() is not None else _left_s.set([PATIENCE_S if patience_s is None else patience_s])
    try:
        yield
    finally:
        if token is not None:
            _left_s.reset(token)


@dataclass(frozen=True, slots=True)
class Stored:
    """One file."""

    key: str
    size_bytes: int
    changed_at: float


def is_job_id(job_id: object) -> bool:
    """Whether something is an id as jobs have them."""
    return isinstance(job_id, str) and _JOB_ID.fullmatch(job_id) is not None


def check_job_id(job_id: str) -> str:
    """Refuse what is no id of a job, before it becomes a part of a path.

    Raises
    ------
    JobError
    """
    if not is_job_id(job_id):
        raise JobError(
            f"{job_id!r} is no id of a job.",
            "The job store was tampered with or damaged: use another --jobs-path, or move it away.",
        )
    return job_id


def check_key(key: str) -> str:
    """Refuse a key that would lead out of the storage, or is the whole of it.

    Raises
    ------
    JobError
    """
    parts = key.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or any(letter in key for letter in "\\:\0"):
        raise JobError(f"{key!r} is no name of a working file.", "Nothing was touched.")
    return key


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
        """Take all files away whose key begins so; ``prefix`` ends in a slash or is a whole key.

        Raises
        ------
        OutputRefused
            When some are still there, with the first of them.
        """

    def copy(self, key: str, other: str) -> None:
        """Give a file a second name, if need be by a copy.

        Raises
        ------
        FileNotFoundError
        """
        with one_patience(), self.local(key) as path:
            self.put(other, path)

    @abstractmethod
    def open_range(self, key: str) -> Any:
        """A seekable binary file that reads only what is asked for."""

    def check(self) -> None:
        """Look whether files can be kept here; nothing is written.

        Raises
        ------
        OutputRefused, StoreRefused, StoreUnreachable
        """
        self.list("facefusion-doctor/")

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

    @property
    def work(self) -> Path:
        """Where processes have their working folders (`facefusion.workplace`)."""
        return self.folder / WORK

    def path(self, key: str) -> Path:
        """Where a key is.

        Raises
        ------
        JobError
            When it would be outside, or behind a link.
        """
        path = self.folder / check_key(key)
        for step in (path, *path.parents):
            if step == self.folder:
                break
            if step.is_symlink():
                raise JobError(f"{step} is a link, which is not followed.", "Take it away; nothing was touched.")
        return path

    def put(self, key: str, path: Path) -> None:
        """Copy or move a file in; one that lies in the same folder already is only renamed."""
        goal = self.path(key)
        is_here = path.is_relative_to(self.folder)
        if self._limit is not None:
            used = self.size_bytes() + (0 if is_here else path.stat().st_size)
            if used > self._limit:
                taken, most = sizes_of((used, self._limit), lambda told: told[0] > told[1])
                raise DiskLimitReached(
                    f"Working files would take {taken}; the limit is {most}.",
                    "Raise --disk-limit, delete old jobs, or use another --jobs-path; then resume the job.",
                )
        make_folder(goal.parent)
        try:
            if is_here:
                path.chmod(0o600)
                sync(path)
                os.replace(path, goal)
                return
            with Workplace(self.work) as place:
                copy_private(path, made := place.folder / goal.name)
                os.replace(made, goal)
        except OSError as error:
            raise refusal(error, goal) from error

    def copy(self, key: str, other: str) -> None:
        """A second name for the same file; it is never written again."""
        path, goal = self.path(key), self.path(other)
        if not path.is_file():
            raise FileNotFoundError(key)
        make_folder(goal.parent)
        with Workplace(self.work) as place:
            made = place.folder / goal.name
            try:
                link_or_copy(path, made)
                os.replace(made, goal)
            except OSError as error:
                raise refusal(error, goal) from error

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
        """All files whose key begins so, those of working folders included. Links are not followed."""
        found = []
        folder, is_deeper, _ = prefix.rpartition("/")
        for path, _, names in os.walk(self.folder / check_key(folder) if is_deeper else self.folder):
            for name in names:
                key = (Path(path) / name).relative_to(self.folder).as_posix()
                if key.startswith(prefix):
                    try:
                        state = (Path(path) / name).lstat()
                    except FileNotFoundError:
                        continue
                    if stat.S_ISREG(state.st_mode):
                        found.append(Stored(key, state.st_size, state.st_mtime))
        return sorted(found, key=lambda stored: stored.key)

    def size_bytes(self) -> int:
        """Bytes of all files; one with two names counts once."""
        sizes = {}
        for path, _, names in os.walk(self.folder):
            for name in names:
                with suppress(FileNotFoundError):
                    state = os.lstat(os.path.join(path, name))
                    sizes[state.st_dev, state.st_ino or path + name] = state.st_size
        return sum(sizes.values())

    def check(self) -> None:
        """See `Storage`."""
        check_room(self.folder)

    def folders(self) -> tuple[str, ...]:
        """First parts of all keys, those of empty folders included, without working folders."""
        try:
            return tuple(sorted(entry.name for entry in os.scandir(self.folder) if entry.name != WORK))
        except FileNotFoundError:
            return ()

    def delete(self, prefix: str) -> None:
        """Take files away, and the folder they were in."""
        path = self.folder / check_key(prefix.rstrip("/"))
        if path.parent != self.folder:
            self.path(path.parent.relative_to(self.folder).as_posix())  # no link on the way
        failed: list[tuple[str, OSError]] = []

        def note(_: object, name: str, error: Any) -> None:
            failed.append((name, error[1]))

        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, onerror=note)
            else:
                path.unlink(missing_ok=True)  # a link: itself, and not what it leads to
        except OSError as error:
            failed.append((str(path), error))
        if os.path.lexists(path):
            if path.is_dir() and not failed:
                shutil.rmtree(path, onerror=note)  # somebody was writing into it
            if os.path.lexists(path):
                name, why = failed[0] if failed else (str(path), OSError(errno.EBUSY, "it is in use"))
                raise OutputRefused(
                    f"{name} cannot be removed: {why.strerror or why}.", "Take it away yourself, then try again."
                )

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
            raise ExtraMissing.of(f"Storage {url}", str(error.name), "storage") from error
        self.url, self._cache = url, cache
        settings = {"retry_config": _RETRY, **(options or {})}
        if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS):
            settings.setdefault("client_options", {"allow_http": True})
        try:
            self._store: Any = obstore.store.from_url(url, **settings)
        except Exception as error:  # obstore has errors of many kinds
            raise StoreUnreachable(f"There is no storage at {url}: {reason_of(error)}.", "Check the URL.") from error

    def put(self, key: str, path: Path) -> None:
        """Upload, in parts where it is large."""
        import obstore

        with path.open("rb"):  # what is missing from here on is there
            pass
        self._call(key, lambda: obstore.put(self._store, key, path), is_key_new=True)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """A copy that is taken away afterwards, and not before by whoever clears up after the dead."""
        import obstore

        with Workplace(self._cache) as place:
            path = place.folder / f"copy{Path(key).suffix}"

            def download() -> None:
                with path.open("wb") as file:
                    for part in obstore.get(self._store, key).stream():
                        file.write(part)

            self._call(key, download)
            yield path

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

        return self._call(prefix, read, is_key_new=True)

    def delete(self, prefix: str) -> None:
        """Take objects away."""
        import obstore

        with one_patience():
            keys = [stored.key for stored in self.list(check_key(prefix.rstrip("/")))]
            if keys:
                self._call(prefix, lambda: obstore.delete(self._store, keys))

    def open_range(self, key: str) -> Any:
        """An object that is read in ranges."""
        import obstore

        size = self._call(key, lambda: int(obstore.head(self._store, key)["size"]))

        def fetch(start: int, stop: int) -> bytes:
            return self._call(key, lambda: bytes(obstore.get_range(self._store, key, start=start, end=stop)))

        return _Ranged(size, fetch)

    def _missing(self) -> StoreRefused:
        return StoreRefused(
            f"There is no bucket or container at {self.url}.",
            "Make it, or name another one: --storage, FACEFUSION_STORAGE.",
        )

    def _call(self, key: str, function: Callable[[], R], is_key_new: bool = False) -> R:
        """Call obstore; wait while the storage does not answer.

        Parameters
        ----------
        key
            What is asked for, for messages.
        function
            What asks.
        is_key_new
            Whether nothing need be there: then it is the place that is missing.
        """
        left_s = _left_s.get() or [PATIENCE_S]
        began = time.monotonic()
        attempts = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_delay(left_s[0]),
            wait=wait_exponential(0.2, max=5.0),
            reraise=True,
        )
        try:
            return attempts(function)
        except FileNotFoundError as error:
            if not is_key_new:
                raise
            raise self._missing() from error
        except Exception as error:  # obstore has errors of many kinds
            left_s[0] = max(left_s[0] - (time.monotonic() - began), 0.0)
            if _is_no_place(error):
                raise self._missing() from error
            if _is_local(error):
                raise refusal(error, self._cache) from error
            raise StoreUnreachable(
                f"Storage {self.url} does not answer for {key}: {reason_of(error)}.",
                "Check address, bucket and keys; the job can then be resumed.",
            ) from error


def _is_no_place(error: BaseException) -> bool:
    """Whether it is the bucket that is missing: where files are listed obstore has no error of its own for that."""
    return re.search("NoSuchBucket|ContainerNotFound|bucket does not exist", str(error)) is not None


def _may_pass(error: BaseException) -> bool:
    """Whether waiting may help: nothing that is missing, forbidden, or wrong with the disk of this machine."""
    if not isinstance(error, Exception) or isinstance(error, FileNotFoundError) or _is_local(error):
        return False
    if _is_no_place(error):
        return False
    return type(error).__name__ not in ("UnauthenticatedError", "PermissionDeniedError")


def _is_local(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES)


BLOCK_BYTES, BLOCKS = 1 << 20, 24
"""Objects are read in blocks of this size, and so many are remembered: a demuxer jumps back and forth."""


class _Ranged(io.RawIOBase):
    """A seekable file over an object, read in blocks."""

    def __init__(self, size_bytes: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
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

    def readinto(self, buffer: Any) -> int:
        part = self.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(part)] = part
        return len(part)

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

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._blocks.clear()
        super().close()


def check_room(folder: Path, least_bytes: int = LEAST_BYTES) -> None:
    """Look whether files can be kept in a folder, or it can be made, and whether there is room for any.

    Raises
    ------
    OutputRefused
    """
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    if not there.is_dir():
        raise OutputRefused(f"{there} is no folder.", "Name another one.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputRefused(f"{there} cannot be written.", "Change its permissions, or name another folder.")
    free = shutil.disk_usage(there).free
    if free < least_bytes:
        told = f"Where {folder} is, {free / 1e9:.2f} GB are free."
        raise OutputRefused(told, "Free some space, or name another folder.")


def open_storage(url: str, cache: Path, limit_bytes: int | None = None) -> Storage:
    """Storage at a URL: ``file://`` or a path is a folder, everything else object storage."""
    if url.startswith("file://"):
        from urllib.parse import unquote, urlparse

        return FolderStorage(Path(unquote(urlparse(url).path)), limit_bytes)
    if "://" not in url:
        return FolderStorage(Path(url), limit_bytes)
    return ObjectStorage(url, cache)


def is_same_storage(one: str, other: str) -> bool:
    """Whether two spellings, paths or URLs, are one place."""
    return _spelled(one) == _spelled(other)


def _spelled(url: str) -> str:
    return (url if "://" in url else Path(url).absolute().as_uri()).rstrip("/")


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bring(storage: Storage, key: str, goal: Path) -> None:
    """Copy a file of a storage to this machine; it is there whole or not at all.

    Raises
    ------
    FileNotFoundError
        When the storage has no such file.
    """
    goal.parent.mkdir(parents=True, exist_ok=True)
    with storage.local(key) as path:
        part = goal.with_name(f".{goal.name}")
        shutil.copyfile(path, part)
        part.replace(goal)
