"""Bundles for machines without a network: one archive, a signed manifest, verified before anything is unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from facefusion.errors import BundleRefused, ModelMissing
from facefusion.models.licences import check_licence
from facefusion.models.spec import ModelSpec, parse_spec
from facefusion.models.store import ModelStore, OnBytes, missing

FORMAT = "facefusion-bundle-1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MAX_MANIFEST_BYTES = 4 << 20
_ROOM = 64 << 20
_CHUNK = 1 << 20
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,199}")


def load_or_make_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs bundles; made on first use, readable by its owner alone.

    Raises
    ------
    BundleRefused
        When the file is no ed25519 key.
    """
    if path.exists():
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise BundleRefused(f"{path} is not a private key: {error}.", "Name another with --key.") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BundleRefused(f"{path} is not an ed25519 key.", "Name another with --key.")
        return key
    made = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def public_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Public half of a key, 64 hexadecimal digits: what the other side trusts."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def export_bundle(
    path: Path, specs: Sequence[ModelSpec], store: ModelStore, key: Ed25519PrivateKey, on_bytes: OnBytes
) -> None:
    """Write models with their specifications into one signed archive.

    Parameters
    ----------
    path
        Archive to write, under a temporary name until it is complete.
    specs
        Models; each licence must be accepted and every file must be here and verify.
    store, key
        Where the files are, and what signs.
    on_bytes
        Called as bytes are written.

    Raises
    ------
    LicenceRefused, ModelMissing, HashMismatch, BundleRefused
    """
    files: dict[str, Path] = {}
    models = []
    for spec in specs:
        check_licence(spec, store.licences)
        hashes = store.verify(spec)
        for file in spec.files:
            found = store.find(spec, file)
            if found is None:
                raise missing(spec, file)
            if file.name in files and files[file.name] != found:
                raise BundleRefused(f"Two models have a file {file.name}.", "Export them one by one.")
            files[file.name] = found
        models.append({"spec": write_spec(spec, hashes), "id": spec.id})
    entries = {
        name: {"sha256": store.hash_of(found), "size_bytes": found.stat().st_size} for name, found in files.items()
    }
    manifest = json.dumps({"format": FORMAT, "models": models, "files": entries}, indent=1, sort_keys=True).encode()
    partial = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(MANIFEST, manifest)
            archive.writestr(SIGNATURE, f"{public_text(key)} {key.sign(manifest).hex()}\n")
            for name, found in files.items():
                total = found.stat().st_size
                with found.open("rb") as source, archive.open(name, "w", force_zip64=True) as member:
                    _copy(source, member, name, total, on_bytes)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def import_bundle(path: Path, store: ModelStore, trusted: Sequence[str], on_bytes: OnBytes) -> list[ModelSpec]:
    """Take the models of a bundle in.

    Parameters
    ----------
    path
        The archive.
    store
        Files go to its home, under a temporary name until their hash is right.
    trusted
        Public keys, 64 hexadecimal digits each; the bundle must be signed by one of them.
    on_bytes
        Called as bytes are unpacked.

    Returns
    -------
    The models.

    Raises
    ------
    BundleRefused
        Before anything is written: no archive, not signed by a trusted key, names with folders, members that are not
        in the manifest, more bytes than there is room for.
    LicenceRefused
        Before anything is written.
    """
    if not path.is_file():
        raise ModelMissing(f"There is no bundle {path}.", "Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _read_manifest(archive, trusted, path)
            specs = [
                parse_spec(model["spec"], f"{path}: {model['id']}", "local", store.home) for model in manifest["models"]
            ]
            for spec in specs:
                check_licence(spec, store.licences)
                lacking = [file.name for file in spec.files if file.name not in manifest["files"]]
                if lacking:
                    raise BundleRefused(f"{path} lacks {lacking[0]} of {spec.id}.", _AGAIN)
            _check_members(archive, manifest["files"], store.home, path)
            store.home.mkdir(parents=True, exist_ok=True)
            for name, entry in manifest["files"].items():
                _unpack(archive, name, entry, store.home, on_bytes, path)
    except zipfile.BadZipFile as error:
        raise BundleRefused(f"{path} is not a bundle: {error}.", _AGAIN) from error
    known = store.catalog()
    for spec, model in zip(specs, manifest["models"], strict=True):
        if spec.id not in known:
            (store.home / f"{spec.id.replace('/', '__')}.toml").write_text(model["spec"], encoding="utf-8")
        for file in known.get(spec.id, spec).files:
            if not file.sha256 and file.name in manifest["files"]:
                store.pin(known.get(spec.id, spec), file, manifest["files"][file.name]["sha256"])
    return specs


_AGAIN = "Make the bundle again with 'facefusion models export'."


def _read_manifest(archive: zipfile.ZipFile, trusted: Sequence[str], path: Path) -> dict[str, Any]:
    names = archive.namelist()
    if names.count(MANIFEST) != 1 or names.count(SIGNATURE) != 1:
        raise BundleRefused(f"{path} has no signed manifest.", _AGAIN)
    for name in (MANIFEST, SIGNATURE):
        if archive.getinfo(name).file_size > MAX_MANIFEST_BYTES:
            raise BundleRefused(f"{name} in {path} is far too large.", _AGAIN)
    content = archive.open(MANIFEST).read(MAX_MANIFEST_BYTES)
    try:
        signer, signature = archive.open(SIGNATURE).read(1024).decode("ascii").split()
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer))
        public.verify(bytes.fromhex(signature), content)
    except (ValueError, InvalidSignature) as error:
        raise BundleRefused(
            f"The signature of {path} is wrong; it was changed or damaged.", "Fetch it again."
        ) from error
    if signer not in {key.strip().lower() for key in trusted}:
        raise BundleRefused(
            f"{path} is signed by {signer}, which is not trusted here.",
            f"If that is the key of the people you have it from: --trust {signer}",
        )
    try:
        manifest: dict[str, Any] = json.loads(content)
        is_ours = manifest["format"] == FORMAT and isinstance(manifest["files"], dict)
    except (ValueError, KeyError, TypeError) as error:
        raise BundleRefused(f"The manifest of {path} cannot be read.", _AGAIN) from error
    if not is_ours:
        raise BundleRefused(f"{path} has another format than {FORMAT}.", "Update facefusion.")
    return manifest


def _check_members(archive: zipfile.ZipFile, files: dict[str, Any], folder: Path, path: Path) -> None:
    found = [info for info in archive.infolist() if info.filename not in (MANIFEST, SIGNATURE)]
    names = [info.filename for info in found]
    if len(set(names)) != len(names) or set(names) != set(files):
        raise BundleRefused(f"What is in {path} is not what its manifest lists.", _AGAIN)
    for info in found:
        is_plain = bool(_PLAIN.fullmatch(info.filename)) and ".." not in info.filename
        if not is_plain or info.is_dir():
            raise BundleRefused(f"{path} has a file with the name {info.filename!r}.", "Names may not hold folders.")
        if info.file_size != files[info.filename]["size_bytes"]:
            raise BundleRefused(f"{info.filename} in {path} has another size than its manifest says.", _AGAIN)
    total = sum(info.file_size for info in found)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if total > free - _ROOM:
        raise BundleRefused(f"{path} unpacks to {total} bytes; {free} are free in {folder}.", "Make room.")


def _unpack(
    archive: zipfile.ZipFile, name: str, entry: dict[str, Any], folder: Path, on_bytes: OnBytes, path: Path
) -> None:
    partial = folder / f".{name}.part"
    try:
        with archive.open(name) as member, partial.open("wb") as out:
            # A member that unpacks to more than it says is cut off here.
            digest = _copy(member, out, name, int(entry["size_bytes"]), on_bytes)
        if digest != entry["sha256"]:
            raise BundleRefused(f"{name} in {path} is not the file its manifest names.", _AGAIN)
        partial.replace(folder / name)
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: IO[bytes], out: IO[bytes], name: str, size: int, on_bytes: OnBytes) -> str:
    digest, done = hashlib.sha256(), 0
    while done < size and (chunk := source.read(min(_CHUNK, size - done))):
        out.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        on_bytes(name, done, size)
    return digest.hexdigest()


def write_spec(spec: ModelSpec, hashes: dict[str, str]) -> str:
    """A specification as TOML, with the hashes that were found."""
    number = json.dumps
    lines = [
        f"{name} = {number(getattr(spec, name))}"
        for name in (
            "id",
            "version",
            "capability",
            "family",
            "licence",
            "licence_source",
            "commercial",
            "vendor",
            "year",
            "precision",
        )
    ]
    for file in spec.files:
        lines += ["", "[[files]]", f"name = {number(file.name)}", f"sha256 = {number(hashes[file.name])}"]
        if file.size_bytes:
            lines.append(f"size_bytes = {file.size_bytes}")
        lines.append(f"urls = {number(list(file.urls))}")
    prepared = spec.preprocess
    lines += ["", "[preprocess]", f"template = {number(prepared.template)}", f"size = {prepared.size}"]
    lines += [f"colour = {number(prepared.colour)}", f"mean = {list(prepared.mean)}", f"std = {list(prepared.std)}"]
    for side in ("inputs", "outputs"):
        table = getattr(spec, side)
        lines += ["", f"[{side}]"]
        lines += [f"{number(name)} = {[-1 if n is None else n for n in shape]}" for name, shape in table.items()]
    for table_name in ("options", "figures"):
        lines += ["", f"[{table_name}]"]
        lines += [f"{number(name)} = {number(value)}" for name, value in getattr(spec, table_name).items()]
    return "\n".join(lines) + "\n"
