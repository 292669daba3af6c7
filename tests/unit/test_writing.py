import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from facefusion.errors import OutputRefused
from facefusion.media.files import check_outputs, is_same_file, place_of
from facefusion.writing import (
    claim_partial,
    drop_partial,
    final_path,
    is_partial,
    partial_path,
    put_in_place,
    remove_partial,
    remove_partials,
    replacing,
    save_bytes,
)

posix = pytest.mark.skipif(os.name == "nt", reason="rights and links of POSIX")


@pytest.mark.parametrize(
    "name",
    [
        "a.mp4", "a.b.mp4", "n" * 251 + ".mp4", "é" * 125 + "x.mp4", "🙂" * 62 + ".mkv", "\udcff" * 251 + ".mp4",
        "no-ending" * 28, "a." + "e" * 250, ".hidden",
    ],
)  # fmt: skip
def test_a_temporary_name_is_legal_wherever_the_file_is(tmp_path, name):
    path = tmp_path / name
    partial = partial_path(path)
    assert len(os.fsencode(partial.name)) <= 255
    assert partial.parent == path.parent
    assert partial.suffix in (path.suffix, ".part")
    assert is_partial(partial)
    assert not is_partial(path)
    assert partial_path(path) != partial
    assert partial_path(path, "0" * 16) == partial_path(path, "0" * 16)
    if sys.platform == "linux":
        save_bytes(path, b"content")
        assert path.read_bytes() == b"content"
        assert list(tmp_path.iterdir()) == [path]


@posix
def test_rights_of_a_file_are_kept_and_new_ones_follow_the_umask(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        save_bytes(old, b"x")
        save_bytes(new, b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == 0o640
    old.chmod(0o600)
    partial = claim_partial(old)
    assert stat.S_IMODE(partial.stat().st_mode) == 0o600  # never readable by more than the file itself
    drop_partial(partial)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_links_are_written_through_and_stay(tmp_path):
    (tmp_path / "there").mkdir()
    real, link, dangling = tmp_path / "there" / "real", tmp_path / "link", tmp_path / "dangling"
    real.write_bytes(b"old")
    link.symlink_to(Path("there") / "real")
    dangling.symlink_to(tmp_path / "there" / "new")
    save_bytes(link, b"one")
    save_bytes(dangling, b"two")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert real.read_bytes() == b"one"
    assert (tmp_path / "there" / "new").read_bytes() == b"two"
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(OSError, match="symbolic link"):
        final_path(circle)
    with pytest.raises(OutputRefused):
        check_outputs([("output", circle)], [])


@posix
def test_a_hard_link_is_replaced_by_name(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"old")
    os.link(one, other)
    save_bytes(one, b"new")
    assert other.read_bytes() == b"old"


@posix
def test_a_planted_link_of_the_temporary_name_is_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "out.mp4"
    victim.write_bytes(b"precious")
    partial_path(path, "a" * 16).symlink_to(victim)
    with pytest.raises(FileExistsError):
        claim_partial(path, "a" * 16)
    assert victim.read_bytes() == b"precious"


@posix
def test_only_what_a_dead_writer_left_of_exactly_this_file_is_removed(tmp_path):
    path = tmp_path / "a.mp4"
    left = [partial_path(path, "1" * 16), partial_path(path, "2" * 16, ".segments")]
    left[0].write_bytes(b"x")
    left[1].mkdir()
    (left[1] / "0.nut").write_bytes(b"x")
    alive = claim_partial(path)
    others = [
        partial_path(tmp_path / "a.b.mp4"), partial_path(tmp_path / "b.mp4"), partial_path(tmp_path / "a.mkv"),
        tmp_path / ".a.mine.part.mp4", tmp_path / ".a.0123.part.mp4", tmp_path / "a.part.mp4",
    ]  # fmt: skip
    for other in others:
        other.write_bytes(b"x")
    planted = partial_path(path, "3" * 16)
    planted.symlink_to(others[0])
    assert sorted(remove_partials(path)) == sorted(left)
    assert {*others, alive, planted} == set(tmp_path.iterdir())
    assert not remove_partial(alive)
    put_in_place(alive, path)
    assert path.exists()


@posix
def test_what_a_killed_process_was_writing_can_be_removed_and_not_before(tmp_path):
    path = tmp_path / "a.mp4"
    script = (
        "import sys\nfrom pathlib import Path\nfrom facefusion.writing import claim_partial\n"
        "print(claim_partial(Path(sys.argv[1])), flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        partial = Path(process.stdout.readline().rstrip())
        assert partial.exists()
        assert remove_partials(path) == []
        process.kill()
    assert remove_partials(path) == [partial]


@posix
def test_files_are_compared_by_what_they_are(tmp_path):
    one = tmp_path / "one.png"
    one.write_bytes(b"x")
    os.link(one, tmp_path / "hard.png")
    (tmp_path / "soft.png").symlink_to(one)
    (tmp_path / "folder").symlink_to(tmp_path)
    for other in ("hard.png", "soft.png", "folder/one.png", "folder/../" + tmp_path.name + "/one.png"):
        assert is_same_file(tmp_path / other, one)
        with pytest.raises(OutputRefused, match="the source"):
            check_outputs([("report", tmp_path / other)], [("source", one)])
    assert not is_same_file(tmp_path / "two.png", one)
    assert place_of(tmp_path / "new" / "x") == place_of(tmp_path / "folder" / "new" / "x")
    with pytest.raises(OutputRefused, match="also the output"):
        check_outputs([("output", tmp_path / "new.png"), ("report", tmp_path / "folder" / "new.png")], [])


def test_names_that_differ_in_case_are_one_file_where_the_folder_says_so(tmp_path, monkeypatch):
    from facefusion.media import files

    assert place_of(tmp_path / "New.png") != place_of(tmp_path / "new.PNG") or files._ignores_case(tmp_path)
    monkeypatch.setattr(files, "_ignores_case", lambda folder: True)
    assert place_of(tmp_path / "Néw.png") == place_of(tmp_path / "NE\u0301W.PNG")


@posix
def test_what_is_no_file_to_write_is_refused_early(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "fixed").write_bytes(b"x")
    (tmp_path / "fixed").chmod(0o444)
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "fixed", Path("/dev/null"), tmp_path / "fixed" / "x"):
        with pytest.raises(OutputRefused) as told:
            check_outputs([("output", path)], [])
        assert told.value.hint
