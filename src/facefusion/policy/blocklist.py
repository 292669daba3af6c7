"""The blocklist: people who must never be a source or a target, as embeddings and nothing else, sealed.

The whole list is one message of AES-256-GCM, so whoever reads the file learns neither whom it names nor how many there
are within a few, and whoever changes it without the key makes it unreadable, which refuses all work. The key is a file
for its owner alone, or comes from the environment.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from facefusion.documents import border
from facefusion.errors import PolicyUnready, RecipeError
from facefusion.plugins.protocols import FloatArray
from facefusion.workplace import take
from facefusion.writing import save_private

FORMAT = "facefusion-blocklist-1"
KEY_BYTES = 32
_NONCE_BYTES = 12
_PAD_BYTES = 16_384
"""The list is filled up to a multiple of this, so that its length tells little."""
PATIENCE_S = 30.0
MAX_BYTES = 256 << 20
LONGEST_NOTE = 200


@dataclass(frozen=True, slots=True, eq=False)
class Blocked:
    """Somebody who must never take part.

    Attributes
    ----------
    id
        Made at random.
    note
        Why, or where that is written; whoever has the key can read it.
    added_at
        When.
    contract
        Name of the space of the embeddings.
    codes
        (K, D) float32 of unit length, one for each face in the photos that were given. No photo is kept.
    """

    id: str
    note: str
    added_at: str
    contract: str
    codes: FloatArray = field(repr=False)


@dataclass(frozen=True, slots=True)
class Blocklist:
    """A sealed list and its key.

    Attributes
    ----------
    path
        The file.
    key_path
        File with the key; None for one beside the list.
    key
        The key itself, base64; it goes before the file.
    """

    path: Path
    key_path: Path | None = None
    key: str = field(default="", repr=False)

    def load(self, must_exist: bool = True) -> tuple[Blocked, ...]:
        """Everybody on it.

        Raises
        ------
        PolicyUnready
            When it is missing, damaged, or sealed by another key: it is never taken for an empty one.
        """
        if not self.path.exists():
            if must_exist:
                raise PolicyUnready(
                    f"The blocklist {self.path} is missing.",
                    "Bring it back, or make it: facefusion blocklist add PHOTO",
                )
            return ()
        damaged = "Restore it from a copy."
        with border(PolicyUnready, f"The blocklist {self.path} cannot be read", damaged):
            if self.path.stat().st_size > MAX_BYTES:
                raise PolicyUnready(f"{self.path} is no blocklist.", damaged)
            document = json.loads(self.path.read_bytes())
            if document["format"] != FORMAT:
                raise PolicyUnready(f"{self.path} is no blocklist.", damaged)
            nonce, sealed = (base64.b64decode(document[name], validate=True) for name in ("nonce", "sealed"))
            try:
                opened = AESGCM(self._find_key()).decrypt(nonce, sealed, FORMAT.encode())
            except InvalidTag as error:
                raise PolicyUnready(
                    f"The blocklist {self.path} was sealed by another key, or was changed.",
                    "Give the right key (--blocklist-key), or restore the list from a copy.",
                ) from error
            return tuple(_read(entry) for entry in json.loads(opened.rstrip(b" ")))

    def add(self, codes: FloatArray, contract: str, note: str = "") -> Blocked:
        """Put somebody on it.

        Parameters
        ----------
        codes
            (K, D) float32 of unit length, one for each face.
        contract
            Name of their space.
        note
            Why.

        Raises
        ------
        RecipeError, OutputRefused, PolicyUnready
        """
        if len(note) > LONGEST_NOTE:
            raise RecipeError(f"The note has {len(note)} characters.", f"Up to {LONGEST_NOTE} are kept.")
        at = datetime.now(UTC).replace(microsecond=0).isoformat()
        entry = Blocked(secrets.token_hex(4), note, at, contract, np.asarray(codes, dtype=np.float32))
        self._change(lambda known: (*known, entry))
        return entry

    def remove(self, ids: Sequence[str]) -> tuple[Blocked, ...]:
        """Take people off it.

        Raises
        ------
        RecipeError
            When somebody is not on it; then nobody is taken off.
        OutputRefused, PolicyUnready
        """
        gone: list[Blocked] = []

        def without(known: tuple[Blocked, ...]) -> tuple[Blocked, ...]:
            for id_ in ids:
                if not any(one.id == id_ for one in known):
                    raise RecipeError(f"Nobody on the blocklist is '{id_}'.", "See 'facefusion blocklist list'.")
            gone.extend(one for one in known if one.id in ids)
            return tuple(one for one in known if one.id not in ids)

        self._change(without)
        return tuple(gone)

    def _change(self, change: Callable[[tuple[Blocked, ...]], tuple[Blocked, ...]]) -> None:
        lock = take(self.path.with_name(f"{self.path.name}.lock"), PATIENCE_S)
        if lock is None:
            raise PolicyUnready(f"Another process is writing {self.path}.", "Try again when it is done.")
        try:
            changed = change(self.load(must_exist=False))
            content = json.dumps([_write(entry) for entry in changed]).encode()
            content += b" " * (-len(content) % _PAD_BYTES)
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = AESGCM(self._find_key(is_making=not self.path.exists())).encrypt(nonce, content, FORMAT.encode())
            document = {"format": FORMAT, "nonce": _text(nonce), "sealed": _text(sealed)}
            save_private(self.path, json.dumps(document).encode())
        finally:
            lock.release()

    def _find_key(self, is_making: bool = False) -> bytes:
        if self.key:
            return _key_of(self.key, "The key of the blocklist in the environment")
        path = self.key_path or self.path.with_name(f"{self.path.name}.key")
        if not path.exists():
            if not is_making:
                raise PolicyUnready(
                    f"The key of the blocklist {path} is missing.", "Bring it back, or set FACEFUSION_BLOCKLIST_KEY."
                )
            save_private(path, _text(secrets.token_bytes(KEY_BYTES)).encode())
        with border(PolicyUnready, f"The key of the blocklist {path} cannot be read", "Check its permissions."):
            if os.name != "nt" and stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise PolicyUnready(f"Others may read the key of the blocklist {path}.", f"Run: chmod 600 {path}")
            return _key_of(path.read_text(encoding="ascii"), f"The key of the blocklist {path}")


def _key_of(text: str, what: str) -> bytes:
    with suppress(ValueError):
        key = base64.b64decode(text.strip(), validate=True)
        if len(key) == KEY_BYTES:
            return key
    raise PolicyUnready(f"{what} is none.", "It is 32 random bytes in base64.")


def _read(entry: dict[str, Any]) -> Blocked:
    codes = np.frombuffer(base64.b64decode(entry["codes"]), dtype="<f4").reshape(int(entry["count"]), -1)
    return Blocked(str(entry["id"]), str(entry["note"]), str(entry["added_at"]), str(entry["contract"]), codes)


def _write(entry: Blocked) -> dict[str, Any]:
    codes = np.ascontiguousarray(entry.codes, dtype="<f4")
    return {
        "id": entry.id, "note": entry.note, "added_at": entry.added_at, "contract": entry.contract,
        "count": len(codes), "codes": _text(codes.tobytes()),
    }  # fmt: skip


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
