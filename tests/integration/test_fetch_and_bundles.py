"""Fetching from a local server that misbehaves, and bundles that do."""

import dataclasses
import hashlib
import io
import json
import re
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from tests.patience import PATIENCE_S

from facefusion.errors import BundleRefused, FetchFailed, HashMismatch, LicenceRefused, ModelMissing
from facefusion.models import bundle
from facefusion.models.fetch import fetch
from facefusion.models.importing import import_folder
from facefusion.models.spec import ModelFile, ModelSpec
from facefusion.models.store import ModelStore
from facefusion.workplace import take

CONTENT = np.random.default_rng(3).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
SHA = hashlib.sha256(CONTENT).hexdigest()
PATIENT = httpx.Timeout(PATIENCE_S)
"""A busy machine may take long to answer."""
QUICK = httpx.Timeout(PATIENCE_S, read=0.6)
"""For a server that never says more."""


class Server(ThreadingHTTPServer):
    """Serves CONTENT in many bad ways; remembers what it was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.cut_once = False
        self.is_over = threading.Event()

    def url(self, kind):
        return f"http://127.0.0.1:{self.server_port}/{kind}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        kind, asked = self.path.strip("/"), self.headers.get("Range")
        self.server.asked.append((kind, asked))
        if kind == "404":
            self.send_error(404)
        elif kind == "loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "slow":
            self.answer(CONTENT[:1000], whole=len(CONTENT))
            self.server.is_over.wait()  # nothing more comes
        elif kind == "wrong":
            self.answer(bytes(len(CONTENT)))
        elif kind == "short":
            self.answer(CONTENT[:1000])
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(1000):
                    self.wfile.write(CONTENT)
            except OSError:
                pass
            self.close_connection = True
        elif kind == "no_ranges":
            self.answer(CONTENT)
        elif kind.startswith("cut"):
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if start or (kind == "cut_once" and self.server.cut_once):
                self.answer(CONTENT[start:], status=206 if start else 200)
            else:
                self.server.cut_once = True
                self.answer(CONTENT[:100_000], whole=len(CONTENT))
                self.connection.shutdown(socket.SHUT_RDWR)  # a mere close waits for whoever still holds the socket
                self.close_connection = True
        else:
            self.answer(CONTENT)

    def answer(self, body, status=200, whole=None):
        self.send_response(status)
        self.send_header("Content-Length", str(whole or len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.is_over.set()
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def store(tmp_path):
    return ModelStore((), "commercial", tmp_path / "home")


BASE = ModelSpec(
    id="toy",
    version="1",
    capability="test",
    family="test",
    files=(ModelFile("toy.onnx"),),
    licence="MIT",
    licence_source="here",
    commercial="yes",
    vendor="us",
    year=2026,
)


def spec(*urls, sha256=SHA, size=300_000, **changes):
    return dataclasses.replace(BASE, files=(ModelFile("toy.onnx", sha256, size, tuple(urls)),), **changes)


def quiet(*_):
    pass


def part(store):
    return store.home / ".toy.onnx.part"


def test_file_is_fetched_hashed_and_named_and_progress_is_told(server, store):
    steps = []
    (path,) = fetch(spec(server.url("good")), store, lambda *step: steps.append(step), PATIENT)
    assert path.read_bytes() == CONTENT
    assert steps[-1] == ("toy.onnx", len(CONTENT), len(CONTENT))
    assert fetch(spec(server.url("good")), store, quiet, PATIENT) == []
    assert len(server.asked) == 1


def test_cut_transfer_goes_on_where_it_was_cut(server, store):
    (path,) = fetch(spec(server.url("cut")), store, quiet, PATIENT)
    assert path.read_bytes() == CONTENT
    assert server.asked[0] == ("cut", None)
    assert server.asked[1][1] == "bytes=100000-"


def test_transfer_goes_on_after_the_program_was_stopped(server, store):
    store.home.mkdir()
    part(store).write_bytes(CONTENT[:50_000])
    (path,) = fetch(spec(server.url("cut")), store, quiet, PATIENT)
    assert path.read_bytes() == CONTENT
    assert server.asked == [("cut", "bytes=50000-")]


def test_server_without_ranges_starts_again(server, store):
    store.home.mkdir()
    part(store).write_bytes(b"x" * 50_000)
    (path,) = fetch(spec(server.url("no_ranges")), store, quiet, PATIENT)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["wrong", "short", "endless"])
def test_wrong_file_never_gets_the_name(server, store, kind):
    with pytest.raises(HashMismatch, match=r"SHA-256|bytes"):
        fetch(spec(server.url(kind)), store, quiet, PATIENT)
    assert not (store.home / "toy.onnx").exists()
    assert not part(store).exists()


@pytest.mark.parametrize(("kind", "said"), [("404", "404"), ("loop", "circle"), ("slow", "in time")])
def test_failures_are_named_and_what_arrived_is_kept(server, store, kind, said):
    with pytest.raises(FetchFailed, match=said) as caught:
        fetch(spec(server.url(kind)), store, quiet, QUICK if kind == "slow" else PATIENT)
    assert "try again" in caught.value.hint
    assert caught.value.retryable
    if kind == "slow":
        assert part(store).stat().st_size == 1000


def test_offline_is_said_plainly(store):
    with pytest.raises(FetchFailed, match="offline"):
        fetch(spec("http://127.0.0.1:1/toy.onnx"), store, quiet, PATIENT)


def test_next_mirror_is_tried_when_one_is_wrong_or_gone(server, store):
    (path,) = fetch(
        spec(server.url("404"), server.url("wrong"), server.url("loop"), server.url("good")), store, quiet, PATIENT
    )
    assert path.read_bytes() == CONTENT
    assert [kind for kind, _ in server.asked][-1] == "good"


def test_licence_is_asked_before_a_byte_is_fetched(server, store):
    with pytest.raises(LicenceRefused, match="licences research"):
        fetch(spec(server.url("good"), commercial="no"), store, quiet, PATIENT)
    assert server.asked == []


def test_file_without_a_published_hash_is_not_trusted_before_it_has_worked(server, store):
    fetch(spec(server.url("good"), sha256="", size=0), store, quiet, PATIENT)
    assert not (store.home / "pins.json").exists()


def test_two_who_fetch_one_model_do_not_write_into_one_file(server, store):
    store.home.mkdir()
    with take(store.home / f"{part(store).name}.lock"), pytest.raises(FetchFailed, match="Another process is fetching"):
        fetch(spec(server.url("good")), store, quiet, PATIENT)
    assert server.asked == []
    assert [path.name for path in store.home.iterdir() if path.suffix != ".lock"] == []
    fetch(spec(server.url("good")), store, quiet, PATIENT)
    assert [path.name for path in store.home.iterdir()] == ["toy.onnx"]


def test_a_link_in_place_of_what_has_arrived_is_not_followed(server, store, tmp_path):
    store.home.mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    part(store).symlink_to(tmp_path / "precious")
    with pytest.raises(FetchFailed, match="no file of ours"):
        fetch(spec(server.url("good")), store, quiet, PATIENT)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert part(store).is_symlink()


def test_what_had_arrived_goes_when_the_model_comes_otherwise(server, store):
    store.home.mkdir()
    part(store).write_bytes(CONTENT[:50_000])
    (store.home / "toy.onnx").write_bytes(CONTENT)
    assert fetch(spec(server.url("good")), store, quiet, PATIENT) == []
    assert [path.name for path in store.home.iterdir()] == ["toy.onnx"]


def test_model_that_nobody_offers_says_where_to_put_it(store):
    with pytest.raises(FetchFailed, match="Nobody has said"):
        fetch(spec(), store, quiet, PATIENT)


# Bundles


@pytest.fixture
def made(store, tmp_path):
    store.home.mkdir()
    (store.home / "toy.onnx").write_bytes(CONTENT)
    key = bundle.load_or_make_key(tmp_path / "key.pem")
    path = tmp_path / "toy.ffbundle"
    bundle.export_bundle(path, [spec()], store, key, quiet)
    return path, bundle.public_text(key), ModelStore((), "commercial", tmp_path / "other")


def test_bundle_carries_models_with_their_entries(made):
    path, key, other = made
    (found,) = bundle.import_bundle(path, other, [key], quiet)
    assert found.id == "toy"
    assert other.read(other.get("toy")) == CONTENT
    assert other.get("toy").licence == "MIT"


def test_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    first = bundle.load_or_make_key(tmp_path / "k" / "key.pem")
    again = bundle.load_or_make_key(tmp_path / "k" / "key.pem")
    assert bundle.public_text(first) == bundle.public_text(again)
    assert (tmp_path / "k" / "key.pem").stat().st_mode & 0o077 == 0
    (tmp_path / "bad.pem").write_text("x")
    with pytest.raises(BundleRefused, match="private key"):
        bundle.load_or_make_key(tmp_path / "bad.pem")


def test_bundle_of_a_stranger_is_refused_and_says_whose_it_is(made):
    path, key, other = made
    with pytest.raises(BundleRefused, match=key):
        bundle.import_bundle(path, other, ["00" * 32], quiet)
    assert not other.home.exists()


def rewrite(path, change):
    """Write a bundle again with its entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def signed_again(entries, manifest, key_path):
    key = bundle.load_or_make_key(key_path)
    text = json.dumps(manifest).encode()
    entries[bundle.MANIFEST] = text
    entries[bundle.SIGNATURE] = f"{bundle.public_text(key)} {key.sign(text).hex()}\n".encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.update({"manifest.json": e["manifest.json"] + b" "}), "signature"),
        (lambda e: e.update({"manifest.sig": b"abc"}), "signature"),
        (lambda e: e.pop("manifest.sig"), "no signed manifest"),
        (lambda e: e.update({"toy.onnx": CONTENT[:-1] + b"x"}), "not the file"),
        (lambda e: e.update({"toy.onnx": CONTENT + b"x"}), "another size"),
        (lambda e: e.update({"extra.onnx": b"x"}), "not what its manifest lists"),
        (lambda e: e.update({"../evil.onnx": b"x"}), "not what its manifest lists"),
        (lambda e: e.pop("toy.onnx"), "not what its manifest lists"),
    ],
)
def test_changed_bundles_are_refused_and_nothing_is_left(made, change, said):
    path, key, other = made
    rewrite(path, change)
    with pytest.raises(BundleRefused, match=said):
        bundle.import_bundle(path, other, [key], quiet)
    assert not list(other.home.glob("*.onnx")) if other.home.exists() else True


@pytest.mark.parametrize("name", ["../evil.onnx", "/etc/evil.onnx", "a/b.onnx", "..", ".hidden", "C:\\x.onnx"])
def test_signed_bundle_with_tricky_names_is_refused(made, tmp_path, name):
    path, key, other = made

    def change(entries):
        manifest = json.loads(entries["manifest.json"])
        manifest["files"][name] = {"sha256": hashlib.sha256(b"x").hexdigest(), "size_bytes": 1}
        entries[name] = b"x"
        signed_again(entries, manifest, tmp_path / "key.pem")

    rewrite(path, change)
    with pytest.raises(BundleRefused):
        bundle.import_bundle(path, other, [key], quiet)
    assert not any(other.home.rglob("*")) if other.home.exists() else True


def test_signed_bundle_that_would_fill_the_disk_is_refused(made, monkeypatch):
    path, key, other = made
    import shutil

    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda p: real(p)._replace(free=100))
    with pytest.raises(BundleRefused, match="free"):
        bundle.import_bundle(path, other, [key], quiet)


def test_member_that_unpacks_to_more_than_it_says_is_cut_off(made):
    path, key, other = made
    # The directory of the archive says what the manifest says; the data hold far more.
    bomb = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        for name in (bundle.MANIFEST, bundle.SIGNATURE):
            out.writestr(name, archive.read(name))
        out.writestr("toy.onnx", bytes(50_000_000))
        out.getinfo("toy.onnx").file_size = len(CONTENT)
    path.write_bytes(bomb.getvalue())
    with pytest.raises(BundleRefused):
        bundle.import_bundle(path, other, [key], quiet)
    assert not list(other.home.glob("*.onnx"))


def test_licence_is_asked_before_a_bundle_is_unpacked(store, tmp_path):
    store.home.mkdir()
    (store.home / "toy.onnx").write_bytes(CONTENT)
    key = bundle.load_or_make_key(tmp_path / "key.pem")
    path = tmp_path / "toy.ffbundle"
    bundle.export_bundle(path, [spec(commercial="no")], ModelStore((), "any", store.home), key, quiet)
    other = ModelStore((), "commercial", tmp_path / "other")
    with pytest.raises(LicenceRefused):
        bundle.import_bundle(path, other, [bundle.public_text(key)], quiet)
    assert not (tmp_path / "other" / "toy.onnx").exists()
    with pytest.raises(LicenceRefused):
        bundle.export_bundle(path, [spec(commercial="no")], store, key, quiet)


@pytest.mark.parametrize("name", ["pins.json", "face_detector_embedded.toml", "Other.TOML", "readme.txt"])
def test_a_signed_bundle_brings_models_and_nothing_else(store, tmp_path, made, name):
    path, key, other = made
    private = bundle.load_or_make_key(tmp_path / "key.pem")
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read(bundle.MANIFEST))
    manifest["files"][name] = {"sha256": hashlib.sha256(b"{}").hexdigest(), "size_bytes": 2}
    content = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(bundle.MANIFEST, content)
        archive.writestr(bundle.SIGNATURE, f"{key} {private.sign(content).hex()}")
        archive.writestr("toy.onnx", CONTENT)
        archive.writestr(name, b"{}")
    with pytest.raises(BundleRefused, match=re.escape(name)):
        bundle.import_bundle(path, other, [key], quiet)
    assert not other.home.exists() or not list(other.home.iterdir())


def test_a_bundle_cannot_change_what_is_known_here(store, tmp_path):
    """A research model does not become a commercial one by a bundle, and the built-in ones come with the package."""
    store.home.mkdir()
    key = bundle.load_or_make_key(tmp_path / "key.pem")
    other = ModelStore((), "commercial", tmp_path / "other")
    for model_id, file, refusal in (
        ("inswapper_128", "inswapper_128.onnx", LicenceRefused), ("face_detector_embedded", "toy.onnx", BundleRefused),
    ):  # fmt: skip
        (store.home / file).write_bytes(CONTENT)
        lying = dataclasses.replace(spec(), id=model_id, files=(ModelFile(file),))
        bundle.export_bundle(tmp_path / "b.ffbundle", [lying], store, key, quiet)
        with pytest.raises(refusal, match=model_id):
            bundle.import_bundle(tmp_path / "b.ffbundle", other, [bundle.public_text(key)], quiet)
    assert not other.home.exists()


def test_no_bundle_and_no_archive_are_named(store, tmp_path):
    with pytest.raises(ModelMissing, match=r"none\.ffbundle"):
        bundle.import_bundle(tmp_path / "none.ffbundle", store, [], quiet)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BundleRefused, match="not a zip file"):
        bundle.import_bundle(tmp_path / "text", store, [], quiet)


# A FaceFusion folder


def test_facefusion_folder_is_recognised_and_checked(store, tmp_path):
    import zlib

    inside = tmp_path / "facefusion" / ".assets" / "models"
    (inside / "iperov").mkdir(parents=True)
    for name in ("gfpgan_1.4.onnx", "xseg_1.onnx", "strange.onnx"):
        (inside / name).write_bytes(CONTENT)
    (inside / "gfpgan_1.4.hash").write_text(f"{zlib.crc32(CONTENT):08x}")
    (inside / "xseg_1.hash").write_text("00000000")
    (inside / "iperov" / "actor_224.dfm").write_bytes(CONTENT)
    states = {result.name: result.state for result in import_folder(tmp_path / "facefusion", store, quiet)}
    assert states == {
        "gfpgan_1.4.onnx": "imported",
        "xseg_1.onnx": "damaged",
        "strange.onnx": "not in the catalogue",
        "actor_224.dfm": "imported",
    }
    assert store.get("iperov/actor_224").family == "dfm"
    assert store.find(store.get("gfpgan_1.4")) == store.home / "gfpgan_1.4.onnx"
    again = {result.state for result in import_folder(tmp_path / "facefusion", store, quiet)}
    assert "already here" in again
    with pytest.raises(ModelMissing, match="no model files"):
        import_folder(tmp_path, store, quiet)
