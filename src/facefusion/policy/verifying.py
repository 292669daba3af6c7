"""What a file says of how it was made, and whether that can be believed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from facefusion.errors import MediaMissing, MediaUnreadable, RecipeError
from facefusion.policy.container import (
    MEDIA_TYPES,
    Damaged,
    check_manifest,
    check_spare,
    check_store,
    has_traces,
    kind_of,
    outer_hash,
)
from facefusion.policy.credentials import load_c2pa
from facefusion.policy.provenance import SIDECAR, is_sidecar, mapped, sidecar_of
from facefusion.policy.statement import LABEL, SOFTWARE

State = Literal["trusted", "valid", "tampered", "marked-only", "none"]
FindMark = Callable[[Path], str | None]
"""Finds the invisible mark of a file: its id, hexadecimal, or None."""
_OTHER = "application/octet-stream"
_MAX_SIDECAR_BYTES = 64 << 20
_OF_THE_SIGNER = ("signingCredential.", "claimSignature.outsideValidity", "timeStamp.", "timeOfSigning.")
"""What is wrong with who signed, and not with what was signed."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed.

    Attributes
    ----------
    organisation, name, serial
        As the certificate says.
    algorithm
        Of the key.
    at
        When, as a time authority vouches for it; empty where none was asked.
    """

    organisation: str
    name: str
    serial: str
    algorithm: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """What a file was made of.

    Attributes
    ----------
    role
        ``parentOf`` for the target, ``inputTo`` for sources.
    sha256
        Of the file; empty where it is not told.
    manifest
        Label of its own manifest, which is kept in this one; empty where it had none.
    """

    role: str
    sha256: str
    manifest: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file says of how it was made.

    Attributes
    ----------
    state
        ``trusted``: intact, by somebody on the list that was given. ``valid``: intact, by somebody who is on none.
        ``tampered``: changed since it was signed. ``marked-only``: not signed any more, but marked. ``none``.
    is_own
        Whether the identity of this machine, or the certificate of this site, signed.
    is_beside
        Whether the manifest lies in a file of its own.
    manifest
        Its label.
    signature
        Who signed.
    software, version
        What made the file.
    actions
        What was done, as C2PA calls it: ``c2pa.edited``.
    digital_source_type
        Last word of its address at IPTC.
    when
        By the clock of whoever signed.
    models
        That ran: id, licence, SHA-256.
    ingredients
        What it was made of.
    recipe
        What was asked for.
    job
        Id of the job.
    policy
        What the site checked before and after: consents by their references, blocklist, content.
    watermark
        Id of the invisible mark.
    unsigned_sha256
        Of the file before it was signed.
    problems
        Codes of C2PA of what is wrong.
    """

    state: State
    is_own: bool = False
    is_beside: bool = False
    manifest: str = ""
    signature: Signature | None = None
    software: str = ""
    version: str = ""
    actions: tuple[str, ...] = ()
    digital_source_type: str = ""
    when: str = ""
    models: tuple[Mapping[str, str], ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    job: str = ""
    policy: Mapping[str, Any] | None = None
    watermark: str = ""
    unsigned_sha256: str = ""
    problems: tuple[str, ...] = ()


def verify(
    path: Path, anchors: bytes = b"", own: bytes = b"", find_mark: FindMark | None = None, sidecar: Path | None = None
) -> Finding:
    """Find out what a file says of how it was made.

    Parameters
    ----------
    path
        Photo or clip; a manifest beside one stands for the file that it is of.
    anchors
        Certificates of authorities that are trusted, as PEM; empty trusts nobody.
    own
        Certificates of this machine or site, as PEM.
    find_mark
        Looks for the invisible mark where there is no manifest; None does not look.
    sidecar
        The manifest beside it; None looks where it should be.

    Raises
    ------
    MediaMissing, MediaUnreadable
        When the file cannot be read, or a manifest lies there alone.
    """
    if sidecar is None and is_sidecar(path):
        path, sidecar = _subject(path), path
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        with mapped(path) as content:
            is_traced = has_traces(content)
    except FileNotFoundError as error:
        raise MediaMissing(f"There is no file {path}.", "Check the path.") from error
    except OSError as error:
        reason = error.strerror or error
        raise MediaUnreadable(f"{path} cannot be read: {reason}.", "Check its rights; name a file.") from error
    kind = kind_of(head)
    beside = _sidecar(path) if sidecar is None else sidecar
    if kind and is_traced:
        return _look(path, kind, None, anchors, own)
    if beside is not None:
        return _look(path, kind, beside, anchors, own)
    if is_traced:  # the head of the file is not what it was
        return Finding("tampered", problems=("manifest.inaccessible",))
    mark = find_mark(path) if find_mark is not None else None
    return Finding("none") if mark is None else Finding("marked-only", watermark=mark)


def load_anchors(path: Path) -> bytes:
    """Certificates of authorities that are trusted.

    Raises
    ------
    RecipeError
        When there are none in the file.
    """
    from cryptography import x509

    try:
        content = path.read_bytes()
        x509.load_pem_x509_certificates(content)
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}.", "Check --trust.") from error
    except ValueError as error:
        raise RecipeError(f"There are no certificates in {path}.", "Name a PEM file with --trust.") from error
    return content


def unsigned_hash(path: Path) -> str:
    """SHA-256 of a file before it was signed: outputs of one request share it, however they were made.

    Raises
    ------
    ValueError
        When the file was changed since it was signed.
    """
    found = verify(path)
    if found.state == "tampered":
        raise ValueError(f"{path} was changed since it was signed: {found.problems}")
    if found.unsigned_sha256:
        return found.unsigned_sha256
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sidecar(path: Path) -> Path | None:
    """The manifest beside a file: ours, or one of other programs, which leave its ending out."""
    ours, others = sidecar_of(path), path.with_suffix(SIDECAR)
    if os.path.isfile(ours):  # also where the name is too long to be one
        return ours
    return others if others != path and is_sidecar(others) else None


def _subject(manifest: Path) -> Path:
    """The file that a manifest beside it is of."""
    path = manifest.with_suffix("")
    if not os.path.isfile(path):
        raise MediaMissing(
            f"{manifest} is a manifest; {path.name}, the file that it is of, is not beside it.",
            "Put the two into one folder, and name the photo or clip.",
        )
    return path


def _look(path: Path, kind: str, beside: Path | None, anchors: bytes, own: bytes) -> Finding:
    told, failures = _read(path, kind, beside, anchors)
    if told is None:
        return Finding("tampered", is_beside=beside is not None, problems=tuple(failures))
    try:
        finding = _told(told, beside is not None)
    except (AttributeError, TypeError, KeyError, ValueError):  # it says what no manifest says
        return Finding("tampered", is_beside=beside is not None, problems=("manifest.unreadable", *failures))
    is_ours = finding.software == SOFTWARE
    spoilt = [code for code in failures if not code.startswith(_OF_THE_SIGNER)]
    if is_ours and not spoilt:
        spoilt = _inspect(path, kind, beside, told)
    state: State = "valid"
    if spoilt:
        state = "tampered"
    elif anchors and not failures:
        state = "trusted"
    is_own = False
    if own and not spoilt:
        is_own = not _read(path, kind, beside, own)[1]
    return _with(finding, state, is_own, (*failures, *(code for code in spoilt if code not in failures)))


def _with(finding: Finding, state: State, is_own: bool, problems: Sequence[str]) -> Finding:
    return replace(finding, state=state, is_own=is_own, problems=tuple(dict.fromkeys(problems)))


def _read(path: Path, kind: str, beside: Path | None, anchors: bytes) -> tuple[dict[str, Any] | None, list[str]]:
    """What the manifests say, and codes of what is wrong with the newest."""
    c2pa = load_c2pa()

    settings: dict[str, Any] = {
        "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
        "trust": {"user_anchors": anchors.decode("ascii", "ignore")} if anchors else {},
    }
    media_type = _OTHER if beside is not None else MEDIA_TYPES[kind]
    try:
        with ExitStack() as stack:
            context = stack.enter_context(c2pa.Context.from_dict(settings))
            file = stack.enter_context(path.open("rb"))
            store = None
            if beside is not None:
                with beside.open("rb") as other:
                    store = other.read(_MAX_SIDECAR_BYTES)
            reader = stack.enter_context(c2pa.Reader(media_type, file, manifest_data=store, context=context))
            told: dict[str, Any] = json.loads(reader.json())
    except (c2pa.C2paError, OSError, ValueError, TypeError) as error:
        return None, [f"manifest.unreadable: {str(error)[:120]}"]
    results = told.get("validation_results") or {}
    wrong = [dict(one) for one in (results.get("activeManifest") or {}).get("failure", ())]
    for delta in results.get("ingredientDeltas") or ():
        wrong += (delta.get("validationDeltas") or {}).get("failure", ())
    return told, [str(one.get("code", "")) for one in wrong]


def _told(told: Mapping[str, Any], is_beside: bool) -> Finding:
    label = str(told.get("active_manifest", ""))
    manifest = told.get("manifests", {}).get(label, {})
    assertions = {one.get("label"): one.get("data") or {} for one in manifest.get("assertions", ())}
    actions = [one for key in ("c2pa.actions.v2", "c2pa.actions") for one in assertions.get(key, {}).get("actions", ())]
    own = assertions.get(LABEL, {})
    generator = (manifest.get("claim_generator_info") or [{}])[0]
    signed = manifest.get("signature_info")
    return Finding(
        "valid",
        is_beside=is_beside,
        manifest=label,
        signature=signed
        and Signature(
            *(str(signed.get(key) or "") for key in ("issuer", "common_name", "cert_serial_number", "alg", "time"))
        ),
        software=str(generator.get("name", "")),
        version=str(generator.get("version", "")),
        actions=tuple(dict.fromkeys(str(one.get("action", "")) for one in actions)),
        digital_source_type=next(
            (
                str(one["digitalSourceType"]).rsplit("/", 1)[-1]
                for one in reversed(actions)
                if "digitalSourceType" in one
            ),
            "",
        ),
        when=next((str(one["when"]) for one in reversed(actions) if "when" in one), ""),
        models=tuple({str(k): str(v) for k, v in model.items()} for model in own.get("models", ())),
        ingredients=tuple(
            Ingredient(
                str(one.get("relationship", "")),
                str(one.get("instance_id", "")).removeprefix("sha256:")
                if str(one.get("instance_id", "")).startswith("sha256:")
                else "",
                str(one.get("active_manifest") or ""),
            )
            for one in sorted(manifest.get("ingredients", ()), key=lambda one: one.get("relationship") != "parentOf")
        ),
        recipe=_object(own, "recipe") or {},
        job=str(own.get("job", "")),
        policy=_object(own, "policy"),
        watermark=str(own.get("watermark", "")),
        unsigned_sha256=str(own.get("unsigned_sha256", "")),
    )


def _object(values: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    found = values.get(name)
    return found if isinstance(found, dict) else None


def _inspect(path: Path, kind: str, beside: Path | None, told: Mapping[str, Any]) -> list[str]:
    """What C2PA does not look at in a file of ours."""
    label = told["active_manifest"]
    own: Mapping[str, Any] = next(
        (one["data"] for one in told["manifests"][label]["assertions"] if one["label"] == LABEL), {}
    )
    count = len(_hashed(told["manifests"], label))
    try:
        with mapped(path) as content:
            if beside is not None:
                check_manifest(beside.read_bytes(), count)
                if hashlib.sha256(content).hexdigest() != own.get("unsigned_sha256"):
                    raise Damaged("another file")
            else:
                check_store(content, kind, count)
                if outer_hash(content, kind) != own.get("outer_sha256"):
                    raise Damaged("the type of the container")
                check_spare(content, kind, own.get("spare_sha256"))
    except Damaged as error:
        return [f"facefusion.changed: {error}"]
    return []


def _hashed(manifests: Mapping[str, Any], label: str) -> set[str]:
    """Labels of a manifest and of all that it refers to: each is hashed by the one that names it."""
    found: set[str] = set()
    left = [label]
    while left:
        one = left.pop()
        if one in manifests and one not in found:
            found.add(one)
            left += [str(part.get("active_manifest") or "") for part in manifests[one].get("ingredients", ())]
    return found
