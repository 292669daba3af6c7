"""Kustomize, as far as `deploy/kubernetes` uses it: Debian's kubectl is too old. It is held against a newer one."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

Thing = dict[str, Any]
KNOWN = {
    "apiVersion", "kind", "namespace", "labels", "resources", "configMapGenerator", "images", "patches",
}  # fmt: skip
CLUSTER_WIDE = ("Namespace",)


def find_kubectl() -> str | None:
    """A kubectl that knows `labels` and `patches`."""
    program = shutil.which("kubectl")
    if program is None:
        return None
    told = subprocess.run([program, "version", "--client"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v1\.(\d+)", told)
    return program if version and int(version[1]) >= 27 else None


def render(folder: Path) -> list[Thing]:
    """Everything that `kubectl kustomize` would print, in no certain order."""
    things = _build(folder)
    configs = {}
    for thing in things:
        if thing["kind"] == "ConfigMap":
            name = thing["metadata"]["name"]
            digest = hashlib.sha256(json.dumps(thing["data"], sort_keys=True).encode()).hexdigest()[:10]
            configs[name] = thing["metadata"]["name"] = f"{name}-{digest}"
    for thing in things:
        for container in _containers(thing):
            for source in container.get("envFrom", []):
                name = source["configMapRef"]["name"]
                source["configMapRef"]["name"] = configs[name]
    return things


def _build(folder: Path) -> list[Thing]:
    what = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    assert set(what) <= KNOWN, f"{folder.name}: {set(what) - KNOWN}"
    things: list[Thing] = []
    for name in what.get("resources", []):
        path = folder / name
        if path.is_dir():
            things += _build(path)
        else:
            loaded = yaml.safe_load_all(path.read_text(encoding="utf-8"))
            things += [copy.deepcopy(json.loads(json.dumps(one))) for one in loaded]
    for made in what.get("configMapGenerator", []):
        values = dict(line.split("=", 1) for line in made["literals"])
        if made.get("behavior") == "merge":
            (there,) = [one for one in things if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", made["name"])]
            there["data"].update(values)
        else:
            config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": made["name"]}, "data": values}
            things.append(config)
    for patch in what.get("patches", []):
        operations = yaml.safe_load(patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text())
        found = [thing for thing in things if _is_target(thing, patch["target"])]
        assert found, f"{folder.name}: {patch['target']} is nowhere"
        for thing in found:
            for operation in operations:
                _apply(thing, operation)
    for thing in things:
        if thing["kind"] not in CLUSTER_WIDE:
            thing["metadata"]["namespace"] = what["namespace"]
        for labels in what.get("labels", []):
            thing["metadata"].setdefault("labels", {}).update(labels["pairs"])
            template = thing.get("spec", {}).get("template")
            if labels.get("includeTemplates") and template is not None:
                template["metadata"].setdefault("labels", {}).update(labels["pairs"])
            for claim in thing.get("spec", {}).get("volumeClaimTemplates", []):
                if labels.get("includeTemplates"):
                    claim["metadata"].setdefault("labels", {}).update(labels["pairs"])
        for container in _containers(thing):
            for image in what.get("images", []):
                name, _, tag = container["image"].partition(":")
                if name == image["name"]:
                    container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
    return things


def _containers(thing: Thing) -> list[Thing]:
    inner = thing.get("spec", {}).get("template", {}).get("spec", {})
    return [*inner.get("initContainers", []), *inner.get("containers", [])]


def _is_target(thing: Thing, target: dict[str, str]) -> bool:
    metadata = thing["metadata"]
    return (
        thing["kind"] == target["kind"]
        and re.fullmatch(target.get("name", ".*"), metadata["name"]) is not None
        and ("labelSelector" not in target or target["labelSelector"] in metadata.get("labels", {}))
    )


def _apply(thing: Thing, operation: dict[str, Any]) -> None:
    """One operation of RFC 6902."""
    *way, last = operation["path"].strip("/").split("/")
    place: Any = thing
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    value = copy.deepcopy(operation.get("value"))
    if operation["op"] == "add" and isinstance(place, list):
        assert last == "-"
        place.append(value)
    elif operation["op"] == "remove":
        del place[last]
    else:
        assert operation["op"] == "add" or last in place
        place[last] = value
