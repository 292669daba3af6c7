"""Files on their way in and out: whole, in pieces, hostile, and nothing left of what failed."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.live import InProcess, LiveServer, upload
from tests.patience import PATIENCE_S, wait_until

from facefusion.errors import LimitReached
from facefusion.jobs.ledger import Upload
from facefusion.server import guard, hands, intake, run
from facefusion.server.config import ServerConfig
from facefusion.server.intake import shown_name
from facefusion.server.life import expire
from facefusion.server.pieces import FolderPieces, StoredPieces
from facefusion.service.backend import Backend
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    backend = Backend(tmp_path_factory.mktemp("live") / "jobs")
    with InProcess(ServerConfig(backend, upload_bytes=3_000_000, clip_s=60)) as made:
        yield made


@pytest.fixture(scope="module")
def anna(live):
    with live.client("anna") as client:
        yield client


def files_of(live):
    """Every file of the service, but for the store and its locks."""
    folder = live.service.config.backend.folder
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("jobs.db") and not name.endswith(".lock")}


@pytest.fixture
def nothing_left(live):
    """What a test does that fails leaves no file, and no row."""
    before, rows = files_of(live), live.service.ledger.count_tenant("anna")
    yield
    wait_until(lambda: files_of(live) == before, lambda: str(files_of(live) ^ before))
    after = live.service.ledger.count_tenant("anna")
    assert {k: v for k, v in after.items() if k != "audit"} == {k: v for k, v in rows.items() if k != "audit"}


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_bomb(width, height, rows=0):
    """A PNG that promises far more pixels than its bytes suggest."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1 + 3 * width) * rows) if rows else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text_bomb():
    """A PNG whose text unpacks to 200 MB."""
    held = io.BytesIO()
    Image.new("RGB", (8, 8)).save(held, "PNG")
    content = held.getvalue()
    packed = zlib.compress(bytes(200_000_000), 9)
    return content[:33] + chunk(b"zTXt", b"a\0\0" + packed) + content[33:]


def zip_bomb():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.jpg", bytes(50_000_000))
    return held.getvalue()


def jpeg(suffix=b""):
    return sample_path("target.jpg").read_bytes() + suffix


HOSTILE = {
    "pixels": (lambda: png_bomb(60_000, 60_000), (413, 415)),
    "many pixels with rows": (lambda: png_bomb(20_000, 20_000, 100), (413, 415)),
    "one thin picture": (lambda: png_bomb(2_000_000_000, 1), (413, 415)),
    "text that unpacks": (text_bomb, (201, 413, 415)),
    "a zip": (zip_bomb, (415,)),
    "a picture that is a program": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', (415,)),
    "a picture with an entity": (
        lambda: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>', (415,),
    ),
    "a page": (lambda: b"<html><script>alert(1)</script></html>", (415,)),
    "a list of addresses": (lambda: b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n", (415,)),
    "a list of files": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", (415,)),
    "a session description": (lambda: b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 1 RTP/AVP 96\r\n", (415,)),
    "a script": (lambda: b"#!/bin/sh\ncurl evil.example\n", (415,)),
    "nothing but noughts": (lambda: bytes(100_000), (415,)),
    "half a photo": (lambda: jpeg()[:2000], (415,)),
    "a head alone": (lambda: b"\xff\xd8\xff", (415,)),
    "empty": (lambda: b"", (400,)),
    "an animation": (lambda: _animated(), (415,)),
}  # fmt: skip


def _animated():
    held = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), (k * 40, 0, 0)) for k in range(5)]
    frames[0].save(held, "WEBP", save_all=True, append_images=frames[1:])
    return held.getvalue()


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_what_is_no_photo_clip_or_sound_is_refused_and_leaves_nothing(live, anna, name):
    make, expected = HOSTILE[name]
    before = files_of(live)
    content = make()
    for way in ("body", "form", "tus"):
        if way == "body":
            answer = anna.post("/v1/assets", content=content, headers={"Content-Type": "image/jpeg"})
        elif way == "form":
            answer = anna.post("/v1/assets", files={"file": ("a.jpg", content, "image/jpeg")})
        elif not content:
            continue
        else:
            made = anna.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(content))})
            answer = anna.patch(made.headers["location"], content=content, headers={**PIECE, "Upload-Offset": "0"})
            assert anna.head(made.headers["location"], headers=TUS).status_code == (200 if answer.is_success else 404)
        if answer.is_success:
            asset = answer.headers.get("facefusion-asset") or answer.json()["id"]
            assert 201 in expected
            assert anna.delete(f"/v1/assets/{asset}").status_code == 204
        else:
            assert answer.status_code in expected, (way, answer.text)
            assert answer.json()["hint"]
    for one in live.service.ledger.uploads():
        live.service.ledger.remove_upload(one.id)
    wait_until(lambda: files_of(live) == before, lambda: str(files_of(live) ^ before))
    assert anna.get("/v1/health").status_code == 200


def test_a_photo_that_is_also_something_else_is_served_as_a_photo_and_nothing_runs(anna):
    """Polyglots: what a browser would run is behind or inside of a good picture."""
    page = b"<html><script>alert(document.domain)</script></html>"
    for content in (jpeg(page), jpeg(zip_bomb()), jpeg(b"%PDF-1.7\n1 0 obj\n<< /OpenAction << /S /JavaScript >> >>")):
        answer = anna.post(
            "/v1/assets", params={"name": "a.html"}, content=content, headers={"Content-Type": "text/html"}
        )
        assert answer.status_code == 201
        assert answer.json()["media_type"] == "image/jpeg"
        got = anna.get(f"/v1/assets/{answer.json()['id']}")
        assert got.content == content
        assert got.headers["content-type"] == "image/jpeg"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in got.headers["content-security-policy"]


def test_names_are_shown_and_never_used_as_paths(live, anna):
    for name in (
        "../../../../etc/cron.d/evil", "..\\..\\evil.jpg", "/etc/passwd", "C:\\Windows\\evil.jpg", "a\0b.jpg",
        "\r\nX: y", "a" * 400, "....", "con", "%2e%2e%2fevil", "\u202egpj.exe", "naïve 人.jpg", "a;rm -rf ~.jpg",
        '"quoted".jpg',
    ):  # fmt: skip
        before = files_of(live)
        answer = anna.post("/v1/assets", params={"name": name}, content=jpeg())
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert "/" not in made["name"] and "\\" not in made["name"] and len(made["name"]) <= 120
        assert made["name"].isprintable()
        new = files_of(live) - before
        assert new == {f"service/assets/anna/{made['id']}/{n}" for n in (f"{made['id']}.jpg", "thumbnail.webp")}
        got = anna.get(f"/v1/assets/{made['id']}", params={"download": True})
        assert got.headers["content-disposition"].startswith('attachment; filename="')
        encoded = base64.b64encode(name.encode()).decode()
        headers = {**TUS, "Upload-Length": "10", "Upload-Metadata": f"filename {encoded}"}
        place = anna.post("/v1/uploads", headers=headers).headers["location"]
        assert anna.delete(place, headers=TUS).status_code == 204
        assert anna.delete(f"/v1/assets/{made['id']}").status_code == 204
        assert files_of(live) == before
    assert shown_name("../../a/b.jpg") == "b.jpg"
    assert shown_name("...", "photo.jpg") == "photo.jpg"


def test_a_file_that_is_too_large_is_refused_before_it_comes(live, anna, nothing_left):
    most = live.service.config.upload_bytes
    answer = anna.post("/v1/uploads", headers={**TUS, "Upload-Length": str(most + 1)})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = anna.post("/v1/uploads", headers={**TUS, "Upload-Length": str(10**19)})
    assert answer.status_code == 413
    asked, told = raw(live, head(live, anna, most + 1))
    assert asked.startswith(b"HTTP/1.1 413")
    assert b"too_large" in told


def test_a_file_that_turns_out_too_large_is_refused_on_the_way(live, anna, nothing_left):
    most = live.service.config.upload_bytes

    def endless():
        for _ in range(most // 100_000 + 5):
            yield bytes(100_000)

    answer = anna.post("/v1/assets", content=endless())  # chunked: it announces nothing
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def head(live, anna, length, path="/v1/assets", method="POST", more=""):
    key = anna.headers["authorization"]
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{live.port}\r\nAuthorization: {key}\r\n"
        f"Content-Length: {length}\r\n{more}\r\n"
    ).encode()


def raw(live, *parts, is_cut=False, patience_s=60):
    """Send bytes over a connection; the head and the body of what comes back."""
    with socket.create_connection(("127.0.0.1", live.port), 10) as sock:
        sock.settimeout(patience_s)
        for part in parts:
            sock.sendall(part)
        if is_cut:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b"", b""
        got = b""
        while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) == 0:
            piece = sock.recv(65536)
            if not piece:
                break
            got += piece
        first, _, rest = got.partition(b"\r\n\r\n")
        return first, rest


def test_ten_gigabytes_announced_and_a_thousand_bytes_sent(live, anna, nothing_left, monkeypatch):
    first, _ = raw(live, head(live, anna, 10_000_000_000), bytes(1000))
    assert first.startswith(b"HTTP/1.1 413")
    raw(live, head(live, anna, 2_000_000), bytes(1000), is_cut=True)
    first, _ = raw(
        live, head(live, anna, 50, "/v1/jobs", more="Content-Type: application/json\r\n"), b'{"a":', is_cut=True
    )
    monkeypatch.setattr(guard, "IDLE_S", 0.5)
    first, told = raw(live, head(live, anna, 2_000_000), bytes(1000))
    assert first.startswith(b"HTTP/1.1 408"), first
    assert b'"code":"slow"' in told


def test_who_sends_byte_by_byte_is_sent_away(live, anna, nothing_left, monkeypatch):
    """Slow loris, with the body."""
    monkeypatch.setattr(guard, "SLOW_AFTER_S", 0.5)
    with socket.create_connection(("127.0.0.1", live.port), 10) as sock:
        sock.settimeout(0.05)
        sock.sendall(head(live, anna, 1_000_000))
        got = b""

        def is_answered():
            nonlocal got
            try:
                sock.sendall(b"a")
                got += sock.recv(65536)
            except TimeoutError:
                pass
            except OSError:
                return True
            return b"408" in got

        wait_until(is_answered)
        assert b"408" in got[:20]


def test_who_dawdles_over_headers_is_sent_away(live, monkeypatch):
    """Slow loris, with the headers; at the first request of a connection and at a later one."""
    monkeypatch.setattr(run, "HEAD_S", 0.5)
    monkeypatch.setattr(run, "KEEP_S", 2.0)
    for first in (b"", f"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1:{live.port}\r\n\r\n".encode()):
        with socket.create_connection(("127.0.0.1", live.port), 10) as sock:
            sock.settimeout(0.05)
            if first:
                sock.sendall(first)
                wait_until(lambda s=sock: _receive(s))
            sock.sendall(b"GET /v1/health HTTP/1.1\r\n")
            sent = 0

            def is_closed(s=sock):
                nonlocal sent
                try:
                    s.sendall(b"X-%d: y\r\n" % sent)
                    sent += 1
                    return s.recv(100) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True

            wait_until(is_closed)


def _receive(sock):
    try:
        return sock.recv(65536)
    except TimeoutError:
        return b""


def test_a_long_body_that_is_no_file_is_refused(anna, nothing_left):
    answer = anna.post(
        "/v1/jobs", content=b'{"a": "' + b"x" * 2_000_000 + b'"}', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413

    def endless():
        for _ in range(30):
            yield b"x" * 100_000

    answer = anna.post("/v1/jobs", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    deep = b'{"recipe":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = anna.post("/v1/jobs", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


def test_forms_that_are_none_are_refused(anna, nothing_left):
    boundary = {"Content-Type": "multipart/form-data; boundary=xyz"}
    part = b'--xyz\r\nContent-Disposition: form-data; name="%b"; filename="a.jpg"\r\n\r\n'
    for content, headers in (
        (b"x", {"Content-Type": "multipart/form-data"}),
        (b"nonsense", boundary),
        (part % b"file" + jpeg(), boundary),  # cut off
        (part % b"other" + jpeg() + b"\r\n--xyz--\r\n", boundary),
        (part % b"file" + jpeg() + b"\r\n" + part % b"file" + jpeg() + b"\r\n--xyz--\r\n", boundary),
        (b"--xyz\r\n" + b"A" * 20_000, boundary),
        (b"--xyz--\r\n", boundary),
        (b"", boundary),
    ):
        answer = anna.post("/v1/assets", content=content, headers=headers)
        assert answer.status_code in (400, 415), (content[:80], answer.text)


def test_a_form_with_other_fields_is_understood(anna):
    answer = anna.post("/v1/assets", files={"file": ("ä.jpg", jpeg())}, data={"note": "x" * 100})
    assert answer.status_code == 201
    assert answer.json()["sha256"] == hashlib.sha256(jpeg()).hexdigest()
    assert answer.json()["name"] in ("ä.jpg", "%C3%A4.jpg")


def test_an_upload_goes_on_where_it_was_cut_off(live, anna):
    content = jpeg()
    name = base64.b64encode("Großmutter.jpg".encode()).decode()
    made = anna.post(
        "/v1/uploads",
        headers={**TUS, "Upload-Length": str(len(content)), "Upload-Metadata": f"filename {name},is_a dGVzdA=="},
    )
    assert (made.status_code, made.headers["tus-resumable"]) == (201, "1.0.0")
    place = made.headers["location"]
    assert anna.head(place, headers=TUS).headers["upload-offset"] == "0"
    more = "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\n"
    raw(live, head(live, anna, len(content), place, "PATCH", more), content[:20_000], is_cut=True)

    def offset():
        answer = anna.head(place, headers=TUS)
        assert (answer.headers["upload-length"], answer.headers["cache-control"]) == (str(len(content)), "no-store")
        return int(answer.headers["upload-offset"])

    there = []

    def has_settled():
        there.append(offset())
        return len(there) > 3 and there[-1] == there[-3]

    wait_until(has_settled)
    at = there[-1]
    assert 0 <= at <= 20_000
    for wrong in (at + 1, max(at - 1, 0) if at else 5, len(content)):
        answer = anna.patch(place, content=content[at:], headers={**PIECE, "Upload-Offset": str(wrong)})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    answer = anna.patch(place, content=content[at:] + b"x", headers={**PIECE, "Upload-Offset": str(at)})
    assert answer.status_code == 413

    def too_much():
        yield content[at:]
        yield b"more"

    answer = anna.patch(place, content=too_much(), headers={**PIECE, "Upload-Offset": str(at)})
    assert answer.status_code == 413
    assert offset() == at, "what is too long counts for nothing"
    answer = anna.patch(place, content=content[at : at + 5000], headers={**PIECE, "Upload-Offset": str(at)})
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(at + 5000))
    assert "facefusion-asset" not in answer.headers
    answer = anna.patch(place, content=content[at + 5000 :], headers={**PIECE, "Upload-Offset": str(at + 5000)})
    asset = answer.headers["facefusion-asset"]
    assert anna.head(place, headers=TUS).headers["facefusion-asset"] == asset
    told = anna.get(f"/v1/assets/{asset}/about").json()
    assert (told["name"], told["sha256"]) == ("Großmutter.jpg", hashlib.sha256(content).hexdigest())
    assert anna.delete(place, headers=TUS).status_code == 204
    assert anna.head(place, headers=TUS).status_code == 404
    assert anna.get(f"/v1/assets/{asset}/about").status_code == 200


def test_words_of_tus_that_make_no_sense_are_refused(anna, nothing_left):
    for headers, status in (
        ({}, 412), ({"Tus-Resumable": "0.2.0", "Upload-Length": "5"}, 412), (TUS, 422),
        ({**TUS, "Upload-Length": "-1"}, 422), ({**TUS, "Upload-Length": "five"}, 422),
        ({**TUS, "Upload-Length": "0"}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": "filename !!"}, 400),
        ({**TUS, "Upload-Defer-Length": "1"}, 422),
    ):  # fmt: skip
        answer = anna.post("/v1/uploads", headers=headers or {"Upload-Length": "5"})
        assert answer.status_code == status, (headers, answer.text)
    told = anna.options("/v1/uploads").headers
    assert (told["tus-version"], told["tus-max-size"]) == ("1.0.0", "3000000")
    assert "creation" in told["tus-extension"]


def test_creation_with_upload_takes_the_first_bytes_at_once(anna):
    content = jpeg()
    answer = anna.post("/v1/uploads", content=content, headers={**PIECE, "Upload-Length": str(len(content))})
    assert answer.status_code == 201
    assert answer.headers["upload-offset"] == str(len(content))
    asset = answer.headers["facefusion-asset"]
    assert anna.get(f"/v1/assets/{asset}").content == content


def test_ranges_tags_and_heads_of_a_download(anna):
    asset = upload(anna, "target.mp4")
    whole = sample_path("target.mp4").read_bytes()
    path, size = f"/v1/assets/{asset}", len(whole)
    first = anna.get(path)
    etag = first.headers["etag"]
    assert first.content == whole and first.headers["accept-ranges"] == "bytes"
    top = anna.head(path)
    assert (top.headers["content-length"], top.headers["etag"], top.content) == (str(size), etag, b"")
    for asked, start, stop in (
        ("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=5-{size * 9}", 5, size), (f"bytes=-{size * 9}", 0, size), ("bytes=0-", 0, size),
    ):  # fmt: skip
        answer = anna.get(path, headers={"Range": asked})
        assert answer.status_code == 206, asked
        assert answer.content == whole[start:stop]
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=20-10", "bytes=-0", "bytes=-"):
        answer = anna.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}"), asked
    for asked in ("bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "nonsense"):  # what is not understood is passed over
        assert anna.get(path, headers={"Range": asked}).status_code == 200, asked
    assert anna.get(path, headers={"Range": "bytes=0-1", "If-Range": etag}).status_code == 206
    assert anna.get(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).content == whole
    for tag in (etag, f"W/{etag}", f'"a", {etag}', "*"):
        answer = anna.get(path, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
    assert anna.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_small_pictures_are_small_upright_and_cached(anna, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    path = tmp_path / "a.jpg"
    Image.fromarray(np.full((400, 1500, 3), 200, np.uint8)).save(path, exif=exif)
    asset = upload(anna, path)
    told = anna.get(f"/v1/assets/{asset}/about").json()
    assert (told["width"], told["height"]) == (400, 1500)
    answer = anna.get(f"/v1/assets/{asset}/thumbnail", params={"size": 300})
    assert Image.open(io.BytesIO(answer.content)).size == (80, 300)
    again = anna.get(
        f"/v1/assets/{asset}/thumbnail", params={"size": 300}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    for size in (0, 31, 1025, "x"):
        assert anna.get(f"/v1/assets/{asset}/thumbnail", params={"size": size}).status_code == 422


def test_kinds_are_told_by_content(anna, tmp_path):
    import av

    sound = tmp_path / "a.jpg"  # its name says nothing
    with av.open(str(sound), "w", format="wav") as made:
        stream = made.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            made.mux(packet)
    told = anna.get(f"/v1/assets/{upload(anna, sound)}/about").json()
    assert (told["kind"], told["media_type"], told["width"]) == ("sound", "audio/wav", None)
    assert told["duration_s"] == pytest.approx(1.0, abs=0.01)
    assert anna.get(f"/v1/assets/{told['id']}/thumbnail").status_code == 404
    assert anna.get(f"/v1/assets/{told['id']}/faces").status_code == 422
    assert anna.post("/v1/jobs", json={"recipe": {"target": told["id"]}}).status_code == 422
    clip = make_clip(tmp_path / "b.mkv")
    told = anna.get(f"/v1/assets/{upload(anna, clip)}/about").json()
    assert (told["kind"], told["media_type"]) == ("clip", "video/x-matroska")


def test_a_clip_that_is_too_long_is_refused(live, anna, tmp_path, nothing_left):
    clip = make_clip(tmp_path / "a.mp4", pts=[k * 12800 * 4 for k in range(20)])  # 80 s
    answer = anna.post("/v1/assets", content=clip.read_bytes())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.json()["detail"] == "This is 1 min 16 s long; up to 1 min are taken."


def test_lists_go_on_where_they_ended_although_files_come_and_go(live):
    with live.client("lister") as client:
        ids = [upload(client, "source.jpg") for _ in range(5)]
        page = client.get("/v1/assets", params={"limit": 2}).json()
        assert [one["id"] for one in page["items"]] == ids[:-3:-1]
        upload(client, "target.jpg")
        client.delete(f"/v1/assets/{ids[3]}")
        page = client.get("/v1/assets", params={"limit": 2, "cursor": page["cursor"]}).json()
        assert [one["id"] for one in page["items"]] == [ids[2], ids[1]]
        page = client.get("/v1/assets", params={"limit": 2, "cursor": page["cursor"]}).json()
        assert ([one["id"] for one in page["items"]], page["cursor"]) == ([ids[0]], "")
        for cursor in (
            "x",
            "e30",
            "W10",
            "WzEsIDJd",
            "WyJhIiwgImIiXQ",
            "%00",
            base64.urlsafe_b64encode(b"[1e999,'a']").decode(),
        ):
            assert client.get("/v1/assets", params={"cursor": cursor}).status_code == 422, cursor


def test_what_nothing_uses_expires(live, anna):
    service = live.service
    keep, gone = upload(anna, "source.jpg"), upload(anna, "target.jpg")
    place = anna.post("/v1/uploads", headers={**TUS, "Upload-Length": "10"}).headers["location"]
    upload_id = place.rpartition("/")[2]
    anna.post("/v1/jobs", json={"recipe": {"target": keep, "sources": [keep]}})  # waits, and needs it
    with service.ledger._engine.begin() as connection:
        import sqlalchemy as sa

        connection.execute(sa.text("UPDATE assets SET expires_at = 1 WHERE id IN (:a, :b)"), {"a": keep, "b": gone})
        connection.execute(sa.text("UPDATE uploads SET expires_at = 1 WHERE id = :a"), {"a": upload_id})
    assert anna.head(place, headers=TUS).status_code == 410
    assert expire(service) == 2
    assert anna.get(f"/v1/assets/{keep}").status_code == 200
    assert anna.get(f"/v1/assets/{gone}").status_code == 404
    assert anna.head(place, headers=TUS).status_code == 404
    assert not any(gone in name or upload_id in name for name in files_of(live))


def test_what_brings_a_reader_down_or_never_ends_costs_itself_alone(live, anna):
    """A file that crashes the process which looks at it, or keeps it busy; the next file is looked at as usual."""
    two = hands.Hands(1)
    try:
        with pytest.raises(Exception, match="brought down"):
            two.call(os._exit, 60, 3)
        with pytest.raises(Exception, match="took longer"):
            two.call(time.sleep, 0.2, 600)
        assert two.call(len, 60, "abc") == 3
    finally:
        two.close()


def test_readers_end_with_the_service_however_it_ends(tmp_path):
    code = (
        "import sys, time, os\n"
        "from facefusion.server.hands import Hands\n"
        "if __name__ == '__main__':\n"
        "    made = Hands(1)\n"
        "    print(made.call(os.getpid, 600), flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = tmp_path / "owner.py"
    path.write_text(code)
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE) as owner:
        pid = int(owner.stdout.readline())
        owner.kill()
    import psutil

    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_disk_that_is_full_is_told_as_that(live, anna, nothing_left, monkeypatch):
    def full(self, content):
        raise intake.no_room(OSError(28, "No space left on device"))

    monkeypatch.setattr(intake.Counter, "_write", full)
    answer = anna.post("/v1/assets", content=jpeg())
    assert (answer.status_code, answer.json()["code"]) == (507, "no_room")


def test_many_at_once_are_all_answered(live):
    """Every request of a crowd has an answer, and what came whole is whole."""
    found = []

    def send():
        with live.client("crowd") as client:
            answer = client.post("/v1/assets", content=jpeg(os.urandom(16)))
            found.append(answer.status_code)

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [201] * 12


def test_an_upload_that_the_service_fails_to_take_in_is_kept_for_another_try(live, anna, monkeypatch):
    """Hours of sending are not thrown away because nobody had time, or room, in one moment."""
    content = jpeg()
    place = anna.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(content))}).headers["location"]
    piece = {**TUS, "Content-Type": "application/offset+octet-stream"}

    def busy(*_):
        raise LimitReached("The service is busy looking at other files.", "Try again.", 5.0, "busy", 503)

    with monkeypatch.context() as patch:
        patch.setattr(live.service.inspectors, "call", busy)
        answer = anna.patch(place, content=content, headers={**piece, "Upload-Offset": "0"})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert anna.head(place, headers=TUS).headers["upload-offset"] == str(len(content))
    again = anna.patch(place, headers={**piece, "Upload-Offset": str(len(content))})
    assert again.status_code == 204
    assert anna.get(f"/v1/assets/{again.headers['facefusion-asset']}").content == content


@pytest.mark.parametrize("has_links", [True, False])
def test_an_upload_is_there_while_it_is_taken_in_and_its_last_piece_may_come_twice(live, anna, monkeypatch, has_links):
    """Looking at a long clip takes longer than some wait: they ask how far it is, and send the end again."""
    content = jpeg()
    place = anna.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(content))}).headers["location"]
    call, told = live.service.inspectors.call, []

    def asked_meanwhile(*words):
        with live.client("anna") as other:
            told.append(other.head(place, headers=TUS))
        return call(*words)

    def no_link(*_, **how):
        raise OSError(errno.EPERM, "no links here")

    with monkeypatch.context() as patch:
        patch.setattr(live.service.inspectors, "call", asked_meanwhile)
        if not has_links:
            patch.setattr(os, "link", no_link)
        first = anna.patch(place, content=content, headers={**PIECE, "Upload-Offset": "0"})
    assert first.status_code == 204
    assert (told[0].status_code, told[0].headers["upload-offset"]) == (200, str(len(content)))
    again = anna.patch(place, headers={**PIECE, "Upload-Offset": str(len(content))})
    assert again.status_code == 204
    assert again.headers["facefusion-asset"] == first.headers["facefusion-asset"]
    assert anna.get(f"/v1/assets/{first.headers['facefusion-asset']}").content == content


@pytest.mark.parametrize("kind", ["folder", "storage"])
def test_a_piece_that_is_cancelled_twice_keeps_what_came(tmp_path, kind):
    """As when the service ends: first the server cancels who is not done, then the loop whoever still waits."""
    with InProcess(ServerConfig(Backend(tmp_path / "jobs"))) as live:
        service = live.service
        asked = Upload("a" * 32, "anna", "x", 100_000, "", 0.0, 0.0)
        pieces = (FolderPieces if kind == "folder" else StoredPieces)(service)
        pieces.begin(asked)

        async def drip():
            yield b"x" * 5000
            has_come.set()
            await asyncio.Event().wait()

        async def cancel_twice():
            task = asyncio.create_task(pieces.write(asked, 0, drip()))
            await has_come.wait()
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            assert task.cancelled()

        has_come = asyncio.Event()
        asyncio.run(cancel_twice())
        assert pieces.offset(asked) == 5000


def test_who_is_cut_off_because_the_service_ends_is_told_so_and_loses_nothing(tmp_path):
    """Requests that are under way when it is stopped get an answer of ours, and what came of an upload counts."""
    with LiveServer(tmp_path) as server, server.client() as client:
        headers = {**TUS, "Upload-Length": "100000"}
        place = client.post("/v1/uploads", headers=headers).headers["location"]
        sent, answers = [], []

        def dribble():
            yield b"x" * 5000
            sent.append(True)
            while server.process.poll() is None:  # never the whole of it
                time.sleep(0.05)
                yield b"y"

        def send(method, path, headers):
            try:
                answers.append(client.request(method, path, content=dribble(), headers=headers))
            except httpx.TransportError as error:  # it was gone before all was sent
                answers.append(error)

        piece = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        threads = [
            threading.Thread(target=send, args=("PATCH", place, piece)),
            threading.Thread(target=send, args=("POST", "/v1/assets", {})),
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(sent) == len(threads), server.explain)
        for _ in range(10):  # whoever is answered now comes behind what was sent before
            assert client.get("/v1/session").status_code == 200
        assert server.stop() == 0
        for thread in threads:
            thread.join(PATIENCE_S)
        for answer in answers:
            assert isinstance(answer, httpx.TransportError) or answer.json()["code"] == "stopping", answer
        assert "Traceback" not in server.explain()
        server.start()
        with server.client() as client:
            assert int(client.head(place, headers=TUS).headers["upload-offset"]) >= 5000
