"""Whether a release is what was released: checksums, signature and provenance of a folder, and one byte more or less.

A release's folder holds files, ``SHA256SUMS`` over all of them, ``SHA256SUMS.sig`` (``ssh-keygen -Y``, namespace
`NAMESPACE`) and a statement of how it was built (in-toto in DSSE, signed with the same key). The statement is what
whoever holds the key says of itself: no build service stands behind it, and no SLSA level is claimed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from facefusion.errors import ReleaseRefused
from facefusion.types.paths import PathLike, as_path, as_paths

NAMESPACE = "facefusion-release"
SUMS, SIGNATURE, PUBLIC_KEY = "SHA256SUMS", "SHA256SUMS.sig", "release.pub"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9][A-Za-z0-9._+-]*)")
_ARMOUR = re.compile(r"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)-----END SSH SIGNATURE-----\n")
_MAX_BYTES = 20_000_000
_AGAIN = "Get the release again from where it is published; do not install this one."
State = Literal["trusted", "valid"]


@dataclass(frozen=True, slots=True)
class Release:
    """A release that is what was signed.

    Attributes
    ----------
    state
        ``trusted``: signed by a key that was named as trusted. ``valid``: whole, and signed by the key that lies
        beside it, which tells nothing of whose that is.
    key
        Fingerprint of the key, as ``ssh-keygen -l`` shows it.
    files
        Names with their SHA-256.
    source, built_by
        What its maker says that it was built from, and by what.
    """

    state: State
    key: str
    files: tuple[tuple[str, str], ...]
    source: str
    built_by: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "files": dict(self.files)}


def pre_authentication(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What DSSE signs (DSSE v1, PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def fingerprint_of(key: Ed25519PublicKey) -> str:
    """A key's fingerprint, as ``ssh-keygen -l`` shows it."""
    digest = hashlib.sha256(base64.b64decode(_blob_of(key))).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _blob_of(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]


def load_keys(path: PathLike) -> list[Ed25519PublicKey]:
    """Public keys of a file: lines of OpenSSH, those of an ``allowed_signers`` file too.

    Raises
    ------
    ReleaseRefused
    """
    path = as_path(path)
    found = []
    for line in _read(path).decode("utf-8", "replace").splitlines():
        at = line.find("ssh-ed25519 ")
        if line.startswith("#") or at < 0:
            continue
        try:
            key = load_ssh_public_key(" ".join(line[at:].split()[:2]).encode())
        except (ValueError, UnsupportedAlgorithm):
            continue
        if isinstance(key, Ed25519PublicKey):
            found.append(key)
    if not found:
        raise ReleaseRefused(f"There is no ed25519 key in {path}.", "It holds lines such as: ssh-ed25519 AAAA…")
    return found


def verify_release(folder: PathLike, trusted: Sequence[PathLike] = ()) -> Release:
    """Check a release's folder.

    Parameters
    ----------
    folder
        With all of its files, and nothing else.
    trusted
        Files with public keys that may have signed it; without any, the key beside it is taken.

    Raises
    ------
    ReleaseRefused
        Naming what is not as it was signed.
    """
    keyrings = as_paths(trusted)
    folder = as_path(folder)
    if not folder.is_dir():
        raise ReleaseRefused(f"{folder} is no folder with a release.", "Name the folder that SHA256SUMS is in.")
    keys = [key for path in (keyrings or [folder / PUBLIC_KEY]) for key in load_keys(path)]
    sums = _read(folder / SUMS)
    key = _check_signature(_read(folder / SIGNATURE), sums, keys, bool(keyrings))
    files = _check_files(folder, sums)
    statement = _check_provenance(folder, files, key)
    return Release("trusted" if keyrings else "valid", fingerprint_of(key), tuple(sorted(files.items())), *statement)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ReleaseRefused(f"{path.name} cannot be read: {error.strerror or error}.", _AGAIN) from error
    if len(found) > _MAX_BYTES:
        raise ReleaseRefused(f"{path.name} is far too large.", _AGAIN)
    return found


def _check_files(folder: Path, sums: bytes) -> dict[str, str]:
    files: dict[str, str] = {}
    for line in sums.decode("utf-8", "replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None or found[2] in files:
            raise ReleaseRefused(f"{SUMS} holds a line that is none of its own.", _AGAIN)
        files[found[2]] = found[1]
    for name, sha256 in files.items():
        if _hash(folder / name) != sha256:
            raise ReleaseRefused(f"{name} is not the file that was released.", _AGAIN)
    strange = sorted({path.name for path in folder.iterdir()} - {*files, SUMS, SIGNATURE})
    if strange:
        raise ReleaseRefused(
            f"{strange[0]} is no part of this release.", "Move it elsewhere, or get the release again."
        )
    return files


def _hash(path: Path) -> str:
    try:
        if path.is_symlink():
            raise ReleaseRefused(f"{path.name} is a link.", _AGAIN)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ReleaseRefused(f"{path.name} cannot be read: {error.strerror or error}.", _AGAIN) from error


def _check_signature(
    text: bytes, message: bytes, keys: Sequence[Ed25519PublicKey], has_named: bool
) -> Ed25519PublicKey:
    """The key that signed, by OpenSSH's format (PROTOCOL.sshsig)."""
    damaged = ReleaseRefused(f"{SIGNATURE} is no signature of this release.", _AGAIN)
    armour = _ARMOUR.fullmatch(text.decode("ascii", "replace"))
    if armour is None:
        raise damaged
    inner = armour[1].replace("\n", "")
    try:
        body = base64.b64decode(inner, validate=True)
        if base64.b64encode(body).decode() != inner or body[:6] != b"SSHSIG" or body[6:10] != b"\0\0\0\1":
            raise damaged
        parts, rest = [], body[10:]
        while rest:
            size = struct.unpack(">I", rest[:4])[0]
            if size > len(rest) - 4:
                raise damaged
            parts.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
        blob, namespace, reserved, algorithm, signature = parts
        digest = hashlib.new({b"sha512": "sha512", b"sha256": "sha256"}[algorithm], message).digest()
        size = struct.unpack(">I", signature[:4])[0]
        raw = signature[4 + size + 4 :]
    except (ValueError, KeyError, struct.error) as error:
        raise damaged from error
    if namespace != NAMESPACE.encode():
        raise damaged
    key = next((key for key in keys if base64.b64decode(_blob_of(key)) == blob), None)
    if key is None:
        raise ReleaseRefused(
            "This release was signed by a key that is not among the trusted ones."
            if has_named
            else f"This release was signed by another key than {PUBLIC_KEY}.",
            "Compare with the key that is published in docs/releases.md of the repository.",
        )
    signed = b"SSHSIG" + b"".join(
        struct.pack(">I", len(part)) + part for part in (namespace, reserved, algorithm, digest)
    )
    try:
        key.verify(raw, signed)
    except InvalidSignature as error:
        raise damaged from error
    return key


def _check_provenance(folder: Path, files: dict[str, str], key: Ed25519PublicKey) -> tuple[str, str]:
    """Source and builder, as the statement says them."""
    names = [name for name in files if name.endswith(".provenance.json")]
    refused = ReleaseRefused("The statement of how it was built does not fit the release.", _AGAIN)
    if len(names) != 1:
        raise refused
    try:
        envelope = json.loads(_read(folder / names[0]))
        payload = base64.b64decode(envelope["payload"], validate=True)
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise refused
        signatures = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]]
        if not any(_is_signed(key, one, pre_authentication(payload)) for one in signatures):
            raise refused
        statement = json.loads(payload)
        told = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
        build = statement["predicate"]["buildDefinition"]
        source = build["resolvedDependencies"][0]
        text = f"{source['uri']}@{source['digest']['gitCommit']}"
        builder = str(statement["predicate"]["runDetails"]["builder"]["id"])
        kinds = statement["_type"], statement["predicateType"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise refused from error
    wanted = {name: sha256 for name, sha256 in files.items() if name not in (names[0], PUBLIC_KEY)}
    if told != wanted or kinds != (STATEMENT, PREDICATE):
        raise refused
    return text, builder


def _is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
