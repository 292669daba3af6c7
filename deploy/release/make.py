"""Makes a release without any service: ``python deploy/release/make.py OUT --key KEY`` (``make release``).

The wheel is built twice, from two copies of the commit in two folders, and has to be the same to the byte. Beside it
lie a bill of materials (CycloneDX 1.6: Python packages, models, packages of the system), notices of third parties,
a statement of how it was built, checksums over all of it and their signature. See docs/releases.md.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from packaging.requirements import Requirement

from facefusion.models.catalog import load_catalog
from facefusion.service.releases import (
    NAMESPACE,
    PAYLOAD_TYPE,
    PREDICATE,
    PUBLIC_KEY,
    STATEMENT,
    SUMS,
    fingerprint_of,
    pre_authentication,
    verify_release,
)
from facefusion.version import DISTRIBUTION

ROOT = Path(__file__).parents[2]
EXTRAS = ("server", "worker", "report", "storage", "models", "metrics")
"""What the containers install; the bill of materials has them all."""
REPOSITORY = os.environ.get("FACEFUSION_RELEASE_SOURCE", "urn:facefusion:repository")
"""What the statement says that it was built from, such as git+https://host/path."""
DATA = {
    "face_mesh.safetensors": "made by training/build_topology.py",
    "face_relief.safetensors": "docs/models/face_relief.md",
    "face_shape.safetensors": "docs/models/face_shape.md",
    "synthetic_faces.safetensors": "docs/models/synthetic_faces.md",
}
"""Weights in the wheel that are no model of the catalogue, and where it is told what they are; all of them Apache-2.0."""
BUILDER = "urn:facefusion:builder:make-release"
BUILD_TYPE = "urn:facefusion:build:wheel:1"


class Failed(Exception):
    """Why there is no release."""


def run(*words: str, cwd: Path = ROOT, **environment: str) -> str:
    """What a program says."""
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{words[0]}: {done.stderr.strip()[-800:]}")
    return done.stdout.strip()


def sha256_of(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_wheel(commit: str, epoch: int, folder: Path) -> Path:
    """The wheel of a commit, built twice in folders of its own.

    Raises
    ------
    Failed
        When the two differ.
    """
    made = []
    for name in ("one", "another-place"):
        copy = folder / name / "src"
        copy.mkdir(parents=True)
        archive = folder / f"{name}.tar"
        run("git", "archive", "--output", str(archive), commit)
        shutil.unpack_archive(archive, copy, filter="data")
        run(
            sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / name / "dist"), cwd=copy,
            SOURCE_DATE_EPOCH=str(epoch), PYTHONHASHSEED="0" if made else "1", PYTHONPATH="",
        )  # fmt: skip
        made.append(next((folder / name / "dist").glob("*.whl")))
    if made[0].name != made[1].name or made[0].read_bytes() != made[1].read_bytes():
        raise Failed(f"The wheel is not reproducible: {sha256_of(made[0])} and {sha256_of(made[1])}.")
    return made[0]


def dependencies() -> tuple[dict[str, metadata.Distribution], dict[str, list[str]]]:
    """Everything that the package needs with `EXTRAS`, as it is installed here, and who needs whom."""
    found: dict[str, metadata.Distribution] = {}
    edges: dict[str, list[str]] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(DISTRIBUTION, EXTRAS)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            known = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            if name == DISTRIBUTION:
                raise Failed(f"{DISTRIBUTION} is not installed here; run make release.") from error
            raise Failed(f"{name} is not installed here, so its licence cannot be told; run make release.") from error
        if name != DISTRIBUTION:
            found[name] = known
        for line in requirements_of(name, known):
            one = Requirement(line)
            if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                continue
            other = re.sub(r"[-_.]+", "-", one.name).lower()
            edges.setdefault(name, []).append(other)
            waiting.append((other, tuple(sorted(one.extras))))
    return found, edges


def requirements_of(name: str, known: metadata.Distribution) -> list[str]:
    """Of our own package what pyproject.toml says now, for an installed copy may be older."""
    if name != DISTRIBUTION:
        return known.requires or []
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS:
        lines += project["optional-dependencies"].get(extra, [])
    return lines


def licence_of(known: metadata.Distribution) -> tuple[str, bool]:
    """A package's licence, and whether it is an SPDX expression."""
    about = known.metadata
    if expression := about.get("License-Expression"):
        return str(expression), True
    named = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    named = [name for name in named if name != "OSI Approved"]
    text = str(about.get("License") or "").strip()
    if text and len(text) < 80 and "\n" not in text:
        return text, False
    return (" / ".join(named) if named else "not stated"), False


def licences(text: str, is_expression: bool = False) -> list[dict[str, object]]:
    """As CycloneDX has them."""
    return [{"expression": text}] if is_expression else [{"license": {"name": text}}]


def system_packages(root: Path | None) -> list[dict[str, object]]:
    """Debian packages of this machine, or of the file system of an image."""
    if shutil.which("dpkg-query") is None:
        return []
    folder = [] if root is None else [f"--admindir={root / 'var/lib/dpkg'}"]
    lines = run("dpkg-query", *folder, "-W", "-f", "${db:Status-Status}\\t${Package}\\t${Version}\\t${Architecture}\\n")
    found = []
    for line in sorted(set(lines.splitlines())):
        status, name, version, architecture = line.split("\t")
        if status != "installed":
            continue
        place = (root or Path("/")) / "usr/share/doc" / name / "copyright"
        text = place.read_text(encoding="utf-8", errors="replace") if place.is_file() else ""
        named = sorted({word.strip()[:80] for word in re.findall(r"^License: *(\S[^\n]*)$", text, re.MULTILINE)})
        found.append({
            "type": "library", "name": name, "version": version, "bom-ref": f"deb:{name}:{architecture}",
            "purl": f"pkg:deb/debian/{name}@{version.replace(':', '%3A').replace('+', '%2B')}?arch={architecture}",
            # What a wheel is built on is not in it; an image holds it.
            "scope": "excluded" if root is None else "required",
            "licenses": licences("; ".join(named) or "see its copyright file"),
        })  # fmt: skip
    return found


def model_components(wheel: Path) -> list[dict[str, object]]:
    """Every model of the catalogue; those in the wheel with the hash that their bytes have there.

    Raises
    ------
    Failed
        When a weight in the wheel is not the one that its entry names, or has no entry.
    """
    with zipfile.ZipFile(wheel) as packed:
        inside = {
            hashlib.sha256(packed.read(name)).hexdigest(): name
            for name in packed.namelist()
            if name.endswith((".onnx", ".safetensors"))
        }
    found, named = [], set()
    for model in sorted(load_catalog([]).values(), key=lambda one: one.key):
        is_inside = model.origin == "embedded"
        hashes = [{"alg": "SHA-256", "content": one.sha256} for one in model.files if one.sha256]
        if is_inside:
            for one in model.files:
                if one.sha256 not in inside:
                    raise Failed(f"{one.name} of {model.id} is not in the wheel as its entry has it.")
                named.add(one.sha256)
        component: dict[str, object] = {
            "type": "machine-learning-model", "name": model.id, "version": model.version, "bom-ref": f"model:{model.key}",
            "supplier": {"name": model.vendor or "not stated"}, "licenses": licences(model.licence),
            "scope": "required" if is_inside else "optional",
            "properties": [
                {"name": "facefusion:origin", "value": "in the wheel" if is_inside else "fetched by who runs it"},
                {"name": "facefusion:commercial", "value": str(model.commercial)},
                {"name": "facefusion:licence_source", "value": model.licence_source},
            ],
        }  # fmt: skip
        if len(model.files) == 1 and hashes:
            component["hashes"] = hashes
        elif hashes:
            component["components"] = [
                {"type": "file", "name": one.name, "bom-ref": f"file:{model.key}:{one.name}",
                 "hashes": [{"alg": "SHA-256", "content": one.sha256}]}
                for one in model.files if one.sha256
            ]  # fmt: skip
        found.append(component)
    for sha256, name in sorted(inside.items(), key=lambda pair: pair[1]):
        if sha256 not in named:
            if name.rpartition("/")[2] not in DATA:
                raise Failed(f"{name} is in the wheel, and nothing says what it is and under which licence.")
            found.append({
                "type": "data", "name": name.rpartition("/")[2], "bom-ref": f"data:{name}", "scope": "required",
                "hashes": [{"alg": "SHA-256", "content": sha256}], "licenses": licences("Apache-2.0", True),
                "properties": [
                    {"name": "facefusion:origin", "value": f"in the wheel, {name}"},
                    {"name": "facefusion:about", "value": DATA[name.rpartition("/")[2]]},
                ],
            })  # fmt: skip
    return found


def bill_of_materials(wheel: Path, version: str, epoch: int, root: Path | None) -> dict[str, object]:
    """CycloneDX 1.6."""
    packages, edges = dependencies()
    sha256 = sha256_of(wheel)
    refs = {name: f"pkg:pypi/{name}@{known.version}" for name, known in packages.items()}
    parts: list[dict[str, object]] = [
        {"type": "library", "name": name, "version": known.version, "bom-ref": refs[name], "purl": refs[name],
         "scope": "required", "licenses": licences(*licence_of(known))}
        for name, known in sorted(packages.items())
    ]  # fmt: skip
    own = f"pkg:pypi/{DISTRIBUTION}@{version}"
    models = model_components(wheel)
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, sha256)}",
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application", "name": DISTRIBUTION, "version": version, "bom-ref": own, "purl": own,
                "licenses": licences("Apache-2.0", True), "hashes": [{"alg": "SHA-256", "content": sha256}],
            },
        },
        "components": [*parts, *models, *system_packages(root)],
        "dependencies": [
            {"ref": own, "dependsOn": sorted({refs[one] for one in edges.get(DISTRIBUTION, ())}
                                             | {str(one["bom-ref"]) for one in models if one["scope"] == "required"})},
            *({"ref": refs[name], "dependsOn": sorted({refs[one] for one in edges.get(name, ())})} for name in sorted(refs)),
        ],
    }  # fmt: skip


def notices(bill: dict[str, object]) -> str:
    """Who made what is in a release or is installed with it, and under which licence; with the licences' texts."""
    packages, _ = dependencies()
    lines = [
        "# Third-party notices", "", "FaceFusion is Apache-2.0. It is installed with these packages, and its wheel holds "
        "these weights and files. Made by `deploy/release/make.py`.", "", "## Python packages", "",
        "| package | version | licence |", "|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {name} | {known.version} | {licence_of(known)[0]} |" for name, known in sorted(packages.items())]
    lines += ["", "The wheels of `av` and `opencv-python-headless` hold libraries of their own, among them parts under GPL and",
              "LGPL (x264, x265, FFmpeg): who passes on an image with them passes these on too.", ""]  # fmt: skip
    lines += ["## Models", "", "| model | where | licence | commercial use | SHA-256 |", "|---|---|---|---|---|"]
    for one in bill["components"]:  # type: ignore[attr-defined]
        if one["type"] in ("machine-learning-model", "data"):
            told = {pair["name"]: pair["value"] for pair in one.get("properties", ())}
            licence = one["licenses"][0].get("expression") or one["licenses"][0]["license"]["name"]
            sha256 = one["hashes"][0]["content"] if one.get("hashes") else ""
            where = "in the wheel" if told["facefusion:origin"].startswith("in the wheel") else "fetched"
            lines.append(
                f"| {one['name']} | {where} | {licence} | {told.get('facefusion:commercial', 'yes')} | {sha256} |"
            )
    lines += ["", "## Files in the wheel", ""]
    for path in sorted((ROOT / "src").rglob("LICENSE*")):
        lines += [f"### {path.parent.name}", "", "```", path.read_text(encoding="utf-8").strip(), "```", ""]
    lines += ["## Texts of licences", ""]
    for name, known in sorted(packages.items()):
        for file in sorted(known.files or (), key=str):
            if re.match(r"(licen[cs]e|copying|notice)", file.name, re.IGNORECASE) and ".dist-info" in str(file):
                text = Path(str(known.locate_file(file))).read_text(encoding="utf-8", errors="replace").strip()
                lines += [f"### {name}: {file.name}", "", "````", text, "````", ""]
    return "\n".join(lines) + "\n"


def statement(files: dict[str, str], commit: str, epoch: int, is_clean: bool) -> dict[str, object]:
    """How it was built, in SLSA's words. Its maker says so of itself; no SLSA level is claimed."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(files.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"commit": commit, "source_date_epoch": epoch},
                "internalParameters": {"is_self_attested": True, "is_tree_clean": is_clean, "builds_compared": 2},
                "resolvedDependencies": [
                    {"uri": REPOSITORY, "digest": {"gitCommit": commit}},
                    {"uri": f"pkg:pypi/hatchling@{metadata.version('hatchling')}"},
                    {"uri": f"pkg:generic/python@{sys.version.split()[0]}"},
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER},
                "metadata": {"invocationId": f"{commit[:12]}-{epoch}"},
            },
        },
    }


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs.

    Raises
    ------
    Failed
    """
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Failed(
            f"The key {path.name} cannot be read: {error}. It has to be ed25519 and without a password."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Failed("The key has to be ed25519: ssh-keygen -t ed25519 -N '' -f KEY.")
    return key


def make(out: Path, key_path: Path, commit: str = "HEAD", root: Path | None = None) -> Path:
    """Make a release.

    Parameters
    ----------
    out
        A folder that does not exist yet.
    key_path
        Private key of OpenSSH, ed25519.
    commit
        What is released; files that are not committed are not in it.
    root
        File system of an image whose packages are listed; None lists those of this machine.
    """
    if out.exists():
        raise Failed(f"{out} is there already.")
    key = load_key(key_path)
    commit = run("git", "rev-parse", "--verify", f"{commit}^{{commit}}")
    epoch = int(run("git", "log", "-1", "--format=%ct", commit))
    is_clean = not run("git", "status", "--porcelain", "--untracked-files=no")
    with tempfile.TemporaryDirectory(prefix="facefusion-release-") as scratch:
        folder = Path(scratch)
        wheel = build_wheel(commit, epoch, folder)
        version = wheel.name.split("-")[1]
        made = folder / "release"
        made.mkdir()
        shutil.copyfile(wheel, made / wheel.name)
        bill = bill_of_materials(wheel, version, epoch, root)
        (made / f"facefusion-{version}.cdx.json").write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
        (made / "THIRD_PARTY_NOTICES.md").write_text(notices(bill), encoding="utf-8")
        files = {path.name: sha256_of(path) for path in made.iterdir()}
        payload = json.dumps(statement(files, commit, epoch, is_clean), sort_keys=True).encode()
        sealed = key.sign(pre_authentication(payload))
        envelope = {
            "payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": fingerprint_of(key.public_key()), "sig": base64.b64encode(sealed).decode()}],
        }  # fmt: skip
        (made / f"facefusion-{version}.provenance.json").write_text(json.dumps(envelope, indent=1) + "\n")
        public = run("ssh-keygen", "-y", "-f", str(key_path)).split()[:2]
        (made / PUBLIC_KEY).write_text(" ".join(public) + "\n")
        sums = "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(made.iterdir()))
        (made / SUMS).write_text(sums)
        run("ssh-keygen", "-q", "-Y", "sign", "-f", str(key_path), "-n", NAMESPACE, str(made / SUMS))
        verify_release(made, [made / PUBLIC_KEY])
        shutil.copytree(made, out)
    return out


def main() -> int:
    """Make a release, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--key", type=Path, default=os.environ.get("FACEFUSION_RELEASE_KEY"), help="private key (OpenSSH)"
    )
    parser.add_argument("--commit", default="HEAD")
    parser.add_argument("--image-root", type=Path, help="file system of an image, whose packages are listed")
    asked = parser.parse_args()
    if asked.key is None:
        print("release: no key. ssh-keygen -t ed25519 -N '' -f KEY; then KEY=… make release", file=sys.stderr)
        return 2
    try:
        made = make(asked.out, Path(asked.key), asked.commit, asked.image_root)
    except Failed as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"{made}: {', '.join(sorted(path.name for path in made.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
