from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from facefusion.errors import MediaMissing, TracksError
from facefusion.testing.fakes import make_mesh
from facefusion.types.frame import Frame
from facefusion.types.track import Track, Tracks


def make_tracks(rows=((0, 1, 2), (1, 2))) -> Tracks:
    tracks = []
    for number, frames in enumerate(rows):
        count = len(frames)
        meshes = np.stack([make_mesh((100.0 + k, 100.0)) for k in range(count)])
        tracks.append(
            Track(number, np.array(frames), meshes, np.ones(count, np.float32), np.zeros((count, 3), np.float32))
        )
    pts = np.array([0, 500, 1100], dtype=np.int64)
    return Tracks(320, 240, Fraction(1, 12800), pts, tuple(tracks), {"made": "by hand"}, np.array([0]))


def test_tracks_survive_a_file(tmp_path: Path):
    tracks = make_tracks()
    tracks.save(tmp_path / "a.tracks")
    loaded = Tracks.load(tmp_path / "a.tracks")
    assert (loaded.width, loaded.height, loaded.time_base) == (320, 240, Fraction(1, 12800))
    assert loaded.notes == {"made": "by hand"}
    np.testing.assert_array_equal(loaded.pts, tracks.pts)
    for one, other in zip(tracks.tracks, loaded.tracks, strict=True):
        np.testing.assert_array_equal(one.meshes, other.meshes)
        np.testing.assert_array_equal(one.frames, other.frames)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tracks"]


def test_tracks_are_found_by_exact_time():
    tracks = make_tracks()
    assert [(t.track_id, row) for t, row in tracks.at(500, (0, 1))] == [(0, 1), (1, 0)]
    assert [(t.track_id, row) for t, row in tracks.at(0, (0, 1))] == [(0, 0)]
    assert tracks.at(501, (0, 1)) == []
    assert tracks.at(99999, (0, 1)) == []
    assert tracks.at(500, ()) == []


def test_missing_foreign_and_damaged_tracks_files_are_explained(tmp_path: Path):
    with pytest.raises(MediaMissing, match="no tracks file"):
        Tracks.load(tmp_path / "none")
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"not this")
    with pytest.raises(TracksError, match="damaged"):
        Tracks.load(foreign)
    make_tracks().save(tmp_path / "cut")
    content = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(TracksError, match="damaged"):
        Tracks.load(tmp_path / "cut")
    (tmp_path / "longer").write_bytes(content + b"more")
    with pytest.raises(TracksError, match="damaged"):
        Tracks.load(tmp_path / "longer")
    for at in range(0, len(content), max(len(content) // 200, 1)):
        (tmp_path / "changed").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(TracksError, match=r"damaged|not a tracks file"):
            Tracks.load(tmp_path / "changed")
    (tmp_path / "older").write_bytes(content.replace(b'"crc32": "', b'"crc31": "'))  # which nobody looks at
    assert len(Tracks.load(tmp_path / "older").tracks) == len(make_tracks().tracks)


def test_types_refuse_wrong_shapes():
    with pytest.raises(ValueError, match="pixels"):
        Frame(np.zeros((4, 4), np.uint8), 0, 0, Fraction(1))
    with pytest.raises(ValueError, match="rise"):
        make_tracks(((2, 1),))
