"""Where the bytes of an upload wait until it is whole: on this machine, or in the storage that all services share."""

from __future__ import annotations

import asyncio
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from facefusion.errors import RequestRefused, ServiceError, TooLarge
from facefusion.jobs.ledger import Upload
from facefusion.jobs.storage import Stored
from facefusion.server.intake import Counter, key_folder, no_room, working
from facefusion.writing import link_or_copy

if TYPE_CHECKING:
    from facefusion.server.state import Service

PIECE_BYTES = 32_000_000
"""What comes is put into the shared storage whenever there is so much of it: no more is lost with a machine."""


class Pieces(ABC):
    """What has come of uploads.

    Parameters
    ----------
    service
        Whose.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    @abstractmethod
    def begin(self, upload: Upload) -> None:
        """Make room for an upload.

        Raises
        ------
        ServiceError
        """

    @abstractmethod
    def offset(self, upload: Upload) -> int:
        """How much of it has come.

        Raises
        ------
        ServiceError
            When it is gone.
        """

    @abstractmethod
    async def write(self, upload: Upload, offset: int, stream: AsyncIterator[bytes]) -> int:
        """Add what comes; whatever ends it, what came counts. Returns the new offset.

        Raises
        ------
        TooLarge
            When more comes than was announced; then nothing of this call counts.
        RequestRefused, ServiceError
        """

    @abstractmethod
    def collect(self, upload: Upload, goal: Path) -> None:
        """Bring all of it into a new file.

        Raises
        ------
        FileNotFoundError, ServiceError
        """

    @abstractmethod
    def is_kept(self, upload: Upload) -> bool:
        """Whether all of it is still there after `collect`, so that taking it in can be tried again."""

    @abstractmethod
    def remove(self, upload: Upload) -> None:
        """Take away what came of it."""

    @abstractmethod
    def has(self, upload: Upload) -> bool:
        """Whether anything of it is on this machine."""


class FolderPieces(Pieces):
    """One file for each upload, which knows by its length how far it is."""

    def _path(self, upload: Upload) -> Path:
        return self.service.path_of_upload(upload.id)

    def begin(self, upload: Upload) -> None:
        """See `Pieces`."""
        try:
            self._path(upload).open("xb").close()
            self._path(upload).chmod(0o600)
        except OSError as error:
            raise no_room(error) from error

    def offset(self, upload: Upload) -> int:
        """See `Pieces`."""
        try:
            return self._path(upload).stat().st_size
        except FileNotFoundError as error:
            raise ServiceError(f"Upload {upload.id} is gone.", "Begin again.", code="expired", status=410) from error

    async def write(self, upload: Upload, offset: int, stream: AsyncIterator[bytes]) -> int:
        """See `Pieces`."""
        with self._path(upload).open("r+b") as file:
            file.seek(offset)
            counter = Counter(file, upload.size_bytes - offset)
            try:
                async for piece in stream:
                    await counter.write(piece)
                await counter.flush()
            except TooLarge:
                file.truncate(offset)
                raise
            except ClientDisconnect as error:
                counter.settle()
                raise cut_off() from error
            except BaseException:  # whatever ends it, the service itself too: what came counts
                counter.settle()
                raise
        return offset + counter.count

    def collect(self, upload: Upload, goal: Path) -> None:
        """See `Pieces`."""
        path = self._path(upload)
        try:
            link_or_copy(path, goal)  # it stays where it is for who asks meanwhile, and for who is killed
        except FileNotFoundError:
            raise
        except OSError as error:
            raise no_room(error) from error

    def is_kept(self, upload: Upload) -> bool:
        """See `Pieces`."""
        return self.has(upload)

    def remove(self, upload: Upload) -> None:
        """See `Pieces`."""
        self._path(upload).unlink(missing_ok=True)

    def has(self, upload: Upload) -> bool:
        """See `Pieces`."""
        return self._path(upload).exists()


class StoredPieces(Pieces):
    """Files in the storage, each called by where it begins: whichever service is asked goes on with an upload.

    Each begins where the one before ends. Two services that are sent the same bytes at once write the same file; what
    no file leads to is of a try that was overtaken, and is not counted.
    """

    def _folder(self, upload: Upload) -> str:
        return f"{key_folder(upload.tenant, upload.id)}pieces/"

    def _chain(self, upload: Upload) -> list[tuple[str, int]]:
        """Keys in order, with their sizes."""
        folder = self._folder(upload)
        found = {stored.key.removeprefix(folder): stored.size_bytes for stored in self._list(folder)}
        chain, at = [], 0
        while size := found.get(f"{at:020d}", 0):
            chain.append((f"{folder}{at:020d}", size))
            at += size
        return chain

    def _list(self, folder: str) -> list[Stored]:
        return self.service.storage.list(folder)

    def begin(self, upload: Upload) -> None:
        """Nothing is there before something comes."""

    def offset(self, upload: Upload) -> int:
        """See `Pieces`."""
        return sum(size for _, size in self._chain(upload))

    async def write(self, upload: Upload, offset: int, stream: AsyncIterator[bytes]) -> int:
        """See `Pieces`."""
        made: list[str] = []
        at, number = offset, 0
        with working(self.service) as place:

            def put_now(path: Path, counter: Counter) -> int:
                counter.settle()
                if counter.count:
                    key = f"{self._folder(upload)}{at:020d}"
                    self.service.storage.put(key, path)
                    made.append(key)
                return counter.count

            async def put(path: Path, counter: Counter) -> int:
                return await run_in_threadpool(put_now, path, counter)

            is_over = False
            while not is_over:
                path = place / str(number)
                number, is_over = number + 1, True
                with path.open("wb", buffering=0) as file:
                    counter = Counter(file, upload.size_bytes - at)
                    try:
                        async for piece in stream:
                            await counter.write(piece)
                            if counter.count >= PIECE_BYTES:
                                is_over = False
                                break
                    except TooLarge:
                        for key in made:
                            await run_in_threadpool(self.service.storage.delete, key)
                        raise
                    except ClientDisconnect as error:
                        await put(path, counter)
                        raise cut_off() from error
                    except asyncio.CancelledError:  # the service ends, and cancels again whoever waits
                        put_now(path, counter)
                        raise
                    except BaseException:
                        await put(path, counter)
                        raise
                    at += await put(path, counter)
                path.unlink(missing_ok=True)
        return at

    def collect(self, upload: Upload, goal: Path) -> None:
        """See `Pieces`."""
        try:
            with goal.open("xb") as file:
                for key, _ in self._chain(upload):
                    with self.service.storage.local(key) as path, path.open("rb") as piece:
                        shutil.copyfileobj(piece, file, 1 << 20)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise no_room(error) from error

    def is_kept(self, upload: Upload) -> bool:
        """They are still there."""
        return True

    def remove(self, upload: Upload) -> None:
        """See `Pieces`."""
        if self._list(self._folder(upload)):
            self.service.storage.delete(key_folder(upload.tenant, upload.id))

    def has(self, upload: Upload) -> bool:
        """They are counted with the storage."""
        return False


def cut_off() -> RequestRefused:
    """What is said, where anybody still hears it, of a piece that broke off."""
    return RequestRefused("The connection was cut.", "Ask with HEAD where it is, then go on.")


def pieces_of(service: Service) -> Pieces:
    """Where uploads of a service wait: beside its jobs, or where all services of a cluster find them."""
    return StoredPieces(service) if service.config.backend.is_cluster else FolderPieces(service)
