import os
import stat
import sys
from pathlib import Path

import pytest

from facefusion.errors import OutputRefused
from facefusion.media.files import check_outputs, is_same_file, place_of
from facefusion.metrics.figures import Report
from facefusion.metrics.report import write_report
from facefusion.metrics.review import Review
from facefusion.workplace import Workplace, final_path
from facefusion.writing import LONG_BYTES, Replacement, replacing, save_bytes, save_private, stand_in

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
    made = stand_in(tmp_path, path)
    assert len(os.fsencode(made.name)) <= LONG_BYTES
    assert made.suffix in (path.suffix, "")
    if sys.platform == "linux":
        save_bytes(path, b"content")
        assert path.read_bytes() == b"content"
        assert list(tmp_path.iterdir()) == [path]


@posix
@pytest.mark.parametrize("rights", [None, 0o644, 0o600])
def test_what_is_private_is_nobody_elses_whoever_could_read_the_file_before(tmp_path, rights):
    path = tmp_path / "key"
    if rights is not None:
        path.write_bytes(b"")
        path.chmod(rights)
    save_private(path, b"content")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_bytes() == b"content"


@posix
@pytest.mark.parametrize("is_review", [False, True])
def test_a_review_which_shows_bare_faces_is_for_its_owner_alone(tmp_path, is_review):
    review = Review((), (), (), {}) if is_review else None
    write_report(Report("street.mp4", (), ()), tmp_path / "all.html", review=review)
    found = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    umask = os.umask(0)
    os.umask(umask)
    assert found == dict.fromkeys((".html", ".json"), 0o600 if is_review else 0o666 & ~umask)


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
    with replacing(old) as made:
        made.write_bytes(b"x")
        assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700  # never readable by more than the file itself


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


def test_what_is_dropped_leaves_the_old_file_and_may_be_dropped_twice(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    replacement = Replacement(path)
    replacement.path.write_bytes(b"half")
    replacement.drop()
    replacement.drop()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    replacement = Replacement(path)
    replacement.path.write_bytes(b"new")
    replacement.put_in_place()
    replacement.drop()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_lies_in_a_working_folder_is_written_as_it_is_and_gone_when_it_fails(tmp_path):
    with Workplace(tmp_path / "work") as place:
        beside = place.beside(tmp_path / "out.mp4")
        for folder in (place.folder, beside, beside / "deeper"):
            folder.mkdir(exist_ok=True)
            with replacing(folder / "part.nut") as made:
                assert made == folder / "part.nut"
                made.write_bytes(b"x")
            assert made.exists()
            with pytest.raises(ZeroDivisionError), replacing(made):
                raise ZeroDivisionError
            assert not made.exists()
    with replacing(place.folder.parent / "other") as made:  # it is nobody's folder any more
        assert made.parent != place.folder.parent
        made.write_bytes(b"x")


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
