"""What `deploy/` says, held against settings, commands and routes of the product and the rules of its own kinds."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from tests.kustomize import find_kubectl, render

from facefusion.apps.cli import _command_parser, _parse
from facefusion.recipe import Recipe, known_options
from facefusion.settings import setting_fields

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("small", "gpu", "keda")
KUBERNETES = ("1.30", "1.33")
SECRET_WORDS = re.compile(r"password|passwd|secret|token|access_key|api_key", re.IGNORECASE)
PINNED = re.compile(r".+:[^:/]*\d[^:/]*$|.+@sha256:[0-9a-f]{64}$")
SLOWEST_S_PER_FRAME = 0.5
"""A frame on one core with models of the community's size, generously."""


def options() -> set[str]:
    return {*known_options(), *setting_fields()}


def check_settings(names: Iterator[str]) -> None:
    for name in names:
        if name.startswith("FACEFUSION_"):
            assert name.removeprefix("FACEFUSION_").removesuffix("_FILE").lower() in options(), name


def check_command(words: list[str]) -> None:
    """Read the words as the command line does."""
    _parse(_command_parser(words[0]), words[1:])


# --- Kubernetes -----------------------------------------------------------------------------------------------------


@cache
def built(overlay: str) -> list[dict[str, Any]]:
    return render(DEPLOY / "kubernetes" / "overlays" / overlay)


def rendered(overlay: str) -> list[dict[str, Any]]:
    return copy.deepcopy(built(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_renders_the_same(overlay):
    program = find_kubectl()
    if program is None:
        pytest.skip("no kubectl of 1.27 or newer is here; overlays are rendered by tests/kustomize.py alone")
    folder = DEPLOY / "kubernetes" / "overlays" / overlay
    made = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr

    def told(things: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
        text = re.sub(r"(facefusion-settings)-[0-9a-z]{10}", r"\1", json.dumps(things, sort_keys=True))
        return {(one["kind"], one["metadata"]["name"]): json.dumps(one, sort_keys=True) for one in json.loads(text)}

    assert told(rendered(overlay)) == told(list(yaml.safe_load_all(made.stdout)))


def of_kind(things: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [thing for thing in things if thing["kind"] in kinds]


def pods(things: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, metadata and specification of every pod that would run."""
    for thing in of_kind(things, "Deployment", "StatefulSet", "Job"):
        template = thing["spec"]["template"]
        yield thing["metadata"]["name"], template["metadata"], template["spec"]


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def is_ours(container: dict[str, Any]) -> bool:
    return container["image"].startswith("facefusion-studio")


def selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in wanted.items())


def validate(thing: dict[str, Any], version: str) -> None:
    """Refuse what Kubernetes or KEDA do not know."""
    if thing["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(thing, json.loads((ROOT / "tests/schemas/keda.json").read_text()))
    else:
        kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid(overlay):
    for version in KUBERNETES:
        for thing in rendered(overlay):
            validate(thing, version)


def test_wrong_manifests_are_refused():
    """The check itself can fail: types, unknown keys, missing ones, in both kinds of schema."""
    things = rendered("keda")
    deployment = copy.deepcopy(of_kind(things, "Deployment")[0])
    deployment["spec"]["replicas"] = "two"
    scaled = copy.deepcopy(of_kind(things, "ScaledObject")[0])
    scaled["spec"]["triggers"][0]["metadata"]["queue"] = scaled["spec"]["triggers"][0]["metadata"].pop("queueName")
    unknown = copy.deepcopy(of_kind(things, "Service")[0])
    unknown["spec"]["selectors"] = {}
    for wrong in (deployment, scaled, unknown):
        with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
            validate(wrong, "1.33")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_has_more_rights_than_it_needs(overlay):
    found = list(pods(rendered(overlay)))
    assert len(found) >= 3
    for name, _, spec in found:
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"]["type"] == "RuntimeDefault", name
        assert spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        for container in containers(spec):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"]["drop"] == ["ALL"], name
            assert not own.get("privileged"), name
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounted, f"{name}: nothing can be written"
            assert all("hostPath" not in volume for volume in spec["volumes"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_has_requests_limits_and_a_version(overlay):
    for name, _, spec in pods(rendered(overlay)):
        for container in containers(spec):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), name
            assert {"cpu", "memory"} <= set(resources["limits"]), name
            assert PINNED.fullmatch(container["image"]), container["image"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_stand_in_no_manifest(overlay):
    things = rendered(overlay)
    assert not of_kind(things, "Secret")
    for config in of_kind(things, "ConfigMap"):
        for key, value in config["data"].items():
            assert not SECRET_WORDS.search(key), key
            assert not re.search(r"://[^/\s]*:[^/\s]*@", value), key
    for name, _, spec in pods(things):
        for container in containers(spec):
            for variable in container.get("env", []):
                if SECRET_WORDS.search(variable["name"]) or variable["name"].endswith(("_STORE", "_BROKER")):
                    assert "secretKeyRef" in variable["valueFrom"], (name, variable)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_commands_and_routes_of_manifests_exist(overlay):
    things = rendered(overlay)
    routes = json.loads((ROOT / "tests/contract/openapi.json").read_text())["paths"]
    configs = {config["metadata"]["name"]: config["data"] for config in of_kind(things, "ConfigMap")}
    probed = 0
    for _, _, spec in pods(things):
        for container in filter(is_ours, containers(spec)):
            check_settings(variable["name"] for variable in container.get("env", []))
            for source in container.get("envFrom", []):
                check_settings(iter(configs[source["configMapRef"]["name"]]))
            if container.get("args"):
                check_command(container["args"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe in container:
                    asked = container[probe]["httpGet"]
                    assert "get" in routes[asked["path"]]
                    assert asked["port"] in {port["name"] for port in container["ports"]}
                    probed += 1
    assert probed == 3


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workers_are_given_the_time_to_finish_a_segment(overlay):
    """Of 60 frames a second, on the slowest thing that is thought of."""
    workers = [spec for name, _, spec in pods(rendered(overlay)) if "-worker-" in name]
    assert workers
    for spec in workers:
        is_gpu = "nvidia.com/gpu" in spec["containers"][0]["resources"]["limits"]
        seconds = Recipe().segment_s * 60 * SLOWEST_S_PER_FRAME / (1 if not is_gpu else 4)
        assert spec["terminationGracePeriodSeconds"] > seconds


def test_workers_with_a_gpu_ask_for_one_and_for_the_memory_of_the_brief():
    found = {name: spec["containers"][0] for name, _, spec in pods(rendered("gpu")) if "worker-gpu" in name}
    assert set(found) == {"facefusion-worker-gpu", "facefusion-worker-gpu-large"}
    for container in found.values():
        assert container["resources"]["requests"]["nvidia.com/gpu"] == 1
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert container["resources"]["requests"]["memory"] == "4Gi"
        assert container["resources"]["limits"]["memory"] == "6Gi"
        assert container["image"].endswith("-cuda")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_budgets_services_policies_and_scaling_mean_something_that_is_there(overlay):
    things = rendered(overlay)
    labels = {name: metadata["labels"] for name, metadata, _ in pods(things)}
    for thing in of_kind(things, "PodDisruptionBudget"):
        assert any(selected(thing["spec"]["selector"], of_pod) for of_pod in labels.values()), thing["metadata"]["name"]
    for thing in of_kind(things, "Service"):
        assert any(selected({"matchLabels": thing["spec"]["selector"]}, of_pod) for of_pod in labels.values())
    deployments = {thing["metadata"]["name"]: thing for thing in of_kind(things, "Deployment")}
    guarded = {name for name in deployments for thing in of_kind(things, "PodDisruptionBudget")
               if selected(thing["spec"]["selector"], labels[name])}  # fmt: skip
    assert guarded == set(deployments)
    authentications = {thing["metadata"]["name"] for thing in of_kind(things, "TriggerAuthentication")}
    for thing in of_kind(things, "ScaledObject"):
        deployment = deployments[thing["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in deployment["spec"], "each apply would set the number back"
        words = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        for trigger in thing["spec"]["triggers"]:
            assert trigger["metadata"]["queueName"] in words
            assert trigger["authenticationRef"]["name"] in authentications
    claims = {thing["metadata"]["name"] for thing in of_kind(things, "PersistentVolumeClaim")}
    for name, _, spec in pods(things):
        for volume in spec["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_networks_let_through_what_is_needed_and_nothing_else(overlay):
    things = rendered(overlay)
    policies = [thing["spec"] for thing in of_kind(things, "NetworkPolicy")]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    for name, metadata, spec in pods(things):
        mine = [
            policy
            for policy in policies
            if policy["podSelector"] and selected(policy["podSelector"], metadata["labels"])
        ]
        out = {port["port"] for policy in mine for rule in policy.get("egress", []) for port in rule["ports"]}
        into = {port["port"] for policy in mine for rule in policy.get("ingress", []) for port in rule["ports"]}
        if any(is_ours(container) for container in spec["containers"]):
            assert {53, 5432, 5672, 443} <= out, name
        for container in spec["containers"]:
            assert {port["containerPort"] for port in container.get("ports", [])} <= into, name
    (namespace,) = of_kind(things, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


# --- compose --------------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def test_compose_holds_what_it_names():
    """Networks, volumes, secrets, services and files are there; keys are those of the Compose Specification."""
    found = compose()
    jsonschema.validate(found, json.loads((ROOT / "tests/schemas/compose.json").read_text()))
    services = found["services"]
    assert {"api", "worker-cpu", "worker-gpu", "postgres", "rabbitmq", "s3", "prometheus", "grafana"} <= set(services)
    used: set[str] = set()
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service["networks"]) <= set(found["networks"]), name
        for secret in service.get("secrets", []):
            used.add(secret if isinstance(secret, str) else secret["source"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith(("/", ".")):
                assert source in found["volumes"], (name, source)
            elif source.startswith("./") and source != "./models":
                assert (DEPLOY / source).exists(), (name, source)
    assert used == set(found["secrets"])


def test_compose_is_pinned_closed_and_says_no_secret():
    for name, service in compose()["services"].items():
        assert PINNED.fullmatch(service["image"]), service["image"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} would be open to the network"
        for key, value in (service.get("environment") or {}).items():
            if SECRET_WORDS.search(key):
                assert value.startswith("/run/secrets/"), (name, key)
            assert not re.search(r"://[^/\s]*:[^/\s]*@", str(value)), (name, key)
        if service["image"].startswith("facefusion-studio"):
            assert service["user"] == "10001:10001"
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]


def test_one_name_is_built_run_and_told_and_it_is_ours():
    """A name of somebody's repository would be pulled where nothing was built."""
    image = re.compile(r"(?<![\w/.-])(?:[\w.-]+/)?facefusion[\w-]*:[\w.-]+")
    told = {
        name: set(image.findall((ROOT / name).read_text(encoding="utf-8")))
        for name in ("deploy/Dockerfile", "docs/container.md", "deploy/compose.yaml")
    }
    assert set(map(frozenset, told.values())) == {
        frozenset({"facefusion-studio:0.1.0", "facefusion-studio:0.1.0-cuda"})
    }
    ours = [service for service in compose()["services"].values() if is_ours(service)]
    assert len(ours) >= 4
    for service in ours:
        assert service["pull_policy"] == "build"
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert (service["build"].get("target") == "cuda") == service["image"].endswith("-cuda")
    for overlay in OVERLAYS:
        named = {one["image"] for _, _, spec in pods(rendered(overlay)) for one in containers(spec)}
        assert {name for name in named if "facefusion" in name} <= told["deploy/Dockerfile"]


def test_settings_and_commands_of_compose_exist():
    for service in compose()["services"].values():
        if service["image"].startswith("facefusion-studio"):
            check_settings(iter(service["environment"]))
            for name, path in service["environment"].items():
                if name.endswith("_FILE"):
                    assert Path(path).name in service["secrets"]
            if "entrypoint" not in service:
                check_command(service["command"])


def test_secrets_are_made_once_for_compose_and_kubernetes(tmp_path):
    environment = {**os.environ, "SECRETS_FOLDER": str(tmp_path / "secrets")}

    def make(*words: str) -> str:
        done = subprocess.run(
            ["sh", str(DEPLOY / "secrets.sh"), *words], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    make()
    folder = tmp_path / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert {Path(secret["file"]).name for secret in compose()["secrets"].values()} <= set(first)
    password = first["postgres_password"]
    assert len(password) == 48
    assert f"facefusion:{password}@postgres/jobs" in first["job_store"]
    assert (
        json.loads(first["s3_identities.json"])["identities"][0]["credentials"][0]["secretKey"]
        == first["s3_secret_key"]
    )
    secret = yaml.safe_load(make("--kubectl"))
    assert {path.name: path.read_text() for path in folder.iterdir()} == first, "a second call made others"
    kubernetes_validate.validate(secret, "1.33", strict=True)
    wanted = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for _, _, spec in pods(rendered("small"))
        for container in containers(spec)
        for variable in container.get("env", [])
        if "valueFrom" in variable and not variable["valueFrom"]["secretKeyRef"].get("optional")
    }
    assert wanted <= set(secret["data"])


# --- image ----------------------------------------------------------------------------------------------------------


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def test_the_dockerfile_is_clean():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bases_are_pinned_and_targets_say_how_they_start():
    text = dockerfile()
    bases = dict(re.findall(r"^ARG (\w*BASE)=(\S+)$", text, re.MULTILINE))
    assert set(bases) == {"BASE", "CUDA_BASE"}
    for image in bases.values():
        assert PINNED.fullmatch(image), image
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert [stage.split()[2] for stage in stages] == ["build-cpu", "build-cuda", "cuda", "cpu"]
    settings = {}
    for stage in stages:
        name = stage.split()[2]
        if not name.startswith("build"):
            assert 'ENTRYPOINT ["tini", "--", "facefusion"]' in stage
            assert 'CMD ["serve"]' in stage
            assert "EXPOSE 5000" in stage
            assert 'CMD ["facefusion-health"]' in stage
            (line,) = re.findall(r"^ENV (.*)$", stage, re.MULTILINE)
            settings[name] = dict(re.findall(r"(\w+)=(\"[^\"]*\"|\S+)", line))
            check_settings(iter(settings[name]))
    assert settings["cuda"]["FACEFUSION_EXECUTION_PROVIDERS"] == "cuda", "it would use the CPU in silence"
    assert "FACEFUSION_EXECUTION_PROVIDERS" not in settings["cpu"]


def test_the_image_holds_only_embedded_weights_unless_asked():
    assert dockerfile().count('ARG MODELS=""') == 2


@pytest.mark.parametrize("name", ["facefusion", "facefusion-key", "install.sh", "base.sh"])
def test_scripts_of_the_image_can_be_read_by_a_plain_shell(name):
    done = subprocess.run(["sh", "-n", str(DEPLOY / "image" / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_image_takes_out_of_opencv_is_in_the_wheel_that_is_locked():
    specification = importlib.util.spec_from_file_location("opencv_of_image", DEPLOY / "image" / "opencv.py")
    assert specification
    assert specification.loader
    cut = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(cut)
    if platform.machine() != "x86_64" or not cut.LIBS.is_dir() or not shutil.which("nm"):
        pytest.skip("this OpenCV is not the wheel of Linux on x86_64, or there is no nm")
    found = {path.name: path for path in cut.LIBS.iterdir()}
    askers = [cut.CV2, *cut.LIBS.glob("libavif-*")]
    asked = {name for asker in askers for name in cut.needed(asker)}
    for start in (*cut.GONE, "libopenblas"):
        assert any(name.startswith(start) and name in asked for name in found), start
    blas = next(path for name, path in found.items() if name.startswith("libopenblas"))
    wanted = set(cut.functions(blas, has=True)) & set(cut.functions(cut.CV2, has=False))
    code = (DEPLOY / "image" / "blas.c").read_text()
    assert wanted == {f"cblas_{name}" for name in re.findall(r"^GEMM\((\w+),", code, re.MULTILINE)} | {
        f"{kind}{name}_"
        for kind in re.findall(r"^LAPACK\((\w),", code, re.MULTILINE)
        for name in re.findall(r"^    void p##(\w+)_\(", code, re.MULTILINE)
    } - {"sgeev_"}


def test_what_the_image_is_made_of_is_sent_to_the_builder():
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile(), re.MULTILINE):
        for source in [word for word in line.split() if not word.startswith("--")][:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == kept[1:] or source.startswith(f"{kept[1:]}/") for kept in sent if kept[0] == "!"), (
                source
            )


def test_the_table_of_sizes_is_what_its_script_computes():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/sizing.py")], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    page = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    lines = [line for line in done.splitlines()[1:] if line]
    assert len(lines) == 9
    assert all(line in page for line in lines)
    assert done.startswith("A model, not a measurement.")
    assert "a model, not a measurement" in page


def test_prometheus_finds_the_services_of_compose():
    found = compose()["services"]
    jobs = yaml.safe_load((DEPLOY / "monitoring/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    hosts = {target.split(":")[0] for job in jobs for one in job.get("static_configs", []) for target in one["targets"]}
    hosts |= {name for job in jobs for one in job.get("dns_sd_configs", []) for name in one["names"]}
    asked = {"prometheus", *found}
    for service in found.values():
        if isinstance(service["networks"], dict):
            asked |= {alias for network in service["networks"].values() for alias in network["aliases"]}
    assert {"api", "worker"} <= hosts
    assert hosts <= asked, hosts - asked
    for name in ("api", "worker-cpu", "worker-gpu"):
        assert found[name]["environment"]["FACEFUSION_METRICS_PORT"] == "9464"
