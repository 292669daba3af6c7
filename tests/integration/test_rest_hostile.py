"""What somebody tries who has a key, or none, and means harm: one of them never stops what others have."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from tests.live import InProcess, upload
from tests.patience import PATIENCE_S, wait_until

from facefusion.errors import AccessRefused
from facefusion.jobs.ledger import Delivery
from facefusion.server import access, events, finder, keeper, uploads, webhooks
from facefusion.server.access import COOKIE
from facefusion.server.app import is_direct
from facefusion.server.config import Oidc, Quotas, ServerConfig
from facefusion.server.guard import BODY_BYTES, BODY_VALUES, Guard
from facefusion.server.keeper import Keeper
from facefusion.service.backend import Backend

TUS = {"Tus-Resumable": "1.0.0"}
SECRET = "a secret of sixteen or more"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    quotas = Quotas(requests_per_minute=10**6, open_jobs=20)
    with InProcess(ServerConfig(Backend(tmp_path_factory.mktemp("live") / "jobs"), quotas=quotas)) as made:
        yield made


@pytest.fixture(scope="module")
def anna(live):
    with live.client("anna") as client:
        yield client


@pytest.fixture(scope="module")
def photo(anna):
    return upload(anna, "target.jpg")


def delivery(url, number=1):
    return Delivery(f"{number:032d}", "anna", "2" * 32, "waiting", url, SECRET, "{}", 0, "", 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/\x01", "https://example.org/\n", "https://example.org/\x7f", "https://xn--é.example/",
        "https://[::ffff:7f00:1/", "https://exam\tple.org/\x00",
    ],
)  # fmt: skip
def test_an_address_that_nothing_can_be_sent_to_is_refused_and_stops_no_message_of_others(anna, photo, url):
    hook = {"url": url, "secret": SECRET}
    answer = anna.post("/v1/jobs", json={"recipe": {"target": photo, "sources": [photo]}, "webhook": hook})
    assert (answer.status_code, answer.json()["code"]) == (422, "recipe")
    told = webhooks.send(delivery(url), allow_private=True)  # as an earlier version may have kept it
    assert told and not told.startswith("2")


def test_a_message_that_fails_as_nobody_expected_does_not_end_the_messages_of_others(live, monkeypatch):
    seen = []

    def deliver(ledger, allow_private):
        seen.append(ledger)
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(keeper, "LOOK_S", 0.01)
    monkeypatch.setattr(webhooks, "deliver_next", deliver)
    made = Keeper(live.service)
    thread = threading.Thread(target=made._deliver, daemon=True)
    thread.start()
    wait_until(lambda: len(seen) > 2)
    made._is_over.set()
    thread.join(PATIENCE_S)


def test_an_answer_that_drips_holds_up_the_messages_of_others_for_a_while_only(monkeypatch):
    monkeypatch.setattr(webhooks, "WHOLE_S", 0.5)
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as held:

        def drip():
            there, _ = held.accept()
            with there:
                there.sendall(b"HTTP/1.1 200 OK\r\n")
                while not is_over.wait(0.05):
                    try:
                        there.sendall(b"X-More: a\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        told = webhooks.send(delivery(f"http://127.0.0.1:{held.getsockname()[1]}/"), allow_private=True)
        is_over.set()
        thread.join(PATIENCE_S)
    assert told.startswith("It did not answer within")


def test_a_page_behind_a_proxy_that_speaks_https_can_use_its_session(live):
    secret = live.key("dora", ["jobs:write", "assets:write"])
    port = live.port
    with live.client() as client:
        for origin in (f"https://127.0.0.1:{port + 1}", "https://evil.example", f"ftp://127.0.0.1:{port}"):
            assert client.post("/v1/session", json={"key": secret}, headers={"Origin": origin}).status_code == 403
        headers = {"Origin": f"https://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
        answer = client.post("/v1/session", json={"key": secret}, headers=headers)
        assert answer.status_code == 200
        assert "; secure" in answer.headers["set-cookie"].lower()  # the browser sends it by https alone
        cookie = {"Cookie": f"{COOKIE}={answer.headers['set-cookie'].split('=', 1)[1].split(';')[0]}"}
        assert client.post("/v1/uploads", headers={**headers, **cookie}).status_code == 412
        crossed = {**headers, **cookie, "Sec-Fetch-Site": "same-site"}
        assert client.post("/v1/uploads", headers=crossed).status_code == 403


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({}, "1.0"), ({"X-Real-IP": "1.2.3.4"}, "1.1"), ({"X-Forwarded-Proto": "https"}, "1.1"),
        ({"CF-Connecting-IP": "1.2.3.4"}, "1.1"),
    ],
)  # fmt: skip
def test_what_proxies_add_or_speak_keeps_the_session_of_this_machine_from_them(headers, version):
    """nginx adds nothing unless it is told to, and speaks HTTP/1.0 to those behind it."""

    def request(version, headers):
        told = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return Request({
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": "http",
            "http_version": version, "headers": [(b"host", b"127.0.0.1:5000"), *told], "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 5000),
        })  # fmt: skip

    assert not is_direct(request(version, headers))
    assert is_direct(request("1.1", {}))


def test_at_every_address_a_name_that_looks_like_one_is_still_a_name(tmp_path):
    guard = Guard(None, ServerConfig(Backend(tmp_path), host="0.0.0.0"))

    def is_known(host):
        try:
            guard._check_host({"headers": [(b"host", host.encode())]})
        except Exception:
            return False
        return True

    assert [host for host in ("cafe", "be", "1.2", "dead:beef", "...", "a:b:c", "evil.example") if is_known(host)] == []
    assert all(is_known(host) for host in ("10.1.2.3:5000", "[fd00::7]:5000", "[::1]", "localhost"))


def test_strangers_do_not_fill_the_log_of_deeds(tmp_path):
    quotas = Quotas(refusals_per_minute=3)
    with InProcess(ServerConfig(Backend(tmp_path / "jobs"), quotas=quotas)) as live, live.client() as client:
        answers = [client.post("/v1/jobs", json={}).status_code for _ in range(8)]
        answers += [client.post("/v1/health").status_code for _ in range(8)]
        assert answers == [401] * 3 + [429] * 5 + [405] * 8
        live.service.flush_deeds()
        assert [deed.status for deed in live.service.ledger.list_deeds(100)] == [401] * 3


@pytest.mark.parametrize("field", ["face_mask_areas", "nothing"])
def test_a_body_of_very_many_values_is_refused_before_each_is_looked_at(anna, photo, field):
    many = ",".join('"x"' for _ in range(BODY_VALUES + 2))
    content = f'{{"recipe":{{"target":"{photo}","{field}":[{many}]}}}}'
    assert len(content) < BODY_BYTES
    answer = anna.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_more_jobs_than_may_be_open_are_refused_before_any_is_looked_at(anna, photo, live, monkeypatch):
    from facefusion.server import jobs

    monkeypatch.setattr(jobs, "_asked", lambda *_: pytest.fail("it was looked at"))
    answer = anna.post("/v1/batches", json={"sources": [[photo]] * 21, "targets": [photo]})
    assert (answer.status_code, answer.json()["code"]) == (429, "open_jobs")
    assert live.service.ledger.used("anna")["open_jobs"] == 0


def test_extensions_of_tus_that_are_not_spoken_here_are_refused_and_make_nothing(anna, live):
    before = live.service.ledger.open_uploads("anna")
    for more in (
        {"Upload-Concat": "partial"}, {"Upload-Concat": "final;/v1/uploads/a /v1/uploads/b"},
        {"Upload-Defer-Length": "1"},
    ):  # fmt: skip
        answer = anna.post("/v1/uploads", headers={**TUS, "Upload-Length": "5", **more})
        assert (answer.status_code, answer.json()["code"]) == (400, "request"), more
    assert live.service.ledger.open_uploads("anna") == before


def test_uploads_that_are_begun_and_left_do_not_become_ever_more(live, monkeypatch):
    monkeypatch.setattr(uploads, "OPEN_UPLOADS", 2)
    with live.client("ben") as ben, live.client("carl") as carl:
        headers = {**TUS, "Upload-Length": "5"}
        places = [ben.post("/v1/uploads", headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in places] == [201, 201, 429]
        assert (places[2].json()["code"], int(places[2].headers["retry-after"]) > 0) == ("uploads", True)
        assert carl.post("/v1/uploads", headers=headers).status_code == 201
        assert ben.delete(places[0].headers["location"], headers=TUS).status_code == 204
        assert ben.post("/v1/uploads", headers=headers).status_code == 201


def test_two_pieces_at_once_of_one_upload_leave_it_as_if_there_had_been_one(anna):
    place = anna.post("/v1/uploads", headers={**TUS, "Upload-Length": "200000"}).headers["location"]
    piece = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    with ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda n: anna.patch(place, content=bytes([n]) * 50_000, headers=piece), range(8)))
    assert sorted({answer.status_code for answer in answers}) in ([204], [204, 409])
    assert [answer.status_code for answer in answers].count(204) == 1
    assert anna.head(place, headers=TUS).headers["upload-offset"] == "50000"
    assert anna.delete(place, headers=TUS).status_code == 204


def test_what_stands_beside_the_file_of_a_form_has_an_end(anna):
    def form():
        yield b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n'
        for _ in range(40):
            yield bytes(BODY_BYTES // 20)
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = anna.post("/v1/assets", content=form(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_looks_that_are_asked_for_do_not_become_ever_more_threads(live, monkeypatch):
    monkeypatch.setattr(finder, "MOST", 2)
    is_over = threading.Event()

    class Slow(finder.Finder):
        record = "nothing"

        def read(self, asset, text):
            return text

        def look(self, asset, place):
            is_over.wait(PATIENCE_S)
            return "seen"

        def failed(self, told):
            return "failed"

    class Thing:
        tenant = "nobody"

        def __init__(self, number):
            self.id = f"{number:032x}"

    made = Slow(live.service)
    for number in range(20):
        made.begin(Thing(number))
    assert made._busy == {f"{number:032x}" for number in range(2)}
    is_over.set()
    wait_until(lambda: not made._busy)
    made.begin(Thing(7))
    wait_until(lambda: not made._busy)


def test_events_end_with_the_key_of_whoever_listens(live, photo, monkeypatch):
    monkeypatch.setattr(events, "KNOWN_S", 0.1)
    with live.client("anna") as client:
        job = client.post("/v1/jobs", json={"recipe": {"target": photo, "sources": [photo]}}).json()["id"]
        secret = client.headers["authorization"].removeprefix("Bearer ")
        ledger = live.service.ledger
        with client.stream("GET", f"/v1/jobs/{job}/events") as answer:
            lines = answer.iter_lines()
            while not next(lines).startswith("event: status"):
                pass
            ledger.change_key(ledger.find_key(access.digest_of(secret)).id, revoked_at=ledger.now())
            list(lines)  # it ends, although the job waits
    assert ledger.get_order("anna", job).status == "queued"
    hub = live.app.state.hub
    wait_until(lambda: not hub._watched)
    with live.client("anna") as client:
        assert client.delete(f"/v1/jobs/{job}").status_code == 204


def test_one_tenant_does_not_listen_on_all_connections(live, anna, photo, monkeypatch):
    monkeypatch.setattr(events, "MOST", 1)
    job = anna.post("/v1/jobs", json={"recipe": {"target": photo, "sources": [photo]}}).json()["id"]
    with anna.stream("GET", f"/v1/jobs/{job}/events") as first:
        lines = first.iter_lines()
        next(lines)
        second = anna.get(f"/v1/jobs/{job}/events")
        assert (second.status_code, second.json()["code"]) == (429, "streams")
    assert anna.delete(f"/v1/jobs/{job}").status_code == 204


def test_tokens_with_made_up_ids_do_not_have_the_provider_asked_for_each(monkeypatch):
    key = rsa.generate_private_key(65537, 2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    asked = []

    def fetch(self):
        asked.append(1)
        told = {"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}
        self.jwk_set_cache.put(told)
        return told

    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", fetch)
    tokens = access._Tokens(Oidc("https://i.example", "facefusion", "https://i.example/jwks"))
    claims = {
        "iss": "https://i.example", "aud": "facefusion", "sub": "u", "tenant": "anna", "scope": "jobs:read",
        "exp": time.time() + 3600,
    }  # fmt: skip

    def token(kid, algorithm="RS256"):
        secret = key if algorithm == "RS256" else "a secret that is long enough for HMAC of SHA-256"
        return jwt.encode(claims, secret, algorithm, headers={"kid": kid})

    assert tokens.read(token("one")).tenant == "anna"
    for number in range(20):
        for bad in (token(f"made-up-{number}"), token("one", "HS256")):
            with pytest.raises(AccessRefused):
                tokens.read(bad)
    assert len(asked) <= 2, "known keys once, and once anew"
    monkeypatch.setattr(access, "ASKED_EVERY_S", 0.0)
    with pytest.raises(AccessRefused):
        tokens.read(token("two"))
    assert len(asked) == 3, "a provider that has new keys is asked again"
