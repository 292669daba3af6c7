"""What is found out about an asset once, beside what else is asked of the service, and kept in the asset's folder."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

from facefusion.errors import FaceFusionError, own_error
from facefusion.jobs.ledger import Asset
from facefusion.server.intake import key_folder, working
from facefusion.server.problems import noted
from facefusion.server.state import Service

T = TypeVar("T")
MOST = 32
"""Looks that wait or go on at the same time."""


class Finder(ABC, Generic[T]):
    """Looks at assets, each once.

    Parameters
    ----------
    service
        Whose assets.
    """

    record: str
    """Where in the folder of an asset it is written down."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    @abstractmethod
    def read(self, asset: Asset, text: str) -> T:
        """What was written down."""

    @abstractmethod
    def look(self, asset: Asset, place: Path) -> str:
        """Look at an asset, with a folder to work in, and say what to write down.

        Raises
        ------
        FaceFusionError
        """

    @abstractmethod
    def failed(self, told: dict[str, str]) -> str:
        """What to write down where an asset cannot be looked at."""

    def known(self, asset: Asset) -> T | None:
        """What is known; None where nobody has looked yet."""
        try:
            with self.service.storage.local(f"{key_folder(asset.tenant, asset.id)}{self.record}") as path:
                return self.read(asset, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def begin(self, asset: Asset) -> None:
        """Look beside the caller, where nobody does so already."""
        with self._lock:
            is_new = asset.id not in self._busy and len(self._busy) < MOST  # who asks again is served then
            if is_new:
                self._busy.add(asset.id)
        if is_new:
            threading.Thread(target=self.find_out, args=(asset,), name=self.record, daemon=True).start()

    def find_out(self, asset: Asset) -> None:
        """Look now, and write down what was found or why nothing was; what passes is left to whoever asks again."""
        service, folder = self.service, key_folder(asset.tenant, asset.id)
        try:
            with working(service) as place:
                try:
                    text = self.look(asset, place)
                except Exception as error:
                    if own_error(error).retryable:
                        return
                    told = noted(error, f"asset {asset.id}", "Tell who runs this service the id of the asset.")
                    text = self.failed(told | {"message": told["message"].replace(str(service.config.folder), "…")})
                record = place / Path(self.record).name
                record.write_text(text, encoding="utf-8")
                if service.ledger.find_asset(asset.tenant, asset.id) is not None:
                    service.storage.put(f"{folder}{self.record}", record)
                if service.ledger.find_asset(asset.tenant, asset.id) is None:  # deleted meanwhile
                    service.storage.delete(folder)
        except FaceFusionError:  # the storage is away
            return
        finally:
            with self._lock:
                self._busy.discard(asset.id)
