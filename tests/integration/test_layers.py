"""What is new in an output, by itself: over the target it gives the output. And previews are frames of the output."""

import hashlib
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

import facefusion
from facefusion.errors import OutputRefused, RecipeError
from facefusion.imaging.layer import layer_of, matte_of
from facefusion.jobs.once import run
from facefusion.jobs.prepare import prepare, work_id_of
from facefusion.media.generate import write_test_clip
from facefusion.media.image import read_photo
from facefusion.media.layer_folders import index_in
from facefusion.media.layers import write_layers
from facefusion.media.reader import ClipReader
from facefusion.media.sequence import find_changed, save_index
from facefusion.media.writer import ClipWriter
from facefusion.pipeline.clip import layer_in_frame, plan_clip
from facefusion.policy.site import SitePolicy
from facefusion.recipe import build_recipe
from facefusion.service.backend import Backend
from facefusion.service.jobs import Jobs
from facefusion.service.previews import Previews
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of
from facefusion.types.frame import Frame, RenderedFrame

SOURCE, PHOTO = (str(sample_path(name)) for name in ("source.jpg", "target.jpg"))
POLICY = SitePolicy(is_marked=False)


def lay_over(target, colours, alpha):
    """A layer from `layer_of` over a picture, in eight bits, as compositors do it."""
    share = alpha.astype(np.float32)[..., None] / 255
    mixed = target + (colours.astype(np.float32) - target) * share
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def decode(path, kind):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format=kind)) for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def made(few_frames, tmp_path_factory):
    """One recipe in two spans, with every kind of layer and matte; and the recipe."""
    folder = tmp_path_factory.mktemp("layers")
    target = folder / "slow.mp4"
    frames = [frame.pixels for frame in ClipReader(few_frames)]
    write_test_clip(target, frames, [0, 600, 1200, 1800, 2400], Fraction(1, 1000), options={"g": "1"})
    recipe = build_recipe(
        {"source_paths": [SOURCE], "target_path": target, "output_path": folder / "o.mp4", "segment_s": 1}
    )
    assert len(plan_clip(recipe)) == 2
    (folder / "mask").mkdir()
    left = dict.fromkeys(("00000001.png", "00000005.png", "00000099.png"), b"left")
    for name, content in {**left, "mine.txt": b"old"}.items():
        (folder / "mask" / name).write_bytes(content)
    told = [{"name": name, "sha256": hashlib.sha256(content).hexdigest()} for name, content in left.items()]
    save_index(index_in(folder / "mask"), "%08d.png", told)  # as an earlier and longer run left it
    outcome = run(recipe.with_options(mask_path=folder / "mask", layer_path=folder / "layer.mkv"), policy=POLICY)
    assert outcome.changed_frame_count == 5
    layers, times = [layer for _, layer in decode(folder / "layer.mkv", "rgba")], [0, 600, 1200, 1800, 2400]
    for mask, layer in (("mask.mkv", "layer"), ("mask.mp4", "layer.mov")):  # as the job writes them
        told = Fraction(1, 1000), folder / mask, folder / layer, "synthetic media"
        write_layers(iter(layers), times, [0] * 5, *told)
    return folder, recipe


def test_a_layer_over_the_target_is_the_frame_that_the_run_renders(made):
    folder, recipe = made
    previews = Previews(policy=POLICY)
    previews.find_all(recipe)
    layers = decode(folder / "layer.mkv", "rgba")
    assert len(layers) == 5
    for number, frame in enumerate(ClipReader(recipe.target_path)):
        time_s, layer = layers[number]
        assert time_s == pytest.approx(float(frame.pts * frame.time_base), abs=1e-3)
        if number in (0, 3):  # of the first span, and of the second
            rendered = previews.of_recipe(recipe, float(frame.pts * frame.time_base)).pixels
            np.testing.assert_array_equal(lay_over(frame.pixels, layer[..., :3], layer[..., 3]), rendered)
        picture = read_photo(folder / "layer" / f"{number:08d}.png")
        np.testing.assert_array_equal(np.dstack([picture.pixels, picture.alpha]), layer)
        np.testing.assert_array_equal(read_photo(folder / "mask" / f"{number:08d}.png").pixels[..., 0], layer[..., 3])
        np.testing.assert_array_equal(decode(folder / "mask.mkv", "gray")[number][1], layer[..., 3])
        # The matte is about the head, and not the square that processors work on.
        assert (layer[:8, :, 3] == 0).all() and (layer[200:300, 220:290, 3] == 255).all()
        rows, columns = np.flatnonzero(layer[..., 3].any(axis=1)), np.flatnonzero(layer[..., 3].any(axis=0))
        corner = layer[rows[0] : rows[0] + 12, columns[0] : columns[0] + 12, 3]
        assert corner.mean() < 25
    assert sorted(path.name for path in (folder / "layer").glob("*.png")) == [f"{k:08d}.png" for k in range(5)]
    assert b"synthetic media" in read_photo(folder / "mask" / "00000000.png").exif


def test_clips_for_editors_hold_the_same(made):
    folder, _ = made
    exact = decode(folder / "layer.mkv", "rgba")
    with av.open(str(folder / "layer.mov")) as container:
        assert container.streams.video[0].codec.name == "prores" and "yuva444p" in container.streams.video[0].pix_fmt
        assert "synthetic media" in container.metadata["comment"]
    for (time_s, layer), (other_s, other), (mask_s, mask) in zip(
        exact, decode(folder / "layer.mov", "rgba"), decode(folder / "mask.mp4", "gray"), strict=True
    ):
        assert other_s == pytest.approx(time_s, abs=1e-3) and mask_s == pytest.approx(time_s, abs=1e-3)
        assert np.abs(other[..., 3].astype(int) - layer[..., 3]).mean() < 0.5
        firm = layer[..., 3] == 255
        assert np.abs(other[firm].astype(int) - layer[firm]).mean() < 3
        assert np.abs(mask.astype(int) - layer[..., 3]).mean() < 2


def test_the_output_is_the_same_to_the_byte_with_and_without_a_layer(made, tmp_path):
    folder, recipe = made
    run(recipe.with_options(output_path=tmp_path / "o.mp4"), policy=POLICY)
    assert content_of(tmp_path / "o.mp4") == content_of(folder / "o.mp4")


def test_a_layer_of_a_photo_over_it_is_the_output(tmp_path):
    recipe = build_recipe({"source_paths": [SOURCE], "target_path": PHOTO, "output_path": tmp_path / "o.png"})
    recipe = recipe.with_options(mask_path=tmp_path / "m.png", layer_path=tmp_path / "l.tif")
    run(recipe, policy=POLICY)
    layer = read_photo(tmp_path / "l.tif")
    output = read_photo(tmp_path / "o.png").pixels
    np.testing.assert_array_equal(
        lay_over(read_photo(sample_path("target.jpg")).pixels, layer.pixels, layer.alpha), output
    )
    np.testing.assert_array_equal(read_photo(tmp_path / "m.png").pixels[..., 0], layer.alpha)
    assert layer.alpha.max() == 255 and layer.alpha.min() == 0


def test_a_layer_has_no_mark_and_the_run_says_so(tmp_path):
    recipe = build_recipe({"source_paths": [SOURCE], "target_path": PHOTO, "output_path": tmp_path / "o.png"})
    recipe = recipe.with_options(layer_path=tmp_path / "l.tif")
    outcome = run(recipe)
    assert [note for note in outcome.notes if "layer is without the invisible mark" in note]
    marked, layer = read_photo(tmp_path / "o.png").pixels, read_photo(tmp_path / "l.tif")
    outcome = run(recipe.with_options(output_path=tmp_path / "p.png", layer_path=tmp_path / "m.tif"), policy=POLICY)
    assert not [note for note in outcome.notes if "layer" in note]
    laid = lay_over(read_photo(sample_path("target.jpg")).pixels, layer.pixels, layer.alpha)
    np.testing.assert_array_equal(laid, read_photo(tmp_path / "p.png").pixels)
    assert (laid != marked).any()
    np.testing.assert_array_equal(layer.alpha, read_photo(tmp_path / "m.tif").alpha)


def test_a_preview_is_the_frame_of_a_lossless_output_also_when_the_job_is_done(tmp_path, few_frames):
    clip, frames = tmp_path / "clip.mkv", list(ClipReader(few_frames))[:3]
    write_test_clip(
        clip, [frame.pixels for frame in frames], [0, 40, 80], Fraction(1, 1000),
        pixel_format="yuv444p", options={"qp": "0"},
    )  # fmt: skip
    recipe = build_recipe(
        {"source_paths": [SOURCE], "target_path": clip, "output_path": tmp_path / "o.mkv", "output_video_quality": 100}
    )
    with Jobs(Backend(tmp_path / "jobs", policy=POLICY)) as jobs:
        job = jobs.submit(recipe).job
        jobs.run(job.id)
        assert jobs.show(job.id).status == "done"
        made = jobs.preview(job.id, 0.04, tmp_path / "p.png", is_exact=True)
    assert (made.notes, made.is_changed, made.time_s) == ((), True, 0.04)
    preview = read_photo(tmp_path / "p.png").pixels
    reader = ClipReader(clip)
    target = list(reader)[1]
    with ClipWriter(tmp_path / "again.mkv", reader, quality=100) as writer:
        writer.write(RenderedFrame(replace(target, native=None), preview, (0, 0, preview.shape[1], preview.shape[0])))
    again, output = (
        next(iter(ClipReader(tmp_path / "again.mkv"))).pixels,
        list(ClipReader(tmp_path / "o.mkv"))[1].pixels,
    )
    is_new = (preview != target.pixels).any(axis=2)
    assert is_new.mean() > 0.05
    np.testing.assert_array_equal(output[is_new], again[is_new])
    np.testing.assert_array_equal(output[:8], target.pixels[:8])


def test_an_older_and_longer_sequence_leaves_nothing_behind(made):
    folder, _ = made
    found = {path.name: path.read_bytes() == b"old" for path in (folder / "mask").iterdir()}
    assert found == {**{f"{k:08d}.png": False for k in range(5)}, "%08d.png.frames": False, "mine.txt": True}
    assert not list(folder.glob(".*")) and find_changed(index_in(folder / "mask")) == ()


@pytest.mark.parametrize("option", ["mask_path", "layer_path"])
@pytest.mark.parametrize("asked", ["folder", "pattern"])
def test_pictures_of_somebody_else_are_never_written_over(tmp_path, option, asked):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, frame in zip(range(3), ClipReader(sample_path("target.mp4")), strict=False):
        Image.fromarray(frame.pixels).save(frames / f"{number:08d}.png")
    target = {"target_path": frames, "frame_rate": 25} if asked == "folder" else {"target_path": frames / "%08d.png"}
    holds = {path.name: path.read_bytes() for path in frames.iterdir()}
    recipe = build_recipe({"source_paths": [SOURCE], **target, "output_path": tmp_path / "o.mp4", option: frames})
    with pytest.raises(OutputRefused, match=r"holds the picture of the target 00000000\.png too"):
        facefusion.run(recipe)
    assert {path.name: path.read_bytes() for path in frames.iterdir()} == holds
    strange = tmp_path / "strange"  # not of the target, and with an index of what is no longer all there is
    strange.mkdir()
    save_index(index_in(strange), "%08d.png", [{"name": "00000000.png", "sha256": ""}])
    (strange / "00000009.png").write_bytes(b"mine")
    with pytest.raises(OutputRefused, match=r"holds 1 picture that no earlier (matte|layer) left there: 00000009"):
        facefusion.run(recipe.with_options(**{option: strange}))
    assert (strange / "00000009.png").read_bytes() == b"mine" and not (tmp_path / "o.mp4").exists()


def test_a_second_run_goes_over_its_own_pictures_and_no_others(few_frames, tmp_path):
    recipe = build_recipe({"source_paths": [SOURCE], "target_path": few_frames, "output_path": tmp_path / "o.mp4"})
    recipe = recipe.with_options(mask_path=tmp_path / "mask")
    run(recipe, policy=POLICY)
    run(recipe.with_options(trim_frame_end=2), policy=POLICY)
    names = ["%08d.png.frames", "00000000.png", "00000001.png"]
    assert sorted(path.name for path in (tmp_path / "mask").iterdir()) == names
    masks = {"target_path": tmp_path / "mask" / "%08d.png", "output_path": tmp_path / "p.mp4"}
    with pytest.raises(OutputRefused, match="holds the picture of the target"):
        facefusion.run(recipe.with_options(**masks))


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("clip", {"layer_path": "l.mp4"}, "layer of a clip cannot be written as 'l.mp4'"),
        ("clip", {"mask_path": "m.png"}, "matte of a clip"),
        ("photo", {"layer_path": "l.jpg"}, "layer of a photo"),
        ("photo", {"mask_path": "folder"}, "matte of a photo"),
        ("clip", {"mask_path": "x.mkv", "layer_path": "x.mkv"}, "is also the"),
        ("clip", {"layer_path": "o.mkv"}, "is also the"),
        ("clip", {"layer_path": "taken"}, "is a file"),
    ],
)
def test_places_that_cannot_hold_a_layer_are_refused_first(few_frames, tmp_path, target, options, message):
    (tmp_path / "taken").write_bytes(b"mine")
    recipe = build_recipe(
        {
            "source_paths": [SOURCE], "target_path": few_frames if target == "clip" else PHOTO,
            "output_path": tmp_path / ("o.mkv" if target == "clip" else "o.png"),
            **{name: tmp_path / value for name, value in options.items()},
        }
    )  # fmt: skip
    with pytest.raises(OutputRefused, match=message):
        run(recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_cluster_says_that_it_makes_no_layers(few_frames, tmp_path):
    recipe = build_recipe({"source_paths": [SOURCE], "target_path": few_frames, "output_path": tmp_path / "o.mp4"})
    with pytest.raises(RecipeError, match="no mattes and layers"):
        prepare(recipe.with_options(layer_path=tmp_path / "l.mkv"), is_shared=True)
    layered = recipe.with_options(layer_path=tmp_path / "l.mkv")
    other = recipe.with_options(layer_path=tmp_path / "k.mkv")
    ids = [work_id_of(one, {}, {}) for one in (recipe, layered, other)]
    assert ids[0] != ids[1] == ids[2]  # segments with a layer are shared by jobs that want one


# Layers by themselves


def test_colours_of_a_layer_are_near_the_outputs_where_it_hardly_covers(rng):
    """Grain of a few levels under an alpha of nearly nothing was noise of all colours, which scaling made visible."""
    target = rng.integers(60, 190, (64, 64, 3)).astype(np.uint8)
    output = (target.astype(int) + rng.integers(-6, 7, target.shape)).astype(np.uint8)
    colours, share = layer_of(target, output, np.full((64, 64), 0.01, np.float32))
    assert np.abs(colours.astype(int) - output).max() <= 18
    np.testing.assert_array_equal(lay_over(target, colours, share), output)


def test_any_change_is_explained_by_a_layer_whatever_was_laid_over(rng):
    for _ in range(5):
        target, output = (rng.integers(0, 256, (48, 40, 3), dtype=np.uint8) for _ in range(2))
        output = np.where(rng.random((48, 40, 1)) < 0.4, target, output)
        for alpha in (None, rng.random((48, 40)).astype(np.float32), np.zeros((48, 40), np.float32)):
            colours, share = layer_of(target, output, alpha)
            np.testing.assert_array_equal(lay_over(target, colours, share), output)
            if alpha is not None:
                assert (share >= np.floor(alpha * 255)).all()
        assert (layer_of(target, target)[1] == 0).all()


def test_a_matte_is_about_what_is_new_without_holes():
    rows, columns = np.mgrid[0:200, 0:200]
    radius = np.hypot(rows - 100, columns - 100)
    target = np.full((200, 200, 3), 100, np.uint8)
    output = target.copy()
    output[radius < 50] = 160
    output[radius < 10] = 100  # by chance as before
    output[5, 5] = 160  # a speck
    matte = matte_of(target, output, np.ones((200, 200), np.float32))
    assert (matte[radius < 45] > 0.99).all() and (matte[radius > 90] < 0.01).all()
    assert matte_of(target, output, np.full((200, 200), 0.5, np.float32)).max() == pytest.approx(0.5)
    assert matte_of(target, target, np.ones((200, 200), np.float32)).max() == 0
    for shape in ((1, 1), (3, 50), (50, 3)):
        assert (
            matte_of(np.zeros((*shape, 3), np.uint8), np.zeros((*shape, 3), np.uint8), np.ones(shape, np.float32)).shape
            == shape
        )


def test_steps_on_whole_frames_make_the_whole_picture_a_layer():
    frame = Frame(np.zeros((4, 6, 3), np.uint8), 0, 0, Fraction(1))
    changed = RenderedFrame(frame, np.full((2, 2, 3), 9, np.uint8), (1, 1, 3, 3))
    whole = layer_in_frame(changed, is_on_target=False)
    np.testing.assert_array_equal(whole[..., :3], changed.pixels)
    assert (whole[..., 3] == 255).all()
    part = layer_in_frame(RenderedFrame(frame), is_on_target=True)
    assert (part == 0).all()


def test_a_layer_beside_every_encoder(few_frames, tmp_path):
    layers = {}
    for encoder in ("libx264", "prores_ks"):
        options = {
            "output_video_encoder": encoder,
            "output_video_scale": 0.5,
            "layer_path": tmp_path / f"{encoder}.mkv",
        }
        output = tmp_path / f"{encoder}.mov"
        recipe = {"source_paths": [SOURCE], "target_path": few_frames, "output_path": output, **options}
        run(build_recipe(recipe), policy=POLICY)
        layers[encoder] = decode(tmp_path / f"{encoder}.mkv", "rgba")
    for (time_s, layer), (other_s, other) in zip(layers["libx264"], layers["prores_ks"], strict=True):
        assert time_s == pytest.approx(other_s, abs=1e-3)
        assert np.array_equal(layer, other)
        assert layer[..., 3].any()
