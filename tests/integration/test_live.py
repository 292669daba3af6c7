"""Live: the frames of the packaged clip as a camera would give them, and recordings."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facefusion import Live
from facefusion.errors import MediaUnreadable, MediaUnsupported, OutputRefused, RecipeError
from facefusion.jobs.once import run
from facefusion.media.camera import Camera, Recorder
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.recipe import build_recipe
from facefusion.service.live import NOBODY, STOPPED, CameraChoice, record
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import Frame


def recipe(**options):
    return build_recipe({"source_paths": [sample_path("source.jpg")]} | options)


@pytest.fixture(scope="module")
def stream() -> list[Frame]:
    """The first frames of the sample clip."""
    return list(ClipReader(sample_path("target.mp4"), end_s=0.8))


def lavfi(graph: str) -> CameraChoice:
    try:
        av.format.ContainerFormat("lavfi", "r")
    except ValueError:
        pytest.skip("this PyAV is built without libavfilter's device")
    return CameraChoice(graph, form="lavfi")


def test_live_pictures_are_close_to_those_of_a_job(tmp_path, stream):
    """Inside what is changed: 29 dB at the first frame, where nothing is known yet, and 34 once there are some."""
    output = tmp_path / "o.mp4"
    run(recipe(target_path=sample_path("target.mp4"), output_path=output, output_video_quality=100, end_s=0.8))
    wanted = [frame.pixels for frame in ClipReader(output)]
    apart = []
    with Live(recipe()) as live:
        assert live.latency == 0
        for frame, pixels in zip(stream, wanted, strict=True):
            rendered = live.render(frame)
            assert rendered.is_changed
            assert rendered.frame.pts == frame.pts
            target = frame.pixels.astype(int)
            is_new = (np.abs(rendered.pixels - target).max(axis=2) > 3) | (np.abs(pixels - target).max(axis=2) > 3)
            assert 0.05 < is_new.mean() < 0.5
            error = float(np.mean((rendered.pixels.astype(float) - pixels)[is_new] ** 2))
            apart.append(10 * np.log10(255**2 / error))
    assert min(apart) > 29
    assert min(apart[6:]) > 34


def test_no_picture_depends_on_frames_that_come_later(stream):
    """Two streams that differ in their future alone: the same to the byte before it, and not after."""
    others = [replace(frame, pixels=np.ascontiguousarray(frame.pixels[:, ::-1])) for frame in stream]
    made = []
    for future in (stream, others):
        with Live(recipe()) as live:
            made.append([live.render(frame).pixels for frame in [*stream[:8], *future[8:11]]])
    for one, two in zip(made[0][:8], made[1][:8], strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(made[0][8:], made[1][8:], strict=True))


def test_arrays_may_be_given_and_what_is_none_is_refused(stream):
    with Live(recipe()) as live, Live(recipe()) as other:
        for frame in stream[:3]:
            np.testing.assert_array_equal(live.change(frame.pixels, frame.time_s), other.render(frame).pixels)
        assert live.people == {0: 0}
        with pytest.raises(MediaUnsupported, match="comes before"):
            live.change(stream[0].pixels, 0.0)
        with pytest.raises(MediaUnsupported, match="px where"):
            live.change(stream[0].pixels[:100], 10.0)
        with pytest.raises(MediaUnsupported, match="no picture"):
            live.change(stream[0].pixels.astype(float), 10.0)


def test_people_are_hidden_from_the_frame_in_which_they_are_found(stream):
    with Live(build_recipe({"processors": ["face_anonymiser"], "face_anonymiser_seed": 3})) as live:
        for frame in stream[:4]:
            rendered = live.render(frame)
            x0, y0, x1, y1 = rendered.box
            assert rendered.is_changed and (x1 - x0) * (y1 - y0) > 0.1 * 512 * 512
        before = rendered.pixels
        # A black frame: the face is covered where it was, and the same person gets the same face afterwards.
        live.render(replace(frame, pixels=np.zeros_like(frame.pixels), pts=frame.pts + 1))
        again = live.render(replace(frame, pts=frame.pts + 2))
        assert list(live.people.values()) == [0]
    inside = (slice(before.shape[0] // 3, before.shape[0] // 2), slice(before.shape[1] // 3, before.shape[1] // 2))
    assert np.abs(before[inside].astype(int) - again.pixels[inside]).mean() < 12


def test_who_is_hidden_stays_hidden_through_a_flash(stream, monkeypatch):
    """A flash is a cut to what tells cuts, and nobody is found in it; with what comes after it, it could be told."""
    monkeypatch.setenv("FACEFUSION_WATERMARK", "off")
    flash = [replace(frame, pixels=cv2.GaussianBlur(255 - frame.pixels, (0, 0), 16)) for frame in stream[4:10]]
    with Live(build_recipe({"processors": ["face_anonymiser"], "face_anonymiser_seed": 3})) as live:
        before = [live.render(frame) for frame in stream[:4]][-1]
        rendered = [live.render(frame) for frame in flash]
    was_hidden = (before.pixels != stream[3].pixels).any(axis=-1)
    shares = [
        float((one.pixels != frame.pixels).any(axis=-1)[was_hidden].mean())
        for one, frame in zip(rendered, flash, strict=True)
    ]
    assert min(shares[:3]) > 0.5
    # After a cut to nothing nobody is held for longer.
    white = [replace(frame, pixels=255 - (255 - frame.pixels) // 64) for frame in stream[4:10]]
    with Live(build_recipe({"processors": ["face_anonymiser"], "face_anonymiser_seed": 3})) as live:
        for frame in stream[:4]:
            live.render(frame)
        assert [live.render(frame).is_changed for frame in white] == [True] * 3 + [False] * 3


def test_who_is_held_through_what_may_be_a_flash_makes_room_for_who_is_there(stream, monkeypatch, source_photo):
    """After a cut the largest is who is there, and not who was there before it."""
    monkeypatch.setenv("FACEFUSION_WATERMARK", "off")
    other = read_photo(source_photo).pixels
    first, second = (np.full((512, 1024, 3), 90, np.uint8) for _ in range(2))
    second[:, 512:] = 255 - second[:, 512:] // 4
    first[:, :512], second[:, 512:] = stream[0].pixels, other[:512, :512]
    second[:, :512] = 20
    frames = [replace(frame, pixels=first if k < 4 else second) for k, frame in enumerate(stream[:8])]
    with Live(build_recipe({"processors": ["face_anonymiser"], "faces": "largest"})) as live:
        made = [live.render(frame) for frame in frames]
    for k, (one, frame) in enumerate(zip(made, frames, strict=True)):
        half = slice(0, 512) if k < 4 else slice(512, None)
        assert (one.pixels[:, half] != frame.pixels[:, half]).any(axis=-1).mean() > 0.1, k


def test_only_the_one_who_was_chosen_is_changed(stream, monkeypatch):
    """Two people side by side: of the largest it is one, of all both."""
    monkeypatch.setenv("FACEFUSION_WATERMARK", "off")

    def both(frame, share):
        wide = np.zeros((512, 1024, 3), np.uint8)
        wide[:, :512] = frame.pixels
        small = frame.pixels[:: round(1 / share), :: round(1 / share)]
        wide[: small.shape[0], 512 : 512 + small.shape[1]] = small
        return replace(frame, pixels=wide)

    halves = {}
    for faces in ("largest", "all"):
        with Live(recipe(faces=faces)) as live:
            for frame in stream[:3]:
                pixels = both(frame, 0.5)
                made = live.render(pixels).pixels
            halves[faces] = [
                bool((made[:, part] != pixels.pixels[:, part]).any()) for part in (slice(0, 512), slice(512, None))
            ]
    assert halves == {"largest": [True, False], "all": [True, True]}


# Cameras and recordings


def test_a_camera_gives_frames_with_rising_times_from_zero():
    lavfi("")
    with Camera("testsrc=size=64x48:rate=10:duration=0.5", form="lavfi") as camera:
        assert (camera.width, camera.height, camera.frame_rate) == (64, 48, 10)
        frames = list(camera)
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(k, 10) for k in range(5)]
    assert all(frame.pixels.shape == (48, 64, 3) and frame.pixels.any() for frame in frames)


def test_a_camera_that_there_is_not_is_explained(tmp_path):
    with pytest.raises(MediaUnreadable, match="cannot be opened"):
        Camera(str(tmp_path / "video9"))
    (tmp_path / "film.mp4").write_bytes(b"film")
    with pytest.raises(RecipeError, match="is a file, not a camera"):
        Camera(str(tmp_path / "film.mp4"))
    with pytest.raises(RecipeError, match="cannot read from"):
        Camera("0", form="nothing")


def test_a_recording_holds_what_came_at_its_times(tmp_path, stream):
    path = tmp_path / "r.mkv"
    done = record(recipe(), stream[:6], path, 60, is_dropping=False)
    assert (done.frames, done.changed_frames, done.dropped_frames, done.people) == (6, 6, 0, 1)
    assert (done.width, done.height, done.latency_frames, done.notes) == (512, 512, 0, ())
    assert done.as_dict()["output"] == str(path)
    written = list(ClipReader(path))
    assert [round(frame.time_s, 3) for frame in written] == [round(frame.time_s, 3) for frame in stream[:6]]
    with Live(recipe()) as live:
        for frame, other in zip(stream[:6], written, strict=True):
            assert np.abs(live.render(frame).pixels.astype(int) - other.pixels).mean() < 3
    with av.open(str(path)) as container:
        assert "synthetic media" in container.metadata["comment" if "comment" in container.metadata else "COMMENT"]


def test_a_recording_ends_by_the_times_of_its_frames(tmp_path, stream):
    done = record(recipe(), stream, tmp_path / "r.mp4", 0.2, is_dropping=False)
    assert done.frames == 5
    assert len(list(ClipReader(tmp_path / "r.mp4"))) == 5


def test_a_recording_that_is_stopped_is_kept_as_far_as_it_is(tmp_path, stream):
    def source():
        yield from stream[:2]
        raise KeyboardInterrupt

    done = record(recipe(), source(), tmp_path / "r.mp4", 10, is_dropping=False)
    assert (done.frames, done.notes) == (2, (STOPPED,))
    assert len(list(ClipReader(tmp_path / "r.mp4"))) == 2


def test_a_recording_that_fails_leaves_what_was_there(tmp_path, stream):
    path = tmp_path / "r.mp4"
    path.write_bytes(b"old")

    with pytest.raises(MediaUnreadable, match="no frame"):
        record(recipe(), [], path, 10)
    with pytest.raises(OutputRefused):
        record(recipe(), stream, sample_path("source.jpg").with_suffix(".jpg"), 10)
    with pytest.raises(RecipeError, match="recording of"):
        record(recipe(), stream, path, float("nan"))
    assert path.read_bytes() == b"old"
    assert [other.name for other in tmp_path.iterdir()] == ["r.mp4"]


def test_what_was_recorded_before_a_camera_went_is_kept(tmp_path, stream):
    def source():
        yield from stream[:3]
        raise MediaUnreadable("The camera is gone.", "")

    done = record(recipe(), source(), tmp_path / "r.mp4", 10, is_dropping=False)
    assert done.frames == 3
    assert done.notes[0] == "The camera is gone. What was recorded until then is kept."
    assert len(list(ClipReader(tmp_path / "r.mp4"))) == 3


def test_a_recording_does_not_go_over_what_it_reads(tmp_path, stream):
    source = tmp_path / "face.mp4"
    source.write_bytes(sample_path("source.jpg").read_bytes())
    with pytest.raises(OutputRefused, match="also an input"):
        record(build_recipe({"source_paths": [source]}), stream, source, 1)


def test_a_camera_is_recorded_with_odd_sides_and_nobody_in_it(tmp_path):
    choice = lavfi("testsrc=size=65x49:rate=10")
    done = record(recipe(), choice, tmp_path / "r.mp4", 0.4, is_dropping=False)
    assert (done.frames, done.changed_frames, done.width, done.height) == (4, 0, 65, 49)
    assert done.notes == (NOBODY,)
    assert next(iter(ClipReader(tmp_path / "r.mp4"))).pixels.shape[:2] == (50, 66)


def test_a_recorder_that_got_nothing_leaves_nothing(tmp_path):
    with Recorder(tmp_path / "r.mkv"):
        pass
    assert list(Path(tmp_path).iterdir()) == []


def test_a_device_of_sound_alone_is_no_camera():
    lavfi("")
    with pytest.raises(MediaUnreadable, match="no picture"):
        Camera("sine", form="lavfi")
