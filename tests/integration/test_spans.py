"""A clip in parts comes out as in one piece, to the byte."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from tests.chaos import make_small

from facefusion.errors import SegmentDamaged
from facefusion.jobs.once import run
from facefusion.jobs.prepare import mark_of, prepare
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger, Part, SegmentWriter, plan_spans
from facefusion.pipeline.cast import build_analyser, build_cast
from facefusion.pipeline.clip import (
    build_flow,
    join_observations,
    load_tracks,
    merge_segments,
    observe_spans,
    plan_clip,
    render_spans,
)
from facefusion.pipeline.plan import build_plan
from facefusion.recipe import build_recipe
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of
from facefusion.types.frame import RenderedFrame
from facefusion.types.observation import Observation
from facefusion.types.track import Tracks


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Eight seconds of five frames each."""
    return make_small(tmp_path_factory.mktemp("clip") / "small.mp4", frame_count=40, side=256)


def digest(path):
    return content_of(path)


def copy_in_parts(clip, folder, length_s, suffix=".mp4", encoder="libx264", **part):
    """Copy a clip segment by segment, each read for itself."""
    reader = ClipReader(clip, **part)
    spans = plan_spans(reader, length_s)
    parts = []
    for number, span in enumerate(spans):
        with SegmentWriter(folder / f"{number}.nut", reader, encoder, "veryfast", 80) as writer:
            for frame in ClipReader(clip, **part, span=span.as_pair()):
                writer.write(RenderedFrame(frame))
        assert len(writer.pts) == span.frame_count
        parts.append(Part(folder / f"{number}.nut", writer.pts, writer.durations))
    output = folder / f"out{suffix}"
    with ClipMerger(output, reader, encoder, parts) as merger:
        merger.merge()
    return output, spans


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_every_frame_is_there_once_at_its_exact_time(tmp_path, small, encoder):
    clip = small
    output, spans = copy_in_parts(clip, tmp_path, 2.0, encoder=encoder)
    assert len(spans) == 4
    assert [f.pts for f in ClipReader(output)] == [f.pts for f in ClipReader(clip)]


def test_times_of_a_clip_of_variable_frame_rate_are_kept_over_segments(tmp_path):
    rng = np.random.default_rng(4)
    pts = np.cumsum(rng.choice([200, 300, 333, 700], 120)).tolist()
    clip = make_clip(tmp_path / "vfr.mp4", pts=pts, time_base=Fraction(1, 9000))
    output, spans = copy_in_parts(clip, tmp_path, 1.0)
    assert len(spans) > 2
    assert [f.pts for f in ClipReader(output)] == [f.pts for f in ClipReader(clip)]


def test_an_open_gop_clip_loses_no_frame_between_spans(tmp_path):
    clip = tmp_path / "open.mp4"
    reader = ClipReader(sample_path("target.mp4"))
    with av.open(str(clip), "w") as container:
        stream = container.add_stream(
            "libx265", rate=25, options={"x265-params": "keyint=20:open-gop=1:log-level=none"}
        )
        stream.width, stream.height, stream.pix_fmt = 512, 512, "yuv420p"
        for frame in reader:
            picture = av.VideoFrame.from_ndarray(frame.pixels, format="rgb24").reformat(format="yuv420p")
            picture.pts = frame.index
            picture.time_base = Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    whole = list(ClipReader(clip))
    for span in plan_spans(ClipReader(clip), 1.0):
        part = list(ClipReader(clip, span=span.as_pair(), halo=(1, 1)))
        at = next(k for k, frame in enumerate(whole) if frame.pts == part[0].pts)
        for mine, other in zip(part, whole[at:], strict=False):
            assert mine.pts == other.pts
            assert np.array_equal(mine.pixels, other.pixels)


def test_a_trimmed_part_keeps_its_times_and_its_sound(tmp_path):
    clip = sample_path("target.mp4")
    output, _ = copy_in_parts(clip, tmp_path, 1.0, start_s=0.5, end_s=3.1)
    frames = [f.pts for f in ClipReader(output)]
    start = 6400  # half a second
    assert frames == [f.pts - start for f in ClipReader(clip, 0.5, 3.1)]
    with av.open(str(output)) as container:
        assert container.streams.audio


def test_spans_leave_no_gap_and_follow_key_frames(tmp_path):
    clip = sample_path("target.mp4")
    spans = plan_spans(ClipReader(clip), 0.9)
    assert spans[0].start is None
    assert spans[-1].stop is None
    assert all(one.stop == other.start for one, other in pairwise(spans))
    assert sum(span.frame_count for span in spans) == 100


def test_a_segment_with_a_frame_too_few_is_not_merged(tmp_path):
    clip = sample_path("target.mp4")
    reader = ClipReader(clip)
    frames = list(reader)[:10]
    with SegmentWriter(tmp_path / "0.nut", reader, "libx264", "veryfast", 80) as writer:
        for frame in frames:
            writer.write(RenderedFrame(frame))
    part = Part(tmp_path / "0.nut", [*writer.pts, 99999], [*writer.durations, 1])
    with (
        pytest.raises(SegmentDamaged, match="10 frames instead of 11"),
        ClipMerger(tmp_path / "o.mp4", reader, "libx264", [part]) as merger,
    ):
        merger.merge()
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize("batch", [1, 3])
def test_a_clip_rendered_span_by_span_in_any_order_is_the_same_file(tmp_path, small, batch):
    recipe = build_recipe(
        {
            "source_paths": [sample_path("source.jpg")], "target_path": small,
            "output_path": tmp_path / "whole.mp4", "segment_s": 2.0, "execution_batch_size": batch,
        }
    )  # fmt: skip
    run(recipe)

    plan = build_plan(recipe.model_copy(update={"output_path": tmp_path / "parts.mp4", "execution_thread_count": 1}))
    spans = plan_clip(plan.recipe)
    assert len(spans) == 4
    for number in (2, 0, 3, 1):  # nobody keeps anything from one span to the next
        analyser = build_analyser(plan.recipe)
        for seen in observe_spans(plan.recipe, analyser, spans, range(number, number + 1)):
            seen.save(tmp_path / f"{number}.seen")
    tracks = join_observations(analyser, [Observation.load(tmp_path / f"{k}.seen") for k in range(4)], {})
    tracks.save(tmp_path / "a.tracks")
    segments = {}
    for number in (3, 1, 0, 2):
        cast = build_cast(plan.recipe, build_analyser(plan.recipe, has_identity=False))
        assigned = cast.assign(plan.recipe, tracks)
        one = range(number, number + 1)
        flow = build_flow(
            plan.recipe, cast, load_tracks(tmp_path / "a.tracks", spans, one), assigned,
            mark=mark_of(recipe, prepare(recipe).hashes),
        )  # fmt: skip
        for segment in render_spans(plan, flow, spans, one, tmp_path):
            segments[segment.number] = segment
    from facefusion.pipeline.runner import comment_of

    merge_segments(plan, [segments[k].part for k in range(4)], comment_of(plan))
    assert digest(tmp_path / "parts.mp4") == digest(tmp_path / "whole.mp4")


def test_a_person_is_one_track_over_all_spans():
    recipe = build_recipe({"target_path": sample_path("target.mp4"), "segment_s": 1.0})
    spans = plan_clip(recipe)
    analyser = build_analyser(recipe)
    tracks = join_observations(analyser, list(observe_spans(recipe, analyser, spans, range(len(spans)))), {})
    whole = analyser.analyse(ClipReader(recipe.target_path))
    assert len(tracks.tracks) == len(whole.tracks) == 1
    assert np.array_equal(tracks.tracks[0].frames, whole.tracks[0].frames)
    assert np.array_equal(tracks.pts, whole.pts)
    eyes = float(np.ptp(whole.tracks[0].meshes[0, :, 0]))
    apart = np.abs(tracks.tracks[0].meshes - whole.tracks[0].meshes)[..., :2]
    assert apart.mean() < 0.002 * eyes
    assert np.quantile(apart, 0.999) < 0.03 * eyes


def test_rows_of_saved_tracks_are_the_same_as_of_the_whole(tmp_path):
    recipe = build_recipe({"target_path": sample_path("target.mp4"), "end_s": 1.0})
    tracks = build_analyser(recipe).analyse(ClipReader(recipe.target_path, end_s=1.0))
    tracks.save(tmp_path / "a.tracks")
    part = Tracks.load(tmp_path / "a.tracks", (5, 9))
    assert part.tracks[0].frames.tolist() == [5, 6, 7, 8]
    assert np.array_equal(part.tracks[0].meshes, tracks.tracks[0].meshes[5:9])
    assert np.array_equal(part.pts, tracks.pts)
