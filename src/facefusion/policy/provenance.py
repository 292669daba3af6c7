"""Signing an output: the very last thing that is done to it, once (home of C2PA).

A file that can hold a manifest gets it, others get a sidecar of their own name with ``.c2pa`` behind it, which is bound
to them by hash. See docs/provenance.md and ADR 19.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from facefusion.errors import OutputRefused, SigningRefused
from facefusion.policy.container import MEDIA_TYPES, kind_of, outer_hash, spare_hash
from facefusion.policy.credentials import load_c2pa
from facefusion.policy.signing import Signer
from facefusion.policy.statement import PARENT, Statement
from facefusion.workplace import refusal

SIDECAR = ".c2pa"
HELD = {".mp4", ".m4v", ".mov", ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
"""Endings of outputs that hold their manifest themselves."""
_OTHER = "application/octet-stream"
_HEAD = 4096
Where = Literal["inside", "beside", "off", "unchanged"]


@dataclass(frozen=True, slots=True)
class Signed:
    """How an output is signed, as it is kept with its job.

    Attributes
    ----------
    where
        Whether the manifest is inside or beside the output; ``off`` where the site signs nothing, ``unchanged`` where
        the output is the target itself, byte for byte.
    manifest
        Its label.
    signer
        SHA-256 of the certificate that signed.
    is_local
        Whether that is the identity of a machine, which is on no list.
    unsigned_sha256
        Of the output before it was signed: this is the same however it was made.
    """

    where: Where
    manifest: str = ""
    signer: str = ""
    is_local: bool = False
    unsigned_sha256: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Signed:
        """What `as_dict` gave."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**known)


def sidecar_of(path: Path) -> Path:
    """Where the manifest of a file lies that cannot hold one."""
    return path.with_name(path.name + SIDECAR)


def wants_sidecar(path: Path) -> bool:
    """Whether an output of this name cannot hold its manifest."""
    return path.suffix.lower() not in HELD


def is_sidecar(path: Path) -> bool:
    """Whether a file is a manifest beside another: by its name and its first bytes."""
    try:
        # Opening a pipe would wait for whoever writes into it.
        if path.suffix.lower() != SIDECAR or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(8)[4:] == b"jumb"
    except OSError:
        return False


def drop_sidecar(output: Path) -> None:
    """Take away the manifest of an output that was here before.

    Raises
    ------
    OutputRefused
    """
    path = sidecar_of(output)
    if is_sidecar(path):
        try:
            path.unlink()
        except OSError as error:
            raise refusal(error, path) from error


def sign(path: Path, statement: Statement, signer: Signer, asked: Path | None = None) -> Signed:
    """Sign a finished output in its working folder; nothing may be done to it afterwards.

    Parameters
    ----------
    path
        The output, replaced by the signed one. Its sidecar, where it needs one, is made beside it.
    statement
        What is said of it.
    signer
        Who says so.
    asked
        The name that it is going to have, for errors.

    Raises
    ------
    SigningRefused
        When the key does not sign.
    OutputRefused
        When there is no room.
    """
    c2pa = load_c2pa()

    with path.open("rb") as file:
        unsigned = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        kind = kind_of(file.read(_HEAD))
    media_type = MEDIA_TYPES.get(kind, _OTHER)
    is_inside = bool(kind) and not wants_sidecar(asked or path)
    facts = {"unsigned_sha256": unsigned}
    if is_inside:
        with mapped(path) as content:
            facts["outer_sha256"] = outer_hash(content, kind)
            facts["spare_sha256"] = spare_hash(content, kind)
    made = path.with_name(f"{path.name[:32]}.signed") if is_inside else None  # names may have no room
    try:
        with _own_errors(asked or path), ExitStack() as stack:
            context = stack.enter_context(c2pa.Context.from_dict(_SETTINGS))
            label = _sign(stack, context, path, made, media_type, statement, signer, facts)
            if made is not None:
                stack.close()
                os.replace(made, path)
    except OSError as error:
        raise refusal(error, asked or path) from error
    finally:
        if made is not None:
            made.unlink(missing_ok=True)
    return Signed("inside" if is_inside else "beside", label, signer.fingerprint, signer.is_local, unsigned)


_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_trust": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
"""No pictures, and nothing is asked of the network."""


def _sign(
    stack: ExitStack,
    context: Any,
    path: Path,
    made: Path | None,
    media_type: str,
    statement: Statement,
    signer: Signer,
    facts: Mapping[str, str],
) -> str:
    c2pa = load_c2pa()

    told = statement.manifest(media_type, facts)
    parent, opened = _parent(stack, context, statement)
    if parent is not None:
        pictures = [] if opened is None else _pictures(context, *opened)
        actions = told["assertions"][0]["data"]["actions"]
        for uri in pictures:
            reason = "c2pa.PII.present"
            actions.append({"action": "c2pa.redacted", "reason": reason, "parameters": {"redacted": uri}})
        if pictures:
            told["redactions"] = pictures
        if opened is None:
            told["ingredients"].insert(0, parent)
    builder = stack.enter_context(c2pa.Builder.from_json(json.dumps(told), context))
    if opened is not None:
        opened[1].seek(0)
        builder.add_ingredient(json.dumps(parent), *opened)
    with path.open("rb") as source:
        if made is None:
            builder.set_no_embed()
            with open(os.devnull, "w+b") as nowhere:
                store = builder.sign(_c2pa_signer(stack, signer), media_type, source, nowhere)
        else:
            with made.open("w+b") as goal:
                store = builder.sign(_c2pa_signer(stack, signer), media_type, source, goal)
    if made is None:
        sidecar_of(path).write_bytes(store)
    return _label(store)


def _parent(
    stack: ExitStack, context: Any, statement: Statement
) -> tuple[dict[str, Any] | None, tuple[str, IO[bytes]] | None]:
    """The target as an ingredient, and where it has a manifest of its own: its media type and the open file."""
    c2pa = load_c2pa()

    target = statement.target
    if target is None:
        return None, None
    parent: dict[str, Any] = {"relationship": "parentOf", "label": PARENT}
    if target.sha256:
        parent["instance_id"] = f"sha256:{target.sha256}"
    if target.open is None:
        return parent, None
    file = stack.enter_context(target.open())
    media_type = MEDIA_TYPES.get(kind_of(file.read(_HEAD)), "")
    if not media_type:
        return parent, None
    file.seek(0)
    try:
        with c2pa.Reader(media_type, file, context=context):
            return parent, (media_type, file)
    except c2pa.C2paError:  # it has none, or one that nobody can read
        return parent, None


def _pictures(context: Any, media_type: str, file: IO[bytes]) -> list[str]:
    """Thumbnails in the manifests of a target: they show the old face."""
    c2pa = load_c2pa()

    file.seek(0)
    with c2pa.Reader(media_type, file, context=context) as reader:
        manifests = json.loads(reader.json())["manifests"]
    found = []
    for label, manifest in manifests.items():
        thumbnails = [manifest.get("thumbnail"), *(one.get("thumbnail") for one in manifest.get("ingredients", ()))]
        for thumbnail in thumbnails:
            name = str((thumbnail or {}).get("identifier", "")).replace("self#jumbf=", "")
            if "c2pa.thumbnail" in name:
                found.append(f"self#jumbf={name}" if name.startswith("/") else f"self#jumbf=/c2pa/{label}/{name}")
    return list(dict.fromkeys(found))


def _c2pa_signer(stack: ExitStack, signer: Signer) -> Any:
    c2pa = load_c2pa()

    algorithm = c2pa.C2paSigningAlg[signer.algorithm.upper()]
    if signer.callback is not None:
        made = c2pa.Signer.from_callback(signer.callback, algorithm, signer.chain.decode())
    else:
        about = c2pa.C2paSignerInfo(alg=algorithm, sign_cert=signer.chain, private_key=signer.key, ta_url=None)
        made = c2pa.Signer.from_info(about)
    return stack.enter_context(made)


def _label(store: bytes) -> str:
    """Label of the manifest that was made last."""
    at = store.rfind(b"urn:c2pa:", 0, store.find(b"c2pa.assertions", store.rfind(b"jumdc2ma")))
    return store[at : store.index(b"\0", at)].decode("ascii", "replace") if at >= 0 else ""


@contextmanager
def mapped(path: Path) -> Iterator[Any]:
    """A file as bytes that take no memory."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


@contextmanager
def _own_errors(path: Path) -> Iterator[None]:
    c2pa = load_c2pa()

    try:
        yield
    except c2pa.C2paError as error:
        text = str(error).split("\n", maxsplit=1)[0][:200].rstrip(".")
        if isinstance(error, c2pa.C2paError.Io):
            raise OutputRefused(f"{path} cannot be signed: {text}.", "Free some space; then try again.") from error
        raise SigningRefused(
            f"{path} cannot be signed: {text}.", "Check the certificate and key that sign (facefusion doctor)."
        ) from error
