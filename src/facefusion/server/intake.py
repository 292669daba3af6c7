"""Files on their way in: counted, hashed, looked at in a process of their own, and only then an asset."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from facefusion.errors import (
    KindRefused,
    LimitReached,
    MediaError,
    MediaUnsupported,
    RequestRefused,
    ServiceError,
    TooLarge,
)
from facefusion.jobs.ledger import Asset
from facefusion.jobs.storage import one_patience
from facefusion.server.state import Service, new_id
from facefusion.wording import counted
from facefusion.workplace import Workplace

LOOK_S = 120.0
"""How long it may take to see what a file is."""
THUMBNAIL = "thumbnail.webp"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Received:
    """A file that came whole.

    Attributes
    ----------
    path, size_bytes, sha256
        Where it is, and what.
    """

    path: Path
    size_bytes: int
    sha256: str


def shown_name(name: str, other: str = "") -> str:
    """A name as it may be shown: the last part of what was sent, without what controls anything. Never a path here."""
    last = re.split(r"[/\\]", name)[-1]
    clean = "".join(letter for letter in unicodedata.normalize("NFC", last) if unicodedata.category(letter)[0] != "C")
    return clean.strip().strip(".")[:120] or other


class Counter:
    """Writes what comes into a file, and stops at the first byte too much.

    Parameters
    ----------
    file
        Open for writing.
    most_bytes
        As many are taken.
    digest
        Hashes what is written.
    """

    def __init__(self, file: BinaryIO, most_bytes: int, digest: hashlib._Hash | None = None) -> None:
        self._file, self._most, self._digest = file, most_bytes, digest
        self._held: list[bytes] = []
        self._held_bytes = self.count = 0
        self._lock = threading.Lock()

    async def write(self, piece: bytes) -> None:
        """Take some bytes.

        Raises
        ------
        TooLarge, ServiceError
        """
        self.count += len(piece)
        if self.count > self._most:
            raise TooLarge(
                f"This has more than {counted(self._most, 'byte')}; no more are taken.", "Send a smaller file."
            )
        with self._lock:
            self._held.append(piece)
            self._held_bytes += len(piece)
        if self._held_bytes >= _PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Write what is held."""
        if self._held:
            await run_in_threadpool(self.settle)

    def settle(self) -> None:
        """Write what is held, at once: who is being cancelled may be cancelled again wherever it waits.

        Raises
        ------
        ServiceError
        """
        with self._lock:  # whoever comes first writes all of it, in its order
            pieces, self._held, self._held_bytes = self._held, [], 0
            if pieces:
                self._write(b"".join(pieces))

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise no_room(error) from error
        if self._digest is not None:
            self._digest.update(content)


def no_room(error: OSError) -> ServiceError:
    """What is said where a file of a client cannot be written."""
    return ServiceError(
        f"The file could not be kept: {error.strerror or error}.",
        "Tell who runs this service.",
        code="no_room",
        status=507,
    )


def room_for(service: Service, tenant: str, size_bytes: int) -> int:
    """How many bytes a tenant may send now.

    Parameters
    ----------
    service, tenant
        Whose.
    size_bytes
        What they announce; 0 where they do not.

    Raises
    ------
    TooLarge, LimitReached
    """
    most = service.config.upload_bytes
    if size_bytes > most:
        raise TooLarge(f"This has {counted(size_bytes, 'byte')}; up to {most} are taken.", "Send a smaller file.")
    left = int(service.config.quotas.stored_bytes - service.ledger.used(tenant)["bytes"])
    if size_bytes > left or left <= 0:
        raise LimitReached(
            f"{counted(max(left, 0), 'byte')} of what may be stored can still come.",
            "Delete assets that are not needed.",
            3600.0,
            "stored",
        )
    return min(most, left)


@contextmanager
def working(service: Service) -> Iterator[Path]:
    """A folder for files on their way in; it goes whatever happens, also when this process is killed."""
    with Workplace(service.cache) as place:
        yield place.folder


async def receive(stream: AsyncIterator[bytes], path: Path, most_bytes: int) -> Received:
    """Write a body to a file.

    Raises
    ------
    TooLarge, RequestRefused, ServiceError
    """
    digest = hashlib.sha256()
    try:
        with path.open("xb") as file:
            counter = Counter(file, most_bytes, digest)
            async for piece in stream:
                await counter.write(piece)
            await counter.flush()
    except ClientDisconnect as error:
        raise RequestRefused("The connection was cut before all had come.", "Send it again.") from error
    except OSError as error:
        if isinstance(error, ServiceError):
            raise
        raise no_room(error) from error
    return Received(path, counter.count, digest.hexdigest())


def admit(service: Service, tenant: str, received: Received, name: str) -> Asset:
    """Make an asset of a file: look at it, put it into the storage, record it. What fails leaves nothing.

    Raises
    ------
    KindRefused
        When it is no photo, clip or sound, or cannot be read.
    TooLarge
        When it would unpack to too much.
    """
    from facefusion.media.describe import describe

    if not received.size_bytes:
        raise RequestRefused("The file is empty.", "Send its bytes as the body.")
    thumbnail = received.path.with_name(THUMBNAIL)
    try:
        about = service.inspectors.call(describe, LOOK_S, received.path, thumbnail, service.config.clip_s)
    except MediaUnsupported as error:
        message = error.message.replace(str(received.path), "The file")
        is_large = any(word in message for word in ("pixel", " px", " long; up to "))
        kind = TooLarge if is_large else KindRefused
        raise kind(message, error.hint) from error
    except MediaError as error:
        # What libraries say of it is for nobody who sends a file.
        what = error.message.replace(str(received.path), "The file").partition(": ")[0].rstrip(".")
        raise KindRefused(f"{what}.", error.hint) from error
    except MemoryError as error:
        raise TooLarge("Looking at this file takes more memory than it may.", "Send a smaller one.") from error
    asset_id, now = new_id(), service.ledger.now()
    folder = key_folder(tenant, asset_id)
    asset = Asset(
        asset_id, tenant, about.kind, "upload", shown_name(name, f"{about.kind}{about.suffix}"), about.media_type,
        received.size_bytes, received.sha256, about.as_dict(), f"{folder}{asset_id}{about.suffix}",
        expires_at=now + service.config.asset_days * 86400,
    )  # fmt: skip
    with one_patience():  # somebody waits for all of it
        try:
            if thumbnail.is_file():
                service.storage.put(f"{folder}{THUMBNAIL}", thumbnail)
            service.storage.put(asset.key, received.path)
            return service.ledger.add_asset(asset)
        except BaseException:
            with suppress(Exception):
                service.storage.delete(folder)
            raise


def key_folder(tenant: str, asset_id: str) -> str:
    """Where the files of an asset are, in the storage."""
    return f"{tenant}/{asset_id}/"


def drop(service: Service, asset: Asset) -> None:
    """Take the files of an asset away."""
    for path in service.looked_at.glob(f"{asset.id}*"):
        path.unlink(missing_ok=True)
    service.storage.delete(key_folder(asset.tenant, asset.id))


def fresh_name() -> str:
    """A name for a file on its way in."""
    return secrets.token_hex(8)
