"""Every output says how it was made, in every format and from every door, and says when it was changed since."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.live import wait_until

import facefusion
from facefusion.apps import cli
from facefusion.errors import MediaMissing, OutputRefused, SigningRefused
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.once import render_target, run
from facefusion.jobs.storage import ObjectStorage
from facefusion.media.image import Photo, write_photo
from facefusion.pipeline.runner import analyse_target
from facefusion.policy import container, provenance
from facefusion.policy.credentials import load_c2pa
from facefusion.policy.provenance import Signed, sidecar_of, sign
from facefusion.policy.signing import OF_THIS_MACHINE, Signing, make_identity
from facefusion.policy.site import SitePolicy
from facefusion.policy.statement import Model, Statement, Target
from facefusion.policy.verifying import verify
from facefusion.recipe import build_recipe
from facefusion.service.provenance import describe_signing, verify_file
from facefusion.testing.clips import make_clip
from facefusion.testing.provenance import content_of
from facefusion.writing import save_private

c2pa = load_c2pa()
INSIDE = (".mp4", ".m4v", ".mov", ".jpg", ".png", ".webp", ".tiff", ".heic", ".avif")
BESIDE = (".mkv", ".webm", ".bmp")
BLUR = {"processors": ["face_anonymiser"], "face_anonymiser_model": "blur"}


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return int(ended.value.code or 0)


def make(path: Path) -> Path:
    """A small photo or clip, as its ending says."""
    if path.suffix in (".mp4", ".m4v", ".mov", ".mkv"):
        return make_clip(path, pts=[0, 512, 1024], audio_tracks=1)
    if path.suffix == ".webm":
        return make_clip(path, pts=[0, 512, 1024], codec="libsvtav1")
    write_photo(path, Photo(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)))
    return path


def statement(**values) -> Statement:
    told = {
        "models": (Model("one@1", "MIT", "ab"),), "recipe": {"faces": "all"}, "sources": ("dd", "ee"),
        "target": Target("cc"),
    }  # fmt: skip
    return Statement(datetime.now(UTC), **told | values)


@pytest.fixture
def signing(tmp_path):
    return Signing(folder=tmp_path / "identity")


@pytest.fixture(scope="module", params=[*INSIDE, *BESIDE])
def output(request, tmp_path_factory):
    """A signed file of every kind, its hash before, and who signed."""
    folder = tmp_path_factory.mktemp("signed")
    signing = Signing(folder=folder / "identity")
    path = make(folder / f"a{request.param}")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = path.read_bytes()
    signed = sign(path, statement(), signing.signer())
    assert signed.unsigned_sha256 == before
    if signed.where == "beside":
        assert path.read_bytes() == kept
    return path, before, signing


def test_a_signed_file_is_valid_and_trusted_by_who_knows_the_root(output):
    path, before, signing = output
    found = verify(path, own=signing.own_roots())
    assert (found.state, found.is_own, found.is_beside) == ("valid", True, path.suffix in BESIDE)
    assert (found.unsigned_sha256, found.software) == (before, "FaceFusion")
    assert found.actions == ("c2pa.opened", "c2pa.edited")
    assert found.digital_source_type == "compositeWithTrainedAlgorithmicMedia"
    assert [(one.role, one.sha256) for one in found.ingredients] == [
        ("parentOf", "cc"), ("inputTo", "dd"), ("inputTo", "ee"),
    ]  # fmt: skip
    assert found.models == ({"id": "one@1", "licence": "MIT", "sha256": "ab"},)
    assert verify(path, anchors=signing.own_roots()).state == "trusted"
    assert verify(path, anchors=make_identity()[0]).state == "valid"
    assert not verify(path, own=make_identity()[0]).is_own
    assert content_of(path) == before


def test_a_manifest_stands_for_the_file_that_it_is_of(tmp_path, signing):
    path = make(tmp_path / "a.bmp")
    sign(path, statement(), signing.signer())
    assert verify(sidecar_of(path)) == verify(path)
    assert verify(path).state == "valid"
    path.rename(tmp_path / "b.bmp")
    with pytest.raises(MediaMissing, match=r"a\.bmp, the file that it is of, is not beside it"):
        verify(sidecar_of(path))


def test_a_name_that_leaves_no_room_for_a_manifest_beside_it_is_verified(tmp_path, signing):
    path = make(tmp_path / f"{'n' * 251}.png")
    assert verify(path).state == "none"
    sign(path, statement(), signing.signer(), path)
    assert verify(path).state == "valid"


def test_a_signed_file_holds_no_picture_but_its_own(output):
    path, *_ = output
    manifest = sidecar_of(path) if path.suffix in BESIDE else path
    assert b"c2pa.thumbnail" not in manifest.read_bytes()


def test_a_signed_clip_is_read_as_before(output):
    path, *_ = output
    if path.suffix not in (".mp4", ".m4v", ".mov", ".mkv", ".webm"):
        pytest.skip("a photo")
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 3


def test_one_flipped_byte_anywhere_is_found(output, tmp_path):
    path, *_ = output
    content = path.read_bytes()
    changed = tmp_path / path.name
    beside = sidecar_of(path).read_bytes() if path.suffix in BESIDE else b""
    if beside:
        sidecar_of(changed).write_bytes(beside)
    rng = random.Random(path.suffix)
    # The beginning, the end, and around the manifest, where hashes have holes; and some of all the rest.
    begin = content.find(b"jumb")
    places = [*range(64), *range(len(content) - 8, len(content)), *rng.sample(range(len(content)), 60)]
    places += [place for place in range(begin - 40, begin + 160) if begin >= 0]
    unnoticed = []
    for place in {place % len(content) for place in places}:
        wrong = bytearray(content)
        wrong[place] ^= 1 << rng.randrange(8)
        changed.write_bytes(wrong)
        if verify(changed).state != "tampered":
            unnoticed.append(place)
    assert unnoticed == []
    if beside:
        changed.write_bytes(content)
        for place in [*range(120), *rng.sample(range(len(beside)), 120)]:
            wrong = bytearray(beside)
            wrong[place] ^= 1 << rng.randrange(8)
            sidecar_of(changed).write_bytes(wrong)
            if verify(changed).state != "tampered":
                unnoticed.append(place)
        assert unnoticed == []


def test_every_byte_of_a_manifest_counts(tmp_path, signing):
    path = make(tmp_path / "a.png")
    sign(path, statement(), signing.signer())
    content = path.read_bytes()
    begin = content.find(b"caBX") - 4
    stop = begin + 12 + int.from_bytes(content[begin : begin + 4], "big")
    rng, unnoticed = random.Random(4), []
    for place in range(begin, stop, 3):
        wrong = bytearray(content)
        wrong[place] ^= 1 << rng.randrange(8)
        path.write_bytes(wrong)
        if verify(path).state != "tampered":
            unnoticed.append(place)
    assert unnoticed == []


def test_what_is_cut_off_or_added_is_found(output, tmp_path):
    path, *_ = output
    content = path.read_bytes()
    changed = tmp_path / path.name
    if path.suffix in BESIDE:
        sidecar_of(changed).write_bytes(sidecar_of(path).read_bytes())
    for wrong in (content[:-1], content[: len(content) * 3 // 4], content + b"\0"):
        changed.write_bytes(wrong)
        assert verify(changed).state == "tampered", len(wrong)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


SPARE = (
    box(b"free", b"N" * 3000), box(b"skip", b"N" * 3000), box(b"free", bytes(8)),
    struct.pack(">I4s", 0, b"free") + b"NN", struct.pack(">I4sQ", 1, b"skip", 18) + b"NN",
)  # fmt: skip
"""Boxes that C2PA leaves out, with something in them, at the end of a film."""


def test_a_box_for_what_is_not_used_is_part_of_what_is_signed(output, tmp_path):
    path, *_ = output
    if path.suffix not in (".mp4", ".m4v", ".mov", ".heic", ".avif"):
        pytest.skip("it has no boxes")
    changed = tmp_path / path.name
    for more in SPARE:
        changed.write_bytes(path.read_bytes() + more)
        assert verify(changed).problems[-1] == "facefusion.changed: a box that is not used", more[:12]


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "before such boxes counted"])
def test_boxes_for_what_is_not_used_that_were_there_when_it_was_signed_may_be_there(
    tmp_path, signing, monkeypatch, is_new
):
    manifest = Statement.manifest

    def as_before(self, media_type, facts):
        return manifest(self, media_type, {k: v for k, v in facts.items() if is_new or k != "spare_sha256"})

    monkeypatch.setattr(Statement, "manifest", as_before)
    path = make(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes() + box(b"free", bytes(100)) + box(b"skip", b""))
    sign(path, statement(), signing.signer())
    assert (b"spare_sha256" in path.read_bytes()) == is_new
    assert verify(path).state == "valid"
    signed = path.read_bytes()
    for wrong in (signed + SPARE[0], signed.replace(box(b"free", bytes(100)), box(b"free", bytes(99) + b"N"))):
        path.write_bytes(wrong)
        assert verify(path).problems[-1] == "facefusion.changed: a box that is not used"


def rebuilt(content: bytes, change) -> bytes:
    """A box of boxes with other boxes in it."""
    ((name, inner),) = container._inner(content)
    return box(name, b"".join(change([box(*one) for one in container._inner(inner)])))


def test_nothing_is_put_beside_a_manifest_or_its_signature(tmp_path, signing):
    path = make(tmp_path / "a.mkv")

    def copied(manifests):
        """The same once more under another name, which nothing refers to."""
        label = re.search(rb"urn:c2pa:[0-9a-f-]{36}", manifests[-1])[0]
        return [*manifests[:-1], manifests[-1].replace(label, label[:-4] + b"0000"), manifests[-1]]

    def stamped(manifests):
        """A time, as somebody might have confirmed it, in the part of a signature that is not signed."""

        def in_value(parts):
            before, after = parts[-1].split(b"\x63pad", 1)
            value = before[8:-1] + bytes([before[-1] + 1]) + b"\x66sigTst\x58\x20" + b"N" * 32 + b"\x63pad" + after
            return [*parts[:-1], box(b"cbor", value)]

        def in_signature(parts):
            return [rebuilt(part, in_value) if b"c2pa.signature\0" in part[:80] else part for part in parts]

        return [*manifests[:-1], rebuilt(manifests[-1], in_signature)]

    for change in (copied, stamped):
        sign(path, statement(), signing.signer())
        assert verify(path).state == "valid"
        beside = sidecar_of(path)
        beside.write_bytes(rebuilt(beside.read_bytes(), change))
        assert verify(path).problems[-1].startswith("facefusion.changed: "), change


def test_an_output_made_of_an_output_made_of_an_output_is_valid(tmp_path, signing):
    paths = [make(tmp_path / f"{number}.mp4") for number in range(3)]
    for path, before in zip(paths, (None, *paths), strict=False):
        target = Target("cc", None if before is None else partial(before.open, "rb"))
        sign(path, statement(target=target), signing.signer())
        assert verify(path).state == "valid", path
    assert paths[2].read_bytes().count(b"jumdc2ma") == 3


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_clip_that_is_remuxed_has_lost_its_manifest_and_may_be_known_by_its_mark(tmp_path, signing, suffix):
    path, bare = make(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}"
    sign(path, statement(), signing.signer())
    with av.open(str(path)) as source, av.open(str(bare), "w") as goal:
        streams = {stream.index: goal.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                goal.mux(packet)
    assert verify(bare).state == "none"
    found = verify(bare, find_mark=lambda _: "00c0ffee")
    assert (found.state, found.watermark) == ("marked-only", "00c0ffee")
    assert verify(path, find_mark=lambda _: pytest.fail("it is signed")).state == "valid"


def test_the_manifest_of_another_file_is_found_out(tmp_path, signing):
    one, other = make(tmp_path / "one.mkv"), make_clip(tmp_path / "other.mkv", pts=[0, 512])
    for path in (one, other):
        sign(path, statement(), signing.signer())
    sidecar_of(one).write_bytes(sidecar_of(other).read_bytes())
    assert verify(one).state == "tampered"
    sidecar_of(one).write_bytes(b"")
    assert verify(one).state == "tampered"
    sidecar_of(one).unlink()
    assert verify(one).state == "none"


def test_a_manifest_that_somebody_else_signed_anew_is_not_ours(tmp_path, signing):
    path = make(tmp_path / "a.bmp")
    sign(path, statement(), signing.signer())
    stranger = Signing(folder=tmp_path / "stranger")
    sign(path, statement(), stranger.signer())
    found = verify(path, anchors=signing.own_roots(), own=signing.own_roots())
    assert (found.state, found.is_own) == ("valid", False)
    assert verify(path, own=stranger.own_roots()).is_own


def test_a_certificate_that_has_ended_since_leaves_the_file_intact_but_untrusted(tmp_path):
    path, signing = make(tmp_path / "a.png"), Signing(tmp_path / "chain.pem", tmp_path / "key.pem")
    for left_s in (4, 16, 64, 256):  # a busy machine needs longer to sign
        chain, key = make_identity("short", days=(3600 + left_s) / 86400)
        signing.certificate.write_bytes(chain)
        save_private(signing.key, key)
        try:
            sign(path, statement(), signing.signer())
            break
        except SigningRefused:
            continue

    wait_until(lambda: verify(path, anchors=chain).state != "trusted")
    found = verify(path, anchors=chain)
    assert found.state == "valid" and "signingCredential.expired" in found.problems
    with pytest.raises(SigningRefused, match="expired"):
        wait_until(lambda: signing.check() is not None)
    wrong = bytearray(path.read_bytes())
    wrong[-20] ^= 1
    path.write_bytes(wrong)
    assert verify(path, anchors=chain).state == "tampered"


def test_a_key_that_never_leaves_its_module_signs_by_a_callback(tmp_path):
    chain, key = make_identity("module")
    (tmp_path / "chain.pem").write_bytes(chain)
    private = load_pem_private_key(key, None)

    def ask_module(content: bytes) -> bytes:
        r, s = utils.decode_dss_signature(private.sign(content, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    signing = Signing(tmp_path / "chain.pem", callback=ask_module)
    for path in (make(tmp_path / "a.mp4"), make(tmp_path / "a.bmp")):
        sign(path, statement(), signing.signer())
        assert verify(path, anchors=chain).state == "trusted"
        wrong = bytearray(path.read_bytes())
        wrong[len(wrong) // 2] ^= 1
        path.write_bytes(wrong)
        assert verify(path).state == "tampered"

    def is_away(_: bytes) -> bytes:
        raise OSError("the module is away")

    before = (path := make(tmp_path / "b.png")).read_bytes()
    with pytest.raises(SigningRefused):
        sign(path, statement(), replace(signing.signer(), callback=is_away))
    assert path.read_bytes() == before and list(tmp_path.glob("*.signed")) == []


def test_a_target_that_is_signed_keeps_its_manifest_as_parent_without_its_pictures(tmp_path, signing):
    target = make(tmp_path / "camera.jpg")
    signer = signing.signer()
    about = c2pa.C2paSignerInfo(
        alg=c2pa.C2paSigningAlg.ES256, sign_cert=signer.chain, private_key=signer.key, ta_url=None
    )
    captured = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    told = {
        "claim_generator_info": [{"name": "Camera", "version": "1"}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": captured}]},
            }
        ],
    }
    with target.open("rb") as source, (tmp_path / "signed.jpg").open("w+b") as goal:
        c2pa.Builder.from_json(json.dumps(told), c2pa.Context.from_dict({})).sign(
            c2pa.Signer.from_info(about), "image/jpeg", source, goal
        )
    signed = tmp_path / "signed.jpg"
    assert b"c2pa.thumbnail.claim" in signed.read_bytes()
    path = make(tmp_path / "out.png")
    sign(path, statement(target=Target("cc", lambda: signed.open("rb"))), signer)
    found = verify(path, anchors=signing.own_roots())
    assert found.state == "trusted", found.problems
    assert found.ingredients[0].manifest.startswith("urn:c2pa:")
    assert "c2pa.redacted" in found.actions
    assert path.stat().st_size < signed.stat().st_size  # the camera's picture is not in it


# Doors


def check_output(path: Path, is_private: bool = False) -> None:
    found = verify_file(path)
    assert (found.state, found.is_own) == ("valid", True), found.problems
    assert found.signature is not None and found.when.endswith("Z") and found.job
    assert found.models and all(len(one["sha256"]) == 64 and one["licence"] for one in found.models)
    assert bool(found.ingredients[0].sha256) != is_private
    raw = (sidecar_of(path) if found.is_beside else path).read_bytes()
    for secret in (b"source.jpg", b"target.jpg", str(path.parent).encode(), b"/home/", b"SECRET"):
        assert secret not in raw, secret


def test_every_door_signs_once(tmp_path, source_photo, target_photo, few_frames, monkeypatch):
    calls = []
    kept = provenance.sign

    def counted(path, *rest):
        calls.append(path.name)
        return kept(path, *rest)

    monkeypatch.setattr("facefusion.jobs.work.sign", counted)
    monkeypatch.chdir(tmp_path)
    blur = ("--processors", "face_anonymiser", "--face-anonymiser-model", "blur", "--quiet")
    assert call("run", "-s", source_photo, "-t", target_photo, "-o", "run.png", "--quiet") == 0
    check_output(tmp_path / "run.png")
    assert call("run", *blur, "-t", few_frames, "-o", "SECRET-name.mkv") == 0
    check_output(tmp_path / "SECRET-name.mkv", is_private=True)
    assert call("batch-run", *blur, "-t", target_photo, "-o", "batch/{target_name}.bmp") == 0
    check_output(tmp_path / "batch/target.bmp", is_private=True)
    recipe = build_recipe({**BLUR, "target_path": few_frames, "output_path": tmp_path / "rendered.mp4"})
    assert call("analyse", "-t", few_frames, "-o", "few.tracks", "--quiet") == 0
    assert call("render", "--tracks", "few.tracks", *blur, "-t", few_frames, "-o", "rendered.mp4") == 0
    check_output(tmp_path / "rendered.mp4", is_private=True)
    render_target(recipe, analyse_target(recipe))
    check_output(tmp_path / "rendered.mp4", is_private=True)
    run(recipe.model_copy(update={"output_path": tmp_path / "run.mov"}))
    check_output(tmp_path / "run.mov", is_private=True)
    assert len(calls) == 6
    assert content_of(tmp_path / "rendered.mp4") == verify_file(tmp_path / "rendered.mp4").unsigned_sha256


def test_a_batch_makes_again_what_has_lost_its_manifest(tmp_path, target_photo, capsys):
    words = ("batch-run", "--processors", "face_anonymiser", "--face-anonymiser-model", "blur", "-t", target_photo,
             "-o", tmp_path / "{target_name}.bmp")  # fmt: skip
    assert call(*words) == 0
    assert call(*words) == 0
    assert "1 skipped" in capsys.readouterr().out
    sidecar_of(tmp_path / "target.bmp").unlink()
    assert call(*words) == 0
    assert "1 of 1 done" in capsys.readouterr().out
    check_output(tmp_path / "target.bmp", is_private=True)


KILLED = """
import os, signal, sys
from pathlib import Path
import facefusion.jobs.work as work
from facefusion.jobs.local import LocalJobs

kept, left = work.deliver, int(sys.argv[3])

def deliver(made, goal):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    kept(made, goal)

work.deliver = deliver
LocalJobs.open(Path(sys.argv[1])).run(sys.argv[2], workers=1)
"""


@pytest.mark.parametrize("named", [0, 1])
def test_a_run_that_is_killed_after_signing_goes_on_and_its_output_is_signed_once(tmp_path, target_photo, named):
    jobs = LocalJobs.open(tmp_path / "jobs")
    output = tmp_path / "o.bmp"
    output.write_bytes(b"old")
    job = jobs.create(build_recipe({**BLUR, "target_path": target_photo, "output_path": output}))
    ended = subprocess.run([sys.executable, "-c", KILLED, str(jobs.folder), job.id, str(named)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert output.read_bytes() == b"old"  # the manifest goes first
    jobs.run(job.id, workers=1)
    found = verify_file(output)
    assert (found.state, found.is_beside) == ("valid", True)
    merged = jobs.store.merged(job.id)
    assert merged is not None and merged.signed is not None
    assert merged.signed.manifest == found.manifest and merged.signed.is_local
    assert merged.sha256 == hashlib.sha256(output.read_bytes()).hexdigest() == merged.signed.unsigned_sha256
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "o"))) == [
        "o.bmp",
        "o.bmp.c2pa",
    ]


def test_the_manifest_of_an_output_before_goes_with_it(tmp_path, target_photo):
    recipe = build_recipe({**BLUR, "target_path": target_photo, "output_path": tmp_path / "o.bmp"})
    run(recipe)
    assert sidecar_of(recipe.output_path).exists()
    run(recipe, policy=SitePolicy(signing=Signing(is_off=True)))
    assert verify_file(recipe.output_path).state == "marked-only"
    assert not sidecar_of(recipe.output_path).exists()
    run(recipe, policy=SitePolicy(signing=Signing(is_off=True), is_marked=False))
    assert verify_file(recipe.output_path).state == "none"
    sidecar_of(recipe.output_path).write_bytes(b"notes of mine")
    run(recipe, policy=SitePolicy(signing=Signing(is_off=True)))
    assert sidecar_of(recipe.output_path).read_bytes() == b"notes of mine"


def test_a_key_that_cannot_sign_is_said_before_anything_is_done(tmp_path, source_photo, target_photo, capsys):
    chain, _ = make_identity()
    (tmp_path / "chain.pem").write_bytes(chain)
    save_private(tmp_path / "key.pem", make_identity()[1])
    words = ("--signing-certificate", tmp_path / "chain.pem", "--signing-key", tmp_path / "key.pem", "--json")
    assert call("run", "-s", source_photo, "-t", target_photo, "-o", tmp_path / "o.png", *words) == 2
    (told,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (told["event"], told["code"]) == ("error", "signing_refused")
    assert not (tmp_path / "o.png").exists()


def test_no_recipe_can_switch_it_off_but_a_site_can_and_doctor_warns(tmp_path, target_photo, monkeypatch, capsys):
    with pytest.raises(Exception, match="provenance"):
        build_recipe({**BLUR, "provenance": "off"})
    monkeypatch.setenv("FACEFUSION_PROVENANCE", "off")
    words = ("--processors", "face_anonymiser", "--face-anonymiser-model", "blur", "--quiet")
    assert call("run", *words, "-t", target_photo, "-o", tmp_path / "o.png") == 0
    assert verify_file(tmp_path / "o.png").state == "marked-only"
    assert call("doctor") == 0
    assert "frames are not marked" not in capsys.readouterr().out
    monkeypatch.setenv("FACEFUSION_WATERMARK", "off")
    assert call("run", *words, "-t", target_photo, "-o", tmp_path / "o.png") == 0
    assert verify_file(tmp_path / "o.png").state == "none"
    assert call("jobs", "list", "--json") == 0
    job = json.loads(capsys.readouterr().out)["jobs"][0]
    assert call("jobs", "show", job["id"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["outcome"]["signed"]["where"] == "off"
    assert not describe_signing(Signing(is_off=True)).is_on
    assert describe_signing(OF_THIS_MACHINE).is_on
    assert call("doctor") == 0
    told = capsys.readouterr().out
    assert "WARNING: it is off" in told and "WARNING: frames are not marked" in told


def test_an_output_whose_manifest_could_not_be_named_is_refused_at_once(tmp_path, target_photo):
    recipe = build_recipe({**BLUR, "target_path": target_photo, "output_path": tmp_path / f"{'o' * 249}.bmp"})
    with pytest.raises(OutputRefused):
        LocalJobs.open(tmp_path / "jobs").create(recipe)


def test_a_word_that_a_stripped_photo_still_has_is_no_manifest(tmp_path):
    path = make(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + b'<rdf provenance="self#jumbf=/c2pa/urn:c2pa:1"/>')
    assert verify(path).state == "none"


def test_a_target_that_is_copied_is_left_as_it_is(tmp_path, source_photo):
    clip = make_clip(tmp_path / "nobody.mp4")
    files = {"source_paths": [source_photo], "target_path": clip, "output_path": tmp_path / "o.mp4"}
    recipe = build_recipe({**files, "allow_empty": True})
    jobs = LocalJobs.open(tmp_path / "jobs")
    job = jobs.create(recipe)
    jobs.run(job.id, workers=1)
    assert recipe.output_path.read_bytes() == clip.read_bytes()
    merged = jobs.store.merged(job.id)
    assert merged is not None and merged.signed == Signed("unchanged")


def test_verify_tells_in_words_and_by_its_exit_code(tmp_path, signing, capsys, monkeypatch):
    monkeypatch.setenv("FACEFUSION_IDENTITY_PATH", str(signing.home))
    path, bare = make(tmp_path / "a.jpg"), make(tmp_path / "b.jpg")
    sign(path, statement(), signing.signer())
    (tmp_path / "other.pem").write_bytes(make_identity()[0])
    assert call("verify", path) == 0
    text = capsys.readouterr().out
    assert "valid" in text and "yours, on no list" in text and "one@1 (MIT)" in text
    assert call("verify", path, "--trust", signing.home / "chain.pem") == 0
    assert "trusted" in capsys.readouterr().out
    assert call("verify", path, "--trust", tmp_path / "other.pem") == 10
    assert call("verify", bare) == 13
    wrong = bytearray(path.read_bytes())
    wrong[-20] ^= 1
    bare.write_bytes(wrong)
    assert call("verify", bare, path, "--json") == 11
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [one["state"] for one in told] == ["tampered", "valid"]
    assert call("verify", tmp_path / "nothing.jpg") == 3
    assert call("verify", path, "--trust", bare) == 2


def test_nothing_is_loaded_from_the_working_folder(tmp_path):
    """c2pa-python by itself looks for its library there first."""
    name = {"darwin": "libc2pa_c.dylib", "win32": "c2pa_c.dll"}.get(sys.platform, "libc2pa_c.so")
    (tmp_path / name).write_bytes(b"not a library")
    script = "from facefusion.policy.credentials import load_c2pa; print(load_c2pa().sdk_version())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(facefusion.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d+\.\d+", done.stdout)


def test_a_target_in_the_storage_of_a_cluster_keeps_its_manifest_as_parent(tmp_path, signing):
    obstore = pytest.importorskip("obstore")
    objects = ObjectStorage("memory:///", tmp_path / "cache")
    objects._store = obstore.store.MemoryStore()
    target = make(tmp_path / "target.png")
    signed = sign(target, statement(), signing.signer(), target)
    objects.put("job/target.png", target)
    output = make(tmp_path / "output.png")
    sign(output, statement(target=Target("cc", lambda: objects.open_range("job/target.png"))), signing.signer(), output)
    (parent,) = [one for one in verify(output).ingredients if one.role == "parentOf"]
    assert parent.manifest == signed.manifest
