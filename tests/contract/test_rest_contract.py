"""What OpenAPI says is what the service does: a snapshot, and requests made up by schemathesis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.live import InProcess

from facefusion.declaration import is_ours, processor_names
from facefusion.server.access import SCOPES
from facefusion.server.app import build_app
from facefusion.server.config import Quotas, ServerConfig
from facefusion.service.backend import Backend

SNAPSHOT = Path(__file__).with_name("openapi.json")
EXAMPLES = 10 if os.environ.get("CI") == "true" else 5
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance,
]  # fmt: skip


@schemathesis.serializer("application/offset+octet-stream")
def piece(ctx, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    quotas = Quotas(10**7, 10**6, 10**12, 0.0, 10**7)
    backend = Backend(tmp_path_factory.mktemp("live") / "jobs")
    with InProcess(ServerConfig(backend, quotas=quotas, upload_bytes=1_000_000)) as made:
        yield made


def test_openapi_is_as_it_was(tmp_path):
    """Whoever changes the API changes this file too: run with ACCEPT_OPENAPI=1, and look at the difference."""
    if not all(is_ours(name) for name in processor_names()):
        pytest.skip("processors of others are installed")
    made = build_app(ServerConfig(Backend(tmp_path)), is_working=False).openapi()
    text = json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("ACCEPT_OPENAPI") == "1":
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8")


def test_every_route_is_described(tmp_path):
    made = build_app(ServerConfig(Backend(tmp_path)), is_working=False).openapi()
    for path, methods in made["paths"].items():
        for method, told in methods.items():
            assert told["summary"] and told["description"], (method, path)
            for status, answer in told["responses"].items():
                assert answer["description"], (method, path, status)
                if status[0] in "45":
                    assert list(answer["content"]) == ["application/problem+json"]
            assert "HTTPValidationError" not in json.dumps(told)


def test_what_takes_a_body_says_that_it_may_be_too_large(tmp_path):
    made = build_app(ServerConfig(Backend(tmp_path)), is_working=False).openapi()
    taking = [one for methods in made["paths"].values() for one in methods.values() if "requestBody" in one]
    assert len(taking) > 4
    assert all({"408", "413", "415"} <= set(one["responses"]) for one in taking)


def test_every_reference_leads_somewhere(tmp_path):
    made = build_app(ServerConfig(Backend(tmp_path)), is_working=False).openapi()
    found = set()

    def look(part):
        if isinstance(part, dict):
            found.update([part["$ref"]] if isinstance(part.get("$ref"), str) else [])
            part = list(part.values())
        for one in part if isinstance(part, list) else ():
            look(one)

    look(made)
    assert "#/components/schemas/Problem" in found
    for reference in found:
        beginning, *names = reference.split("/")
        place = made
        for name in names:
            assert name in place, reference
            place = place[name]
        assert beginning == "#"


@pytest.mark.parametrize("is_known", [True, False], ids=["with a key", "without a key"])
def test_requests_that_nobody_thought_of_break_nothing(live, is_known):
    """No 5xx and nothing that OpenAPI does not say, for whatever is sent."""
    found = schemathesis.openapi.from_dict(live.app.openapi())
    headers = {"Authorization": f"Bearer {live.key('anna', SCOPES)}"} if is_known else {}
    failed = []
    for result in found.get_all_operations():
        operation = result.ok()
        if "tenants" in operation.path and operation.method.upper() == "DELETE" and is_known:
            continue  # it would take the keys of the others away, and has tests of its own
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                ask_much(operation, mode, live.url, headers)
            except Unsatisfiable:
                continue  # there is nothing in it that could be wrong
            except BaseException as error:  # groups of failures are no exceptions
                if isinstance(error, KeyboardInterrupt):
                    raise
                told = "; ".join(str(one) for one in getattr(error, "exceptions", [error]))
                failed.append(f"{operation.method.upper()} {operation.path} ({mode.value}): {told}"[:1500])
    assert not failed, "\n\n".join(failed)


def ask_much(operation, mode, url, headers):
    """Ask one operation with what schemathesis makes up."""

    @settings(
        max_examples=EXAMPLES if headers else 3, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        answer = case.call(base_url=url, headers=headers, timeout=600)
        case.validate_response(answer, checks=CHECKS)
        if not headers and "security" in operation.definition.raw:
            assert answer.status_code >= 400, answer.status_code

    ask()


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["serve"], ["keys", "list"]])
def test_without_the_extra_it_is_said_what_to_install(words):
    code = f"import sys; sys.modules['fastapi'] = None; from facefusion.apps.cli import main; main({words!r})"
    done = run_python(code)
    assert done.returncode == 2, done.stderr
    assert "needs the package fastapi" in done.stderr and "pip install 'facefusion-studio[server]'" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], ["keys", "--help"], ["run", "--help"]])
def test_help_loads_nothing_of_the_web(words):
    code = (
        "import sys\nfrom facefusion.apps.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'fastapi', 'starlette', 'uvicorn', 'limits', 'jwt', 'httpx', 'sqlalchemy', 'numpy', 'av'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_client_needs_nothing_of_the_server():
    code = (
        "import sys\nfrom facefusion.client import Client\n"
        "heavy = {'fastapi', 'starlette', 'uvicorn', 'sqlalchemy', 'numpy', 'av', 'onnxruntime'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
