"""A release is made from this checkout, checked by our command and by plain ones, then changed by one byte."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tests.servers import need

from facefusion.apps.cli import main
from facefusion.errors import ReleaseRefused
from facefusion.models.catalog import load_catalog
from facefusion.service.releases import NAMESPACE, SUMS, verify_release

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def maker():
    sys.path.insert(0, str(ROOT / "deploy" / "release"))
    try:
        import make
    finally:
        sys.path.remove(str(ROOT / "deploy" / "release"))
    return make


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    need("ssh-keygen", "git")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True
        )
    return folder


@pytest.fixture(scope="module")
def made(maker, keys, tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("release") / "out", keys / "ours")


@pytest.fixture
def release(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "release"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_release_is_what_was_signed(release, keys):
    assert verify_release(release).state == "valid"
    found = verify_release(release, [keys / "theirs.pub", keys / "ours.pub"])
    assert found.state == "trusted" and set(dict(found.files)) | {SUMS, f"{SUMS}.sig"} == set(names(release))
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(keys / "ours.pub")], capture_output=True, text=True)
    assert found.key == shown.stdout.split()[1]


def test_plain_commands_say_the_same(release, keys):
    done = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=release, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    signers = keys / "signers"
    signers.write_text(f"maker {(keys / 'ours.pub').read_text()}")
    words = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "maker", "-n", NAMESPACE, "-s", f"{SUMS}.sig"]
    done = subprocess.run(words, cwd=release, input=(release / SUMS).read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(words, cwd=release, input=(release / SUMS).read_bytes() + b" ", capture_output=True)
    assert done.returncode != 0


def test_one_byte_of_any_file_is_found(release, keys):
    for name in names(release):
        path = release / name
        content = path.read_bytes()
        for at in (0, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[at] ^= 1
            path.write_bytes(changed)
            with pytest.raises(ReleaseRefused):
                verify_release(release, [keys / "ours.pub"])
        path.write_bytes(content)
    assert verify_release(release, [keys / "ours.pub"]).state == "trusted"


def test_a_file_too_many_or_too_few_is_found(release):
    (release / "setup.sh").write_text("echo")
    with pytest.raises(ReleaseRefused, match=r"setup\.sh is no part"):
        verify_release(release)
    (release / "setup.sh").unlink()
    (release / "THIRD_PARTY_NOTICES.md").unlink()
    with pytest.raises(ReleaseRefused, match="cannot be read"):
        verify_release(release)


def test_who_signs_anew_is_not_trusted(release, keys):
    """Somebody changes a file, and signs all of it with a key of theirs."""
    shutil.copy(keys / "theirs.pub", release / "release.pub")
    lines = subprocess.run(
        ["sha256sum", *(name for name in names(release) if not name.startswith(SUMS))],
        cwd=release, capture_output=True, text=True,
    ).stdout  # fmt: skip
    (release / SUMS).write_text(lines)
    (release / f"{SUMS}.sig").unlink()
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(keys / "theirs"), "-n", NAMESPACE, str(release / SUMS)]
    subprocess.run(words, check=True)
    with pytest.raises(ReleaseRefused, match="not among the trusted"):
        verify_release(release, [keys / "ours.pub"])
    with pytest.raises(ReleaseRefused, match="statement"):  # it is still signed by ours
        verify_release(release)


def test_the_command_tells_it_and_ends_with_a_code(release, keys, capsys):
    def ask(*words):
        with pytest.raises(SystemExit) as end:
            main(["verify", "--release", *words])
        return end.value.code, capsys.readouterr()

    code, told = ask(str(release), "--trust", str(keys / "ours.pub"), "--json")
    assert code == 0
    assert json.loads(told.out)["event"] == "release" and json.loads(told.out)["state"] == "trusted"
    code, told = ask(str(release))
    assert code == 0 and "only --trust can tell" in told.out
    code, told = ask(str(release), str(release / "release.pub"))
    assert code == 2 and "apart" in told.err
    (release / "THIRD_PARTY_NOTICES.md").write_text("")
    code, told = ask(str(release), "--json")
    assert code == 3 and json.loads(told.out)["code"] == "release_refused"
    code, told = ask(str(release / "nowhere"))
    assert code == 3 and "no folder with a release" in told.err


def test_the_bill_of_materials_is_valid_and_has_every_model_and_what_we_depend_on(release):
    [path] = release.glob("*.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text()) is None
    bill = json.loads(path.read_text())
    by_name = {one["name"]: one for one in bill["components"]}
    for model in load_catalog([]).values():
        assert by_name[model.id]["licenses"], model.id
        if model.origin == "embedded":
            assert by_name[model.id]["hashes"][0]["content"] == model.files[0].sha256
    assert {"numpy", "onnxruntime", "av", "fastapi", "celery", "prometheus-client"} <= set(by_name)
    assert not {"pytest", "ruff", "schemathesis"} & set(by_name), "what only tests need"
    if shutil.which("dpkg-query"):
        assert by_name["libc6"]["scope"] == "excluded"
    notices = (release / "THIRD_PARTY_NOTICES.md").read_text()
    assert "| onnxruntime |" in notices and "smol-toml" in notices and "| face_detector_embedded |" in notices


def test_a_wheel_that_comes_out_otherwise_the_second_time_is_no_release(maker, monkeypatch, tmp_path):
    unpack = maker.shutil.unpack_archive

    def differently(archive, folder, **options):
        unpack(archive, folder, **options)
        if "another-place" in str(folder):
            (Path(folder) / "src" / "facefusion" / "stray.txt").write_text("from this machine")

    monkeypatch.setattr(maker.shutil, "unpack_archive", differently)
    with pytest.raises(maker.Failed, match="not reproducible"):
        maker.build_wheel("HEAD", 1_700_000_000, tmp_path)


def test_the_wheel_holds_the_package_and_nothing_of_this_machine(release):
    [wheel] = release.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        inside = packed.namelist()
    assert "facefusion/jobs/new_store.sql" in inside
    assert all(name.startswith(("facefusion/", "facefusion_studio-")) for name in inside)
