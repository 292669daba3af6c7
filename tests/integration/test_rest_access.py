"""Who may do what: every route with every kind of stranger. A route without a line here fails."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.routing import APIRoute
from starlette.requests import Request
from tests.live import ALL, InProcess

from facefusion.apps.cli import main
from facefusion.errors import AccessRefused, Conflict, OutputRefused, RecipeError
from facefusion.jobs.ledger import Ledger
from facefusion.packed import pack
from facefusion.server.access import COOKIE, SCOPES, Gate, create_key, digest_of, rotate_key
from facefusion.server.app import is_direct
from facefusion.server.config import Oidc, Quotas, ServerConfig
from facefusion.server.problems import for_clients
from facefusion.server.run import check, listen
from facefusion.service.backend import Backend
from facefusion.testing.fakes import sample_path

TUS = {"Tus-Resumable": "1.0.0"}
ANYBODY = "anybody with a key"
NOBODY = "no key at all"


@dataclass
class Case:
    """How a route is asked.

    Attributes
    ----------
    needs
        The scope, or that any key will do, or none.
    has_object
        Whether the path names something of a tenant.
    json, headers, content
        What is sent, where it is sent by whoever may.
    """

    needs: str
    has_object: bool = False
    json: dict | None = None
    headers: dict = field(default_factory=dict)
    content: bytes | None = None


ROUTES = {
    "GET /v1/health": Case(NOBODY),
    "GET /v1/openapi.json": Case(NOBODY),
    "GET /": Case(NOBODY),
    "GET /page/{path:path}": Case(NOBODY),
    "POST /v1/session": Case(NOBODY, json={"key": "ff_nothing"}),
    "GET /v1/session": Case(ANYBODY),
    "DELETE /v1/session": Case(ANYBODY),
    "GET /v1/capabilities": Case(ANYBODY),
    "GET /v1/models": Case(ANYBODY),
    "GET /v1/models/{model_id:path}": Case(ANYBODY),
    "POST /v1/models/{model_id:path}/fetch": Case("admin"),
    "POST /v1/assets": Case("assets:write", content=b"not a photo"),
    "GET /v1/assets": Case("assets:read"),
    "GET /v1/assets/{asset_id}": Case("assets:read", True),
    "HEAD /v1/assets/{asset_id}": Case("assets:read", True),
    "GET /v1/assets/{asset_id}/about": Case("assets:read", True),
    "GET /v1/assets/{asset_id}/thumbnail": Case("assets:read", True),
    "GET /v1/assets/{asset_id}/shots": Case("assets:read", True),
    "GET /v1/assets/{asset_id}/faces": Case("assets:read", True),
    "GET /v1/assets/{asset_id}/faces/{face}": Case("assets:read", True),
    "GET /v1/assets/{asset_id}/provenance": Case("assets:read", True),
    "GET /v1/assets/{asset_id}/provenance/manifest": Case("assets:read", True),
    "DELETE /v1/assets/{asset_id}": Case("assets:write", True),
    "OPTIONS /v1/uploads": Case("assets:write"),
    "POST /v1/uploads": Case("assets:write", headers={**TUS, "Upload-Length": "10"}),
    "HEAD /v1/uploads/{upload_id}": Case("assets:write", True, headers=TUS),
    "PATCH /v1/uploads/{upload_id}": Case(
        "assets:write", True,
        headers={**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}, content=b"a",
    ),
    "DELETE /v1/uploads/{upload_id}": Case("assets:write", True, headers=TUS),
    "POST /v1/jobs": Case("jobs:write", True, json={"recipe": {"target": "ASSET", "sources": ["ASSET"]}}),
    "GET /v1/jobs": Case("jobs:read"),
    "GET /v1/jobs/{job_id}": Case("jobs:read", True),
    "POST /v1/jobs/{job_id}/cancel": Case("jobs:write", True),
    "POST /v1/jobs/{job_id}/retry": Case("jobs:write", True),
    "DELETE /v1/jobs/{job_id}": Case("jobs:write", True),
    "GET /v1/jobs/{job_id}/report": Case("jobs:read", True),
    "GET /v1/jobs/{job_id}/segments": Case("jobs:read", True),
    "GET /v1/jobs/{job_id}/faces": Case("jobs:read", True),
    "GET /v1/jobs/{job_id}/events": Case("jobs:read", True),
    "GET /v1/jobs/{job_id}/deliveries": Case("jobs:read", True),
    "POST /v1/batches": Case("jobs:write", True, json={"sources": [["ASSET"]], "targets": ["ASSET"]}),
    "GET /v1/batches/{batch_id}": Case("jobs:read", True),
    "POST /v1/previews": Case("jobs:write", True, json={"recipe": {"target": "ASSET", "sources": ["ASSET"]}}),
    "GET /metrics": Case("admin"),
    "GET /v1/audit": Case("admin"),
    "GET /v1/tenants/{tenant}": Case("admin"),
    "DELETE /v1/tenants/{tenant}": Case("admin"),
}  # fmt: skip
GUARDED = sorted(name for name, case in ROUTES.items() if case.needs != NOBODY)


def routes_of(router):
    """Methods and paths of all routes, those of routers in routers too."""
    found = set()
    for route in router.routes:
        if isinstance(route, APIRoute):
            found |= {f"{method} {route.path}" for method in route.methods}
        elif inner := getattr(route, "original_router", None):
            found |= routes_of(inner)
    return found


class World:
    """A service with two tenants, of whom anna has something of everything."""

    def __init__(self, folder):
        self.config = ServerConfig(
            Backend(folder / "jobs"), quotas=Quotas(requests_per_minute=10**6, refusals_per_minute=10**6)
        )
        self.live = InProcess(self.config).start()
        self.app, self.service, self.client = self.live.app, self.live.service, self.live.client()
        self.keys = {name: self.key(name) for name in ("anna", "ben")}
        anna = self.bearer(self.keys["anna"])
        photo = sample_path("target.jpg").read_bytes()
        self.asset = self.client.post("/v1/assets", content=photo, headers=anna).json()["id"]
        made = self.client.post("/v1/uploads", headers={**anna, **TUS, "Upload-Length": "10"})
        self.upload = made.headers["location"].rpartition("/")[2]
        batch = self.client.post(
            "/v1/batches", json={"sources": [[self.asset]], "targets": [self.asset]}, headers=anna
        ).json()
        self.batch, self.job = batch["id"], batch["jobs"][0]

    def key(self, tenant, scopes=ALL, expires_in_s=None):
        return self.live.key(tenant, scopes, expires_in_s)

    def close(self):
        self.client.close()
        self.live.stop()

    @staticmethod
    def bearer(key):
        return {"Authorization": f"Bearer {key}"}

    def ask(self, name, key="", **more):
        case = ROUTES[name]
        method, path = name.split(" ")
        path = path.replace(":path", "")
        path = path.format(
            asset_id=self.asset, upload_id=self.upload, job_id=self.job, batch_id=self.batch, face="0", tenant="anna",
            model_id="face_detector_embedded",
        )  # fmt: skip
        body = json.loads(json.dumps(case.json).replace("ASSET", self.asset)) if case.json is not None else None
        headers = {**case.headers, **(self.bearer(key) if key else {}), **more.pop("headers", {})}
        return self.client.request(method, path, json=body, content=case.content, headers=headers, **more)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


def assert_problem(answer, status, code=None):
    assert answer.status_code == status, (answer.status_code, answer.text)
    if answer.request.method == "HEAD":
        return
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert told["type"] == f"urn:facefusion:problem:{told['code']}"
    assert told["detail"] and told["request_id"] == answer.headers["x-request-id"]
    assert code in (None, told["code"])


def test_every_route_has_a_line(world):
    assert routes_of(world.app) == set(ROUTES)


@pytest.mark.parametrize("name", GUARDED)
def test_without_a_valid_key_nobody_gets_in(world, name):
    assert_problem(world.ask(name), 401, "access")
    for bad in ("ff_0123_nothing", "nonsense", "ff_", "local.x.y", "a.b.c"):
        assert_problem(world.ask(name, bad), 401, "access")
    for strange in ("Basic YTpi", "Bearer", "ff_0123_nothing"):
        assert_problem(world.ask(name, headers={"Authorization": strange}), 401, "access")


@pytest.mark.parametrize("name", GUARDED)
def test_a_key_that_is_over_opens_nothing(world, name):
    expired = world.key("anna", SCOPES, 0.001)
    time.sleep(0.01)
    assert_problem(world.ask(name, expired), 401, "access")
    revoked = world.key("anna", SCOPES)
    ledger = world.service.ledger
    ledger.change_key(ledger.find_key(digest_of(revoked)).id, revoked_at=ledger.now())
    assert_problem(world.ask(name, revoked), 401, "access")


@pytest.mark.parametrize("name", [name for name in GUARDED if ROUTES[name].needs != ANYBODY])
def test_a_key_of_other_scopes_is_refused(world, name):
    needed = ROUTES[name].needs
    holds = {"assets:read": {"assets:read", "assets:write", "admin"}, "jobs:read": {"jobs:read", "jobs:write", "admin"}}
    enough = holds.get(needed, {needed, "admin"})
    others = [scope for scope in SCOPES if scope not in enough]
    assert others
    assert_problem(world.ask(name, world.key("anna", others)), 403, "scope")


@pytest.mark.parametrize("name", [name for name in GUARDED if ROUTES[name].has_object])
def test_what_is_anothers_is_not_there(world, name):
    assert_problem(world.ask(name, world.keys["ben"]), 404, "not_there")
    anna = world.bearer(world.keys["anna"])
    for path in (f"/v1/assets/{world.asset}/about", f"/v1/jobs/{world.job}", f"/v1/batches/{world.batch}"):
        assert world.client.get(path, headers=anna).status_code == 200
    assert world.client.get(f"/v1/jobs/{world.job}", headers=anna).json()["status"] == "queued"
    assert world.client.head(f"/v1/uploads/{world.upload}", headers={**anna, **TUS}).headers["upload-offset"] == "0"


def test_lists_and_counts_hold_nothing_of_others(world):
    for path in ("/v1/assets", "/v1/jobs"):
        assert world.client.get(path, headers=world.bearer(world.keys["ben"])).json() == {"items": [], "cursor": ""}
        assert world.client.get(path, headers=world.bearer(world.keys["anna"])).json()["items"]
    told = world.client.get("/v1/session", headers=world.bearer(world.keys["ben"])).json()
    assert {name: quota["used"] for name, quota in told["quotas"].items()} == {
        "requests_per_minute": None, "open_jobs": 0, "stored_bytes": 0, "video_s_per_day": 0,
    }  # fmt: skip
    assert told["tenant"] == "ben"


def test_an_id_in_a_job_of_ones_own_does_not_reach_others(world):
    """Every place of a recipe that names an asset."""
    ben = world.bearer(world.keys["ben"])
    photo = sample_path("source.jpg").read_bytes()
    own = world.client.post("/v1/assets", content=photo, headers=ben).json()["id"]
    for recipe in (
        {"target": world.asset},
        {"target": own, "sources": [world.asset]},
        {"target": own, "exempt": [world.asset]},
        {"target": own, "reference_face": world.asset},
        {"target": own, "people": [{"track": 0, "sources": [world.asset]}]},
        {"target": own, "people": [{"reference": world.asset, "sources": [own]}]},
    ):
        assert_problem(world.client.post("/v1/jobs", json={"recipe": recipe}, headers=ben), 404, "not_there")
        assert_problem(world.client.post("/v1/previews", json={"recipe": recipe}, headers=ben), 404, "not_there")
    assert world.client.delete(f"/v1/assets/{own}", headers=ben).status_code == 204


def test_a_key_is_kept_as_a_hash_alone_and_rotated(world):
    ledger = world.service.ledger
    made, secret = create_key(ledger, "carl", ["jobs:read"], 3600)
    assert secret not in str(ledger.find_key_by_id(made.id))
    assert world.client.get("/v1/session", headers=world.bearer(secret)).json()["scopes"] == ["jobs:read"]
    newer, other = rotate_key(ledger, made.id)
    assert world.client.get("/v1/session", headers=world.bearer(other)).json()["tenant"] == "carl"
    assert_problem(world.client.get("/v1/session", headers=world.bearer(secret)), 401)
    assert newer.scopes == made.scopes
    _, third = rotate_key(ledger, newer.id, grace_s=600)
    assert {world.client.get("/v1/session", headers=world.bearer(key)).status_code for key in (other, third)} == {200}


def test_a_key_that_has_ended_is_not_rotated_into_one_that_opens(world):
    ledger = world.service.ledger
    revoked, _ = create_key(ledger, "lost", ["admin"])
    ledger.change_key(revoked.id, revoked_at=ledger.now())
    expired, _ = create_key(ledger, "lost", ["admin"], 0.001)
    time.sleep(0.01)
    for key, why in ((revoked, "was revoked"), (expired, "has expired")):
        with pytest.raises(Conflict, match=why):
            rotate_key(ledger, key.id, 600)
    assert {key.id for key in ledger.list_keys("lost")} == {revoked.id, expired.id}


def test_keys_are_made_listed_and_revoked_on_the_command_line(tmp_path, capfd):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main(["keys", *words, "--json", "--jobs-path", str(tmp_path)])
        out = capfd.readouterr().out
        return end.value.code, [json.loads(line) for line in out.splitlines()]

    code, (made,) = run("create", "--tenant", "t", "--scopes", "jobs:write,assets:read", "--expires", "90d")
    assert (code, made["event"], made["status"]) == (0, "key", "valid")
    assert made["key"].startswith("ff_")
    assert made["expires_at"] - made["created_at"] == pytest.approx(90 * 86400)
    _, (listed,) = run("list")
    assert [key["id"] for key in listed["keys"]] == [made["id"]]
    assert "key" not in listed["keys"][0], "it is shown once"
    assert run("revoke", made["id"])[0] == 0
    assert run("list")[1][0]["keys"][0]["status"] == "revoked"
    for words in (
        ["create", "--scopes", "jobs:write"], ["create", "--tenant", "t", "--scopes", "everything"],
        ["create", "--tenant", "../t", "--scopes", "admin"], ["create", "--tenant", "t"],
        ["create", "--tenant", "t", "--scopes", "admin", "--expires", "soon"], ["revoke", "nothing"], ["rotate"],
    ):  # fmt: skip
        assert run(*words)[0] in (2, 8), words


def test_the_page_of_this_machine_has_a_session_and_no_other_page_can_use_it(world):
    world.client.cookies.clear()
    page = world.client.get("/")
    cookie = page.headers["set-cookie"]
    for word in (COOKIE, "HttpOnly", "SameSite=strict", "Path=/"):
        assert word.lower() in cookie.lower()
    assert world.client.get("/v1/session").json()["tenant"] == "local"
    refused = [
        {}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:6000"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-origin", "Origin": "http://a"},
    ]  # fmt: skip
    for headers in refused:
        assert_problem(world.client.post("/v1/assets", content=b"x", headers=headers), 403, "scope")
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": world.live.url}):
        assert_problem(world.client.post("/v1/assets", content=b"x", headers=headers), 415)
    assert world.client.delete("/v1/session", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204
    world.client.cookies.clear()
    ours = pack(time.time() + 1000, "local")
    forged = base64.urlsafe_b64encode(b'["\\ud800", 1e400]').decode()
    deep = base64.urlsafe_b64encode(b"[" * 20_000).decode()
    for value in (
        "local.e30.00", "key.e30.00", "x", "local.WyJhIiwgMV0.00", "a.b.c.d", f"local.{ours}.\xe9", f"key.{ours}.\xe9",
        f"key.{forged}.00", f"local.{deep}.00", "\xe9", "local.\xe9.00",
    ):  # fmt: skip
        for headers in (
            {"Cookie": f"{COOKIE}={value}".encode("latin-1")},
            {"Authorization": f"Bearer {value}".encode()},
        ):
            assert_problem(world.client.get("/v1/session", headers=headers), 401)


@pytest.mark.parametrize("content", ['[NaN, "a"]', '[1, "\\ud800"]', "[" * 100, '[1e308, "a"]', "3"])
def test_a_cursor_that_is_none_of_ours_is_refused(world, content):
    cursor = base64.urlsafe_b64encode(content.encode()).decode()
    with world.live.client("anna", ["admin"]) as client:
        for path in ("/v1/assets", "/v1/jobs", "/v1/audit"):
            assert_problem(client.get(path, params={"cursor": cursor}), 422, "recipe")


def test_the_session_of_this_machine_does_not_leave_it(world):
    """Neither to who came through a proxy, nor from a service that listens to others, nor over a restart."""
    for headers in ({"X-Forwarded-For": "1.2.3.4"}, {"Forwarded": "for=1.2.3.4"}, {"Via": "1.1 proxy"}):
        assert "set-cookie" not in world.client.get("/", headers=headers).headers
    for address, is_here in (("127.0.0.1", True), ("::1", True), ("192.168.1.7", False), ("", False), ("x", False)):
        scope = {
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": "http",
            "headers": [(b"host", b"127.0.0.1:5000")], "client": (address, 50000), "server": ("127.0.0.1", 5000),
        }  # fmt: skip
        assert is_direct(Request(scope)) is is_here, address
    ledger = world.service.ledger
    cookie = Gate(ledger, True).local_cookie()
    assert_problem(world.client.get("/v1/session", headers={"Cookie": f"{COOKIE}={cookie}"}), 401)
    open_gate = Gate(ledger, False)
    with pytest.raises(AccessRefused, match="session is over"):
        open_gate.identify("", open_gate.local_cookie())


def test_a_key_is_traded_for_a_cookie_that_ends_with_it(world):
    secret = world.key("dora", ["jobs:read"])
    same = {"Sec-Fetch-Site": "same-origin"}
    assert_problem(world.client.post("/v1/session", json={"key": secret}), 403)
    assert_problem(world.client.post("/v1/session", json={"key": "ff_wrong"}, headers=same), 401)
    answer = world.client.post("/v1/session", json={"key": secret}, headers=same)
    assert (answer.status_code, answer.json()["tenant"]) == (200, "dora")
    assert secret not in answer.headers["set-cookie"]
    told = world.client.get("/v1/session").json()
    assert (told["tenant"], told["scopes"], told["is_page"]) == ("dora", ["jobs:read"], True)
    ledger = world.service.ledger
    ledger.change_key(ledger.find_key(digest_of(secret)).id, revoked_at=ledger.now())
    assert_problem(world.client.get("/v1/session"), 401)
    world.client.cookies.clear()


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:5000", "localhost.evil.example", "", "0.0.0.0", "[::2]:5000"]
)
def test_a_name_that_is_not_ours_is_refused(world, host):
    """A page elsewhere may have its own name lead to this machine (DNS rebinding)."""
    for path in ("/", "/v1/health", "/v1/session", "/page/index.html"):
        answer = world.client.get(path, headers={"Host": host})
        assert_problem(answer, 421, "host")
        assert "set-cookie" not in answer.headers


def test_our_own_names_are_known(world):
    for host in ("127.0.0.1:5000", "localhost:5000", "LOCALHOST", "[::1]:5000", "127.0.0.1"):
        assert world.client.get("/v1/health", headers={"Host": host}).status_code == 200


def test_every_answer_has_the_headers_that_keep_a_browser_safe(world):
    anna = world.bearer(world.keys["anna"])
    answers = [
        world.client.get("/"), world.client.get("/page/index.html"), world.client.get("/v1/nothing"),
        world.client.get("/v1/session"), world.client.get("/v1/session", headers=anna),
        world.client.get(f"/v1/assets/{world.asset}", headers=anna),
        world.client.get("/v1/health", headers={"Host": "evil.example"}),
        world.client.post("/v1/jobs", json={}, headers=anna),
    ]  # fmt: skip
    world.client.cookies.clear()
    for answer in answers:
        told = answer.headers
        assert told["x-content-type-options"] == "nosniff"
        assert told["x-frame-options"] == "DENY"
        assert told["referrer-policy"] == "no-referrer"
        assert told["cross-origin-resource-policy"] == "same-origin"
        policy = told["content-security-policy"]
        assert "default-src 'none'" in policy
        scripts = [part for part in policy.split(";") if part.strip().startswith("script-src")]
        assert all("unsafe" not in part and "*" not in part for part in scripts)
        assert told["x-request-id"]
        assert "server" not in told
    assert "sandbox" in answers[5].headers["content-security-policy"]


def test_other_pages_are_told_nothing(world):
    """CORS is closed: no answer names an origin, whoever asks."""
    anna = world.bearer(world.keys["anna"])
    for method, path in (("GET", "/v1/assets"), ("OPTIONS", "/v1/assets"), ("OPTIONS", "/v1/jobs")):
        headers = {**anna, "Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        answer = world.client.request(method, path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_too_many_requests_of_one_tenant_leave_the_others_alone(tmp_path):
    config = ServerConfig(Backend(tmp_path / "jobs"), quotas=Quotas(requests_per_minute=5))
    with InProcess(config) as live, live.client() as client:
        anna, ben, second = (World.bearer(live.key(name)) for name in ("anna", "ben", "anna"))
        assert {client.get("/v1/session", headers=anna).status_code for _ in range(5)} == {200}
        for key in (anna, second):
            answer = client.get("/v1/session", headers=key)
            assert_problem(answer, 429, "requests")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert client.get("/v1/session", headers=ben).status_code == 200


def test_a_key_that_another_process_ends_opens_nothing_a_moment_later(tmp_path, monkeypatch):
    from facefusion.server import access

    seconds = [1000.0]
    monkeypatch.setattr(access.time, "monotonic", lambda: seconds[0])
    ours, other = (Ledger(f"sqlite:///{tmp_path / 'jobs.db'}") for _ in range(2))
    gate = Gate(ours, is_local=True)
    key, secret = create_key(ours, "anna", SCOPES)
    assert gate.recall(secret, "") is None
    assert gate.admit(secret, "") == gate.recall(secret, "")
    assert gate.recall("", secret) is None
    other.change_key(key.id, revoked_at=other.now())
    assert gate.recall(secret, "") is not None
    seconds[0] += access.KNOWN_S
    assert gate.recall(secret, "") is None
    with pytest.raises(AccessRefused):
        gate.admit(secret, "")
    key, secret = create_key(ours, "anna", SCOPES)
    gate.admit(secret, "")
    ours.change_key(key.id, used_at=ours.now())
    assert gate.recall(secret, "") is not None
    ours.change_key(key.id, revoked_at=ours.now())
    assert gate.recall(secret, "") is None


def test_who_guesses_keys_is_slowed_down(tmp_path):
    with InProcess(ServerConfig(Backend(tmp_path / "jobs"))) as live, live.client() as client:
        found = [client.get("/v1/session", headers=World.bearer(f"ff_{k}")).status_code for k in range(125)]
    assert found[:120] == [401] * 120
    assert found[120:] == [429] * 5


def test_quotas_of_jobs_bytes_and_minutes_are_kept(tmp_path):
    photo = sample_path("target.jpg").read_bytes()
    clip = sample_path("target.mp4").read_bytes()
    quotas = Quotas(open_jobs=2, stored_bytes=len(photo) + len(clip) + 10, video_s_per_day=6)
    with InProcess(ServerConfig(Backend(tmp_path / "jobs"), quotas=quotas)) as live, live.client("anna") as client:
        asset = client.post("/v1/assets", content=photo).json()["id"]
        film = client.post("/v1/assets", content=clip).json()["id"]
        too_much = client.post("/v1/assets", content=photo)
        assert_problem(too_much, 429, "stored")
        assert_problem(client.post("/v1/uploads", headers={**TUS, "Upload-Length": "11"}), 429, "stored")
        assert client.post("/v1/uploads", headers={**TUS, "Upload-Length": "10"}).status_code == 201
        assert_problem(client.post("/v1/assets", content=b"12"), 429, "stored")
        body = {"recipe": {"target": film, "sources": [asset]}}
        assert client.post("/v1/jobs", json=body).status_code == 202
        answer = client.post("/v1/jobs", json=body)
        assert_problem(answer, 429, "video_minutes")
        found = re.fullmatch(
            r"(\S+) s of 6 s of video a day are used, and this is (\S+) s more\.", answer.json()["detail"]
        )
        assert found and float(found[1]) + float(found[2]) > 6  # it was "0.1 of 0 minutes"
        assert int(answer.headers["retry-after"]) <= 86400
        assert (
            client.post("/v1/jobs", json={"recipe": {"target": film, "sources": [asset], "end_s": 1.5}}).status_code
            == 202
        )
        answer = client.post("/v1/jobs", json={"recipe": {"target": asset, "sources": [asset]}})
        assert_problem(answer, 429, "open_jobs")
        used = client.get("/v1/session").json()["quotas"]
        assert used["video_s_per_day"] == {"limit": 6.0, "used": pytest.approx(5.5)}
        assert used["open_jobs"] == {"limit": 2, "used": 2}
        assert_problem(client.delete(f"/v1/assets/{film}"), 409, "conflict")


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    """Keys of a provider of tokens, one of them published."""
    keys = {name: rsa.generate_private_key(65537, 2048) for name in ("known", "unknown")}
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(keys["known"].public_key()))
    path = tmp_path_factory.mktemp("provider") / "jwks.json"
    path.write_text(json.dumps({"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}))
    return keys, path


def test_tokens_of_a_provider_open_what_they_name_and_nothing_else(tmp_path, provider):
    keys, jwks = provider
    oidc = Oidc("https://issuer.example", "facefusion", str(jwks))
    good = {
        "iss": "https://issuer.example", "aud": "facefusion", "sub": "u1", "tenant": "anna",
        "exp": datetime.now(UTC) + timedelta(minutes=5), "scope": "jobs:read assets:read unknown:scope",
    }  # fmt: skip

    def token(key="known", algorithm="RS256", headers=None, **changes):
        claims = {name: value for name, value in {**good, **changes}.items() if value is not None}
        return jwt.encode(claims, keys[key], algorithm, headers={"kid": "one", **(headers or {})})

    public = keys["known"].public_key()
    pem = public.public_bytes(*_pem())
    hmac_signed = _forge_hmac(good, pem)
    unsigned = jwt.encode({**good, "exp": int(good["exp"].timestamp())}, None, "none", headers={"kid": "one"})
    with InProcess(ServerConfig(Backend(tmp_path / "jobs"), oidc=oidc)) as live, live.client() as client:

        def ask(word, path="/v1/session", method="GET"):
            return client.request(method, path, headers=World.bearer(word))

        told = ask(token()).json()
        assert (told["tenant"], told["who"], told["scopes"]) == ("anna", "token u1", ["assets:read", "jobs:read"])
        assert ask(token(scope=None, scp=["jobs:write"])).json()["scopes"] == ["jobs:read", "jobs:write"]
        assert_problem(ask(token(), "/v1/assets", "POST"), 403, "scope")
        past = datetime.now(UTC) - timedelta(minutes=5)
        for bad in (
            token(exp=past), token(exp=None), token(iss="https://other"), token(iss=None), token(aud="other"),
            token(aud=None), token(sub=None), token("unknown"), token(tenant=None), token(tenant="../x"),
            token(tenant="local"), token(tenant=["anna"]), token(nbf=datetime.now(UTC) + timedelta(hours=1)),
            token(headers={"kid": "two"}), unsigned, hmac_signed, token()[:-4] + "AAAA",
        ):  # fmt: skip
            assert_problem(ask(bad), 401, "access")

        strange = "u1\nanna said \u202efdp.exe\u200b\x1b[31m"
        assert ask(token(sub=strange)).json()["who"] == "token u1 anna said fdp.exe[31m"


@pytest.mark.parametrize("content", ["[]", '{"keys":[null]}', '{"keys":[]}', "null", "{", '{"keys":[{"kty":"x"}]}'])
def test_public_keys_that_are_none_are_no_fault_of_who_asks(tmp_path, provider, content):
    keys, jwks = provider
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks.read_bytes())
    claims = {"iss": "https://i", "aud": "f", "sub": "u", "tenant": "anna", "scope": "jobs:read",
              "exp": datetime.now(UTC) + timedelta(minutes=5)}  # fmt: skip
    word = jwt.encode(claims, keys["known"], "RS256", headers={"kid": "one"})
    config = ServerConfig(Backend(tmp_path / "jobs"), oidc=Oidc("https://i", "f", str(path)))
    with InProcess(config) as live, live.client() as client:
        path.write_text(content)
        answer = client.get("/v1/session", headers=World.bearer(word))
        assert_problem(answer, 503, "tokens_unready")
        assert str(tmp_path) not in answer.text and "cryptography" not in answer.text
        path.write_bytes(jwks.read_bytes())
        assert client.get("/v1/session", headers=World.bearer(word)).status_code == 200


def _pem():
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Encoding.PEM, PublicFormat.SubjectPublicKeyInfo


def _forge_hmac(claims, pem):
    """A token that is signed by HMAC with the public key, which libraries have fallen for."""
    import hashlib
    import hmac

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    body = part({"alg": "HS256", "kid": "one"}) + b"." + part({**claims, "exp": int(claims["exp"].timestamp())})
    mark = base64.urlsafe_b64encode(hmac.new(pem, body, hashlib.sha256).digest()).rstrip(b"=")
    return (body + b"." + mark).decode()


def test_a_service_without_keys_is_for_this_machine_alone(tmp_path):
    backend = Backend(tmp_path / "jobs")
    assert check(ServerConfig(backend)) is False
    for host in ("0.0.0.0", "192.168.0.1", "::", "example.org"):
        with pytest.raises(RecipeError, match="no key yet"):
            check(ServerConfig(backend, host=host))
    ledger = Ledger(ServerConfig(backend).store_url)
    create_key(ledger, "anna", ["admin"], 0.001)
    time.sleep(0.01)
    with pytest.raises(RecipeError, match="no key yet"):
        check(ServerConfig(backend, host="0.0.0.0"))
    create_key(ledger, "anna", ["admin"])
    ledger.close()
    assert check(ServerConfig(backend, host="0.0.0.0")) is True
    for algorithms in (("none",), ("HS256",), ("RS256", "HS512")):
        oidc = Oidc("https://i", "a", "keys.json", algorithms)
        with pytest.raises(RecipeError, match="cannot tell who signed"):
            check(ServerConfig(backend, oidc=oidc))


def test_it_is_written_who_did_what_without_names_of_files(world):
    anna = world.bearer(world.keys["anna"])
    answer = world.client.post(
        "/v1/assets",
        params={"name": "secret holiday.jpg"},
        content=sample_path("target.jpg").read_bytes(),
        headers=anna,
    )
    asset = answer.json()["id"]
    world.client.get(f"/v1/assets/{asset}", headers=anna)
    world.client.delete(f"/v1/assets/{asset}", headers=anna)
    admin = world.bearer(world.key("root", ["admin"]))
    told = world.client.get("/v1/audit", params={"tenant": "anna", "limit": 3}, headers=admin).json()
    deeds = [(deed["what"], deed["object"], deed["status"]) for deed in told["items"]]
    assert deeds == [
        ("DELETE /v1/assets/{asset_id}", asset, 204),
        ("GET /v1/assets/{asset_id}", asset, 200),
        ("POST /v1/assets", "", 201),
    ]
    assert all(deed["who"].startswith("key ") and deed["at"].endswith("Z") for deed in told["items"])
    assert told["items"][2]["request_id"] == answer.headers["x-request-id"]
    everything = json.dumps(world.client.get("/v1/audit", params={"limit": 200}, headers=admin).json())
    assert "holiday" not in everything and "/home" not in everything
    page = world.client.get("/v1/audit", params={"limit": 2}, headers=admin).json()
    rest = world.client.get("/v1/audit", params={"limit": 2, "cursor": page["cursor"]}, headers=admin).json()
    assert max(deed["id"] for deed in rest["items"]) < min(deed["id"] for deed in page["items"])


def test_a_tenant_is_taken_away_and_it_is_shown_that_nothing_is_left(tmp_path):
    made = World(tmp_path)
    try:
        admin = World.bearer(made.key("root", ["admin"]))
        before = made.client.get("/v1/tenants/anna", headers=admin).json()["counts"]
        assert before["assets"] == before["orders"] == before["uploads"] == before["keys"] == 1
        assert before["files"] == 3  # the photo, its small picture, the upload
        answer = made.client.delete("/v1/tenants/anna", headers=admin)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert set(told["left"].values()) == {0} and told["files_left"] == 0
        assert told["files_removed"] == 3 and told["removed"]["orders"] == 1
        assert_problem(made.client.get("/v1/session", headers=World.bearer(made.keys["anna"])), 401)
        files = [path for path in (tmp_path / "jobs").rglob("*") if path.is_file() and "jobs.db" not in path.name]
        assert [path for path in files if "anna" in str(path) or path.suffix in (".jpg", ".webp")] == []
        assert made.client.get("/v1/session", headers=World.bearer(made.keys["ben"])).status_code == 200
        again = made.client.delete("/v1/tenants/anna", headers=admin).json()
        assert set(again["removed"].values()) == {0}
    finally:
        made.close()


def test_what_a_service_cannot_start_with_is_told_in_a_line(tmp_path, capsys):
    """Whatever is wrong is found before anybody can connect, and is no fault of ours."""
    (tmp_path / "junk.pem").write_text("junk")
    (tmp_path / "keys.json").write_text('{"keys": 3}')
    junk, keys, none = (str(tmp_path / name) for name in ("junk.pem", "keys.json", "none.pem"))
    oidc = ("--oidc-issuer", "https://a", "--oidc-audience", "b", "--oidc-jwks")
    for words, code, said in (
        (("--certificate", none, "--certificate-key", none), 2, "cannot be used with the key"),
        (("--certificate", junk, "--certificate-key", junk), 2, "cannot be used with the key"),
        (("--limits-store", "foo://x"), 2, "cannot be counted"),
        ((*oidc, none), 2, "no public keys"),
        ((*oidc, junk), 2, "no public keys"),
        ((*oidc, keys), 2, "no public keys"),
        (("--host", "a..b"), 2, "no key yet"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["serve", "--jobs-path", str(tmp_path / "jobs"), "--port", "0", *words])
        assert (stop.value.code, said in capsys.readouterr().err) == (code, True), words
    for host in ("a..b", "x" * 70 + ".example"):
        with pytest.raises(OutputRefused, match="Nobody can listen"):
            listen(ServerConfig(Backend(tmp_path), host=host, port=0))


def test_keys_that_cannot_be_are_refused_and_make_none(tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["keys", *words, "--jobs-path", str(tmp_path)])
        return stop.value.code, capsys.readouterr()

    mine = ("create", "--tenant", "anna", "--scopes", "admin")
    for words, said in (
        ((*mine, "--expires", "999999y"), "a hundred years"),
        ((*mine, "--expires", "0d"), "no duration"),
        ((*mine, "--note", "x" * 201), "201 characters"),
        ((*mine, "ben"), "'ben' means nothing"),
        (("list", "ben"), "'ben' means nothing"),
    ):
        code, told = run(*words)
        assert (code, said in told.err) == (2, True), words
    assert "No keys" in run("list")[1].out
    assert run(*mine, "--expires", "100y")[0] == 0
    ledger = Ledger(f"sqlite:///{tmp_path / 'jobs.db'}")
    create_key(ledger, "anna", ["admin"], 1e15)
    ledger.close()
    code, told = run("list")
    assert (code, told.out.count("anna"), "9999-12-31" in told.out) == (0, 2, True)


def test_a_name_may_stand_behind_options(tmp_path, capsys):
    for words in (("keys", "revoke", "--json", "0000"), ("keys", "rotate", "--grace", "1d", "0000", "--json")):
        with pytest.raises(SystemExit):
            main([*words, "--jobs-path", str(tmp_path)])
        assert json.loads(capsys.readouterr().out)["message"] == "There is no key 0000."
    for words in (("jobs", "show", "--jobs-path", str(tmp_path), "0000"), ("jobs", "--json", "show", "0000")):
        with pytest.raises(SystemExit):
            main([*words, "--jobs-path", str(tmp_path)])
        told = capsys.readouterr()
        assert "There is no job 0000." in told.out + told.err


def test_addresses_stay_in_what_is_told_and_places_do_not():
    assert for_clients("Use https://HOST/PATH or http://a/b.") == "Use https://HOST/PATH or http://a/b."
    assert for_clients("See file:///srv/jobs/a.db, /srv/x/a.jpg and C:\\x\\b.jpg.") == "See file:a.db, a.jpg and b.jpg."


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"recipe":' + b"9" * 5000 + b"}"])
def test_a_body_that_nobody_can_read_is_refused_with_what_to_do(world, content):
    with world.live.client("anna") as client:
        answer = client.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "bad_request")
    assert answer.json()["hint"]
    assert answer.json()["detail"].endswith(".")


def test_answers_are_sent_at_once(tmp_path):
    async def connect() -> int:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[int] = loop.create_future()

        class Side(asyncio.Protocol):
            def connection_made(self, transport):
                used = transport.get_extra_info("socket")
                told.set_result(used.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        server = await loop.create_server(Side, sock=listen(ServerConfig(Backend(tmp_path), port=0)))
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        found = await told
        writer.close()
        server.close()
        return found

    assert asyncio.run(connect())
