"""Bundles for machines without a network: one archive, a signed manifest, verified before anything is unpacked."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated

import tomli_w
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field

from facefusion.documents import border
from facefusion.errors import BundleRefused, FaceFusionError, ModelMissing, OutputRefused
from facefusion.models.licences import check_licence
from facefusion.models.spec import ModelSpec, parse_spec
from facefusion.models.store import ModelStore, OnBytes, missing
from facefusion.wording import agreed, counted
from facefusion.writing import replacing, save_bytes, save_private

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
    save_private(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
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
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(MANIFEST, manifest)
        archive.writestr(SIGNATURE, f"{public_text(key)} {key.sign(manifest).hex()}\n")
        for name, found in files.items():
            total = found.stat().st_size
            with found.open("rb") as source, archive.open(name, "w", force_zip64=True) as member:
                _copy(source, member, name, total, on_bytes)


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
    known = store.catalog()
    with border(BundleRefused, f"{path} is damaged", _AGAIN), zipfile.ZipFile(path) as archive:
        manifest = _read_manifest(archive, trusted, path)
        specs = [parse_spec(model.spec, f"{path}: {model.id}", "local", store.home) for model in manifest.models]
        for spec, model in zip(specs, manifest.models, strict=True):
            if spec.id != model.id:
                raise BundleRefused(f"{path} calls a model {model.id!r} and {spec.id!r}.", _AGAIN)
            # Of a model that is known here, what is known here counts: its licence and its files.
            spec = known.get(spec.id, spec)
            check_licence(spec, store.licences)
            if spec.origin == "embedded":
                raise BundleRefused(f"{path} brings {spec.id}, which is built in.", "Leave it out of the bundle.")
            lacking = [file.name for file in spec.files if file.name not in manifest.files]
            if lacking:
                raise BundleRefused(f"{path} lacks {lacking[0]} of {spec.id}.", _AGAIN)
            for file in spec.files:
                if file.sha256 and file.sha256 != manifest.files[file.name].sha256:
                    raise BundleRefused(f"{file.name} in {path} is not the file that {spec.id} has.", _AGAIN)
        _check_members(archive, manifest.files, store.home, path)
        strange = set(manifest.files) - {file.name for spec in specs for file in spec.files}
        if strange:
            raise BundleRefused(f"{path} brings {sorted(strange)[0]}, which is no file of its models.", _AGAIN)
        with _writing(store.home):
            for name, entry in manifest.files.items():
                _unpack(archive, name, entry, store.home, on_bytes, path)
    with _writing(store.home):
        for spec, model in zip(specs, manifest.models, strict=True):
            if spec.id not in known:
                save_bytes(store.home / f"{spec.id.replace('/', '__')}.toml", model.spec.encode())
            for file in known.get(spec.id, spec).files:
                if not file.sha256:
                    store.pin(known.get(spec.id, spec), file, manifest.files[file.name].sha256)
    return specs


class _Listed(BaseModel):
    """A file as a manifest lists it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0, le=1 << 40)]


class _Model(BaseModel):
    """A model as a manifest lists it: its entry as TOML."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str
    spec: str


class _Manifest(BaseModel):
    """What is in a bundle."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format: str
    models: list[_Model]
    files: dict[str, _Listed]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Our words for what keeps a folder from being written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if isinstance(error, FaceFusionError):
            raise
        raise OutputRefused(
            f"{folder} cannot be written: {error.strerror or error}.", "Make room, or choose another folder."
        ) from error


_AGAIN = "Make the bundle again with 'facefusion models export'."


def _read_manifest(archive: zipfile.ZipFile, trusted: Sequence[str], path: Path) -> _Manifest:
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
    with border(BundleRefused, f"The manifest of {path} cannot be read", _AGAIN):
        told = json.loads(content)
        if isinstance(told, dict) and told.get("format", FORMAT) != FORMAT:
            raise BundleRefused(f"{path} has another format than {FORMAT}.", "Update facefusion.")
        return _Manifest.model_validate(told)


def _check_members(archive: zipfile.ZipFile, files: Mapping[str, _Listed], folder: Path, path: Path) -> None:
    found = [info for info in archive.infolist() if info.filename not in (MANIFEST, SIGNATURE)]
    names = [info.filename for info in found]
    if len(set(names)) != len(names) or set(names) != set(files):
        raise BundleRefused(f"What is in {path} is not what its manifest lists.", _AGAIN)
    for info in found:
        is_plain = bool(_PLAIN.fullmatch(info.filename)) and ".." not in info.filename
        if info.filename.lower() == "pins.json" or info.filename.lower().endswith(".toml"):
            raise BundleRefused(f"{path} has a file {info.filename!r}.", "Bundles hold model files and nothing else.")
        if not is_plain or info.is_dir():
            raise BundleRefused(f"{path} has a file with the name {info.filename!r}.", "Names may not hold folders.")
        if info.file_size != files[info.filename].size_bytes:
            raise BundleRefused(f"{info.filename} in {path} has another size than its manifest says.", _AGAIN)
    total = sum(info.file_size for info in found)
    with _writing(folder):
        free = shutil.disk_usage(folder).free
    if total > free - _ROOM:
        raise BundleRefused(
            f"{path} unpacks to {counted(total, 'byte')}; {free} {agreed(free, 'is', 'are')} free in {folder}.",
            "Make room.",
        )


def _unpack(archive: zipfile.ZipFile, name: str, entry: _Listed, folder: Path, on_bytes: OnBytes, path: Path) -> None:
    with replacing(folder / name) as partial:
        with archive.open(name) as member, partial.open("wb") as out:
            # A member that unpacks to more than it says is cut off here.
            digest = _copy(member, out, name, entry.size_bytes, on_bytes)
        if digest != entry.sha256:
            raise BundleRefused(f"{name} in {path} is not the file its manifest names.", _AGAIN)


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
    names = (
        "id", "version", "capability", "family", "licence", "licence_source", "commercial", "vendor", "year",
        "precision",
    )  # fmt: skip
    files = [
        {"name": f.name, "sha256": hashes[f.name], "size_bytes": f.size_bytes, "urls": list(f.urls)} for f in spec.files
    ]
    sides = {
        side: {name: [-1 if n is None else n for n in shape] for name, shape in getattr(spec, side).items()}
        for side in ("inputs", "outputs")
    }
    tables = {"options": dict(spec.options), "figures": dict(spec.figures)}
    told = {name: getattr(spec, name) for name in names}
    return tomli_w.dumps({**told, "files": files, "preprocess": asdict(spec.preprocess), **sides, **tables})
