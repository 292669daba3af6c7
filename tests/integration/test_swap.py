"""The embedded engines and the swapper together, on people who do not exist."""

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from facefusion.declaration import Step
from facefusion.imaging.crops import cut_native
from facefusion.imaging.finish import measure_finish, missing_blur, sharp_blur
from facefusion.imaging.masks import disc_around
from facefusion.imaging.texture import sample_soft
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.metrics.fidelity import compare_tracks
from facefusion.metrics.likeness import Likeness
from facefusion.models.pose import estimate_pose
from facefusion.pipeline.cast import cautions, find_weakness
from facefusion.pipeline.runner import build_processors, choose_tracks
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.processors.face_swapper import mesh as mesh_module
from facefusion.processors.face_swapper.fusion import build_fusion
from facefusion.processors.face_swapper.mesh import MAX_MOVE, MeshSwapper
from facefusion.recipe import Recipe, build_recipe
from facefusion.render.renderer import Renderer
from facefusion.testing.fakes import PaintProcessor, make_mesh
from facefusion.types.crop import SourceFace
from facefusion.types.face import Face, Pose
from facefusion.types.frame import Frame
from facefusion.types.topology import FACE_OVAL, LEFT_BROW, LEFT_EYE, LIPS_INNER, RIGHT_EYE
from facefusion.types.track import Tracks


def swap(source: SourceFace, target: SourceFace, **options) -> tuple[np.ndarray, np.ndarray, Face]:
    """Swapped crop, alpha and the face in the crop."""
    swapper = MeshSwapper(**options)
    swapper.prepare([source])
    crop = cut_native(target.pixels, target.face)
    (result,) = swapper.process([crop])
    alpha = result.alpha[..., None]
    mixed = crop.pixels * (1 - alpha) + result.pixels * alpha
    return np.clip(mixed, 0, 255).astype(np.uint8), result.alpha, crop.face


def ring_mask(face: Face, ring, shape) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(face.mesh[list(ring), :2]).astype(np.int32)], 1)
    return mask > 0


def test_sample_faces_are_found_where_they_are(source, target):
    for face in (source.face, target.face):
        assert face.score > 0.8
        assert abs(face.pose.yaw) < 8
        centre = (face.box[:2] + face.box[2:]) / 2
        np.testing.assert_allclose(centre, 256, atol=40)


@pytest.mark.parametrize("angle", [-135, -90, -45, -30, 30, 45, 90, 135, 180])
def test_rolled_faces_are_found_and_their_roll_is_read(analyser, target_photo, angle):
    from PIL import Image

    pixels = np.asarray(Image.fromarray(read_photo(target_photo).pixels).rotate(-angle, Image.Resampling.BICUBIC))
    faces = analyser.find_faces(np.ascontiguousarray(pixels))
    assert len(faces) >= 1
    assert faces[0].pose.roll == pytest.approx(angle, abs=5)


@pytest.mark.parametrize("height", [40, 96, 300, 1400])
def test_faces_of_many_sizes_are_found(analyser, target_photo, height):
    from PIL import Image

    photo = Image.fromarray(read_photo(target_photo).pixels)
    scale = height / 256  # the sample's face is about 256 px high
    resized = photo.resize((int(512 * scale), int(512 * scale)), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (max(resized.width, 640), max(resized.height, 480)), (90, 100, 110))
    canvas.paste(resized, (0, 0))
    faces = analyser.find_faces(np.asarray(canvas))
    assert len(faces) == 1
    assert np.ptp(faces[0].mesh[:468, 1]) == pytest.approx(height, rel=0.15)


def test_two_people_are_two_faces_largest_first(analyser, source, target):
    small = target.pixels[::2, ::2]
    canvas = np.full((560, 860, 3), 80, np.uint8)
    canvas[20:532, 10:522] = source.pixels
    canvas[100:356, 560:816] = small
    faces = analyser.find_faces(canvas)
    assert len(faces) == 2
    assert faces[0].box[0] < 300 < faces[1].box[0]


def test_detector_finds_nothing_in_noise_and_flat_pictures(rng):
    detector = build_engine("face_detector", "embedded", EngineContext(Recipe()))
    pictures = [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8), np.full((200, 200, 3), 128, np.uint8)]
    assert [len(found) for found in detector.detect(pictures)] == [0, 0]


def test_swap_moves_the_likeness_to_the_source(source, target):
    likeness = Likeness()
    wanted = likeness.describe(source.pixels, source.face.mesh)
    before = likeness.describe(target.pixels, target.face.mesh)
    mixed, _, face = swap(source, target)
    after = likeness.describe(mixed, face.mesh)
    assert likeness.compare(after, wanted) > 0.8
    assert likeness.compare(after, wanted) > likeness.compare(before, wanted) + 0.08
    assert likeness.compare(after, wanted) > likeness.compare(after, before)


def test_swap_keeps_the_colour_of_the_target(source, target):
    mixed, alpha, face = swap(source, target)
    crop = cut_native(target.pixels, target.face)
    inside = alpha > 0.9
    difference = mixed[inside].mean(axis=0) - crop.pixels[inside].mean(axis=0)
    assert np.abs(difference).max() < 10


def test_face_in_an_old_film_has_no_colour(source, target):
    grey = np.repeat(target.pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    mixed, alpha, _ = swap(source, SourceFace(grey, target.face))
    inside = mixed[alpha > 0.5].astype(int)
    assert (inside.max(axis=1) - inside.min(axis=1)).mean() < 3


def test_fusion_brings_no_colour_into_an_old_film(source, target):
    grey = np.repeat(target.pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    fusion = build_fusion(EngineContext(Recipe(), step=Step("face_swapper")))
    mixed, alpha, _ = swap(source, SourceFace(grey, target.face), fusion=fusion)
    inside = mixed[alpha > 0.5].astype(int)
    assert np.abs(inside.max(axis=1) - inside.min(axis=1)).mean() < 1.5


def test_a_face_is_as_soft_as_the_picture_around_it(source, target):
    soft = SourceFace(cv2.GaussianBlur(target.pixels, (0, 0), 3.0), target.face)
    blur, grain = measure_finish(soft.pixels, soft.face.mesh)
    soft = SourceFace(soft.pixels, replace(soft.face, blur=blur, grain=grain))
    measured = {}
    for share in (0.0, 1.0):
        mixed, _, face = swap(source, soft, finish=share)
        measured[share] = measure_finish(mixed, face.mesh)[0]
    assert abs(measured[1.0] - blur) < 0.6 * abs(measured[0.0] - blur)
    assert measured[1.0] > measured[0.0] + 0.5


@pytest.mark.parametrize("share", [0.3, 0.08])
def test_face_in_the_dark_does_not_glow(source, target, share):
    dark = SourceFace((target.pixels * share).astype(np.uint8), target.face)
    after, alpha, _ = swap(source, dark)
    before = cut_native(dark.pixels, dark.face).pixels
    assert after[alpha > 0.5].mean() < 1.3 * before[alpha > 0.5].mean() + 2


def test_light_from_the_left_in_the_source_does_not_come_along(source, target):
    columns = np.linspace(1.5, 0.3, source.pixels.shape[1])[None, :, None]
    lit = SourceFace(np.clip(source.pixels * columns, 0, 255).astype(np.uint8), source.face)
    plain, alpha, _ = swap(source, target)
    mixed, _, _ = swap(lit, target)
    inside = alpha > 0.9
    half = np.arange(alpha.shape[1])[None] < alpha.shape[1] / 2

    def balance(pixels: np.ndarray) -> float:
        light = pixels.mean(axis=2)
        return float(light[inside & half].mean() / light[inside & ~half].mean())

    assert lit.pixels[:, :256].mean() / lit.pixels[:, 256:].mean() > 1.8
    assert balance(mixed) == pytest.approx(balance(plain), rel=0.08)


def test_light_on_the_target_stays(source, target):
    columns = np.linspace(1.4, 0.35, target.pixels.shape[1])[None, :, None]
    dark = SourceFace(np.clip(target.pixels * columns, 0, 255).astype(np.uint8), target.face)
    mixed, alpha, _ = swap(source, dark)
    crop = cut_native(dark.pixels, dark.face)
    inside = alpha > 0.9
    left = inside & (np.arange(alpha.shape[1])[None] < alpha.shape[1] * 0.4)
    right = inside & (np.arange(alpha.shape[1])[None] > alpha.shape[1] * 0.6)
    for side in (left, right):
        assert mixed[side].mean() == pytest.approx(crop.pixels[side].mean(), rel=0.12)


def test_eyeballs_and_inner_mouth_stay_the_targets(source, target):
    _, alpha, face = swap(source, target)
    for ring in (LEFT_EYE, RIGHT_EYE):
        mask = ring_mask(face, ring, alpha.shape)
        assert np.median(alpha[mask]) < 0.1
    iris = face.mesh[[468, 473], :2].round().astype(int)
    assert alpha[iris[:, 1], iris[:, 0]].max() < 0.05
    opened = target.face.mesh.copy()
    below = opened[:, 1] > opened[13, 1] + 1e-3  # the jaw drops as a whole
    opened[below, 1] += 20
    mouth = SourceFace(target.pixels, Face(opened, 1.0, target.face.pose))
    _, alpha, face = swap(source, mouth)
    x, y = face.mesh[[13, 14], :2].mean(axis=0).round().astype(int)
    assert alpha[y, x] < 0.05


def test_mask_is_soft_and_ends_inside_the_face(source, target):
    from facefusion.types.topology import FACE_OVAL

    _, alpha, face = swap(source, target)
    outside = ~ring_mask(face, FACE_OVAL, alpha.shape)
    assert alpha[outside].max() < 0.05
    assert np.abs(np.diff(alpha, axis=1)).max() < 0.6
    _, softer, _ = swap(source, target, softness=0.9)
    assert softer.sum() < alpha.sum()


def test_no_light_leaves_the_colours_of_the_source(source, target):
    plain, alpha, _ = swap(source, target, light=0.0)
    inside = alpha > 0.9
    from facefusion.imaging.texture import unwrap

    swapper = MeshSwapper()
    texture, quality = unwrap(source.pixels, source.face.mesh, swapper._plane)
    own = texture[quality > 0.5].mean(axis=0)
    assert np.abs(plain[inside].mean(axis=0) - own).max() < 14


def test_far_side_of_a_turned_source_is_filled(source):
    frames = list(ClipReader_target())
    turned = max(frames, key=lambda face: abs(face.face.pose.yaw))
    assert abs(turned.face.pose.yaw) > 10
    _, alpha, _ = swap(turned, source)
    mixed, _, face = swap(turned, source)
    width = alpha.shape[1]
    left, right = alpha[:, : width // 2].sum(), alpha[:, width // 2 :].sum()
    assert 0.8 < left / right < 1.25
    assert np.isfinite(mixed).all()


def ClipReader_target():  # noqa: N802 - reads as the reader it wraps
    from facefusion.pipeline.runner import build_analyser
    from facefusion.testing.fakes import sample_path

    analyser = build_analyser(Recipe())
    for frame in ClipReader(sample_path("target.mp4")):
        if frame.index % 20 == 0:
            yield SourceFace(frame.pixels, analyser.find_faces(frame.pixels)[0])


def test_several_sources_make_one_texture(source, target):
    swapper = MeshSwapper()
    swapper.prepare([source, target])
    crop = cut_native(target.pixels, target.face)
    (result,) = swapper.process([crop])
    assert result.alpha.max() > 0.9


def test_clip_keeps_pose_and_expression(tmp_path, source_photo, target_clip, analyser):
    from facefusion.jobs.once import run

    output = tmp_path / "o.mp4"
    recipe = build_recipe({"source_paths": [source_photo], "target_path": target_clip, "output_path": output})
    outcome = run(recipe)
    assert outcome.changed_frame_count == 100
    before = analyser.analyse(ClipReader(target_clip)).tracks[0]
    after = analyser.analyse(ClipReader(output)).tracks[0]
    fidelity = compare_tracks(before, after)
    assert fidelity.frame_count >= 98
    assert fidelity.pose_deg < 2.5
    assert fidelity.expression < 0.05
    assert np.ptp(before.poses[:, 0]) > 20, "the head of the sample clip turns"


def test_pose_of_a_found_face_is_that_of_its_mesh(target):
    assert estimate_pose(target.face.mesh) == target.face.pose


def test_choice_of_faces(analyser, source, target):
    canvas = np.full((560, 860, 3), 80, np.uint8)
    canvas[20:532, 10:522] = source.pixels
    canvas[100:356, 560:816] = target.pixels[::2, ::2]
    from fractions import Fraction

    frame = Frame(canvas, 0, 0, Fraction(1))
    tracks = analyser.analyse([frame])
    assert choose_tracks(Recipe(), tracks) == (0,)
    assert choose_tracks(Recipe(faces="all"), tracks) == (0, 1)
    for faces, sides in (((0,), ["left"]), ((1,), ["right"]), ((0, 1), ["left", "right"])):
        rendered = Renderer({face: [PaintProcessor()] for face in faces}, tracks).render(frame)
        red = (rendered.pixels == (255, 0, 0)).all(axis=2)
        seen = [name for name, part in (("left", red[:, :540]), ("right", red[:, 540:])) if part.any()]
        assert seen == sides
    assert np.array_equal(frame.pixels, canvas), "rendering must not write into its input"


def test_processors_are_built_by_name(source):
    processors = build_processors(Recipe(), Recipe().steps, [source])
    assert [type(p).__name__ for p in processors] == ["MeshSwapper"]


def test_what_is_wrong_with_a_source_is_found(source):
    assert find_weakness(source) == ""
    turned = replace(source, face=replace(source.face, pose=replace(source.face.pose, yaw=-52.0)))
    assert "turned aside by 52 degrees" in find_weakness(turned)
    assert "in the dark" in find_weakness(replace(source, pixels=(source.pixels * 0.2).astype(np.uint8)))
    small = replace(source, face=replace(source.face, mesh=source.face.mesh * 0.15))
    assert "face of only" in find_weakness(small)


def test_grain_and_a_wide_open_mouth_of_a_photo_that_shows_enough_are_told(source):
    path = Path("photo.jpg")
    assert cautions([path], [source]) == []
    noise = np.random.default_rng(0).normal(0, 8, (*source.pixels.shape[:2], 1))
    grainy = replace(source, pixels=np.clip(source.pixels + noise, 0, 255).astype(np.uint8))
    assert cautions([path], [grainy]) == [
        "photo.jpg is grainy, and its grain is drawn with the face. Use a photo without grain."
    ]
    points = source.face.mesh[:, :2].astype(int)
    rough = source.pixels.copy()  # what is rough in the face alone, but no grain: freckles, a beard
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    rough[y0:y1, x0:x1] = np.clip(rough[y0:y1, x0:x1] + noise[y0:y1, x0:x1] / 5, 0, 255).astype(np.uint8)
    assert cautions([path], [replace(source, pixels=rough)]) == []
    mesh = source.face.mesh.copy()
    below = mesh[LIPS_INNER[15]]
    below[1] = mesh[LIPS_INNER[5], 1] + 0.5 * np.linalg.norm(mesh[LIPS_INNER[10]] - mesh[LIPS_INNER[0]])
    mesh[LIPS_INNER[15]] = below
    (told,) = cautions([path], [replace(source, face=replace(source.face, mesh=mesh))])
    assert "a wide open mouth" in told and "a calm face" in told


def test_broad_light_leaves_the_outline_and_takes_the_old_relief_off_the_middle(source, target, monkeypatch):
    # Light at the rim is taken over of nobody who is hidden, for whom light is broad.
    monkeypatch.setattr(mesh_module, "join_light", lambda over, *_: over)
    plain, alpha, face = swap(source, target)
    broad, _, _ = swap(source, target, broadness=6.0)
    apart = np.abs(plain.astype(int) - broad).mean(axis=2)
    height, width = alpha.shape
    oval = face.mesh[list(FACE_OVAL), :2]
    middle = disc_around(oval, height, width, 0.6, 0.01) > 0.5
    rim = (disc_around(oval, height, width, 1.0, 0.01) > 0.5) & (disc_around(oval, height, width, 0.95, 0.01) < 0.5)
    assert apart[middle].mean() > 0.8
    assert apart[rim].mean() < 0.4 * apart[middle].mean()


def test_a_face_that_grows_keeps_its_sharpness_without_jumps(source):
    swapper = MeshSwapper(finish=0.0, has_veil=False)  # a flat picture is nothing but veil
    swapper.prepare([source])
    mesh = make_mesh((0.0, 0.0), 60.0)
    pixels = np.full((720, 720, 3), 128, np.uint8)
    heights, detail = np.geomspace(90, 460, 90), []
    for height in heights:
        own = mesh * np.float32(height / np.ptp(mesh[:, 1])) + np.array([360, 360, 0], np.float32)
        face = Face(own, 1.0, Pose(0, 0, 0))
        (result,) = swapper.process([cut_native(pixels, face)])
        light = result.pixels.astype(np.float32).mean(axis=-1)
        fine = np.abs(cv2.Laplacian(light, cv2.CV_32F))[result.alpha > 0.9].mean()
        detail.append(float(fine))
    steps = np.abs(np.diff(np.log(detail)))
    assert steps.max() < 0.09  # from level to level all at once it is 0.2


def test_softening_sets_in_without_a_jump(source, rng):
    swapper = MeshSwapper()
    swapper.prepare([source])
    crop = cut_native(source.pixels, source.face)
    crop = replace(crop, pixels=rng.integers(0, 256, crop.pixels.shape, dtype=np.uint8))
    changes = []
    for blur in np.arange(0.4, 3.0, 0.01):
        soft = swapper._soften(crop.pixels, replace(crop.face, blur=float(blur)), swapper._prepared)
        changes.append(np.abs(soft.astype(float) - crop.pixels).mean())
    steps = np.diff(changes)
    assert changes[0] == 0
    assert changes[-1] > 20
    assert steps.max() < 0.12 * changes[-1]  # all at once it is 0.4


@pytest.mark.parametrize("height", [60, 90, 140])
@pytest.mark.parametrize("blur", [0.0, 1.8, 2.6])
def test_a_new_face_is_made_as_soft_as_the_target_and_hardly_softer(source, height, blur):
    """A face that is as sharp as its pixels has no hard edges, and was taken for a soft one."""
    scale = height / float(np.ptp(source.face.mesh[:, 1]))
    pixels = cv2.resize(source.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    pixels = cv2.GaussianBlur(pixels, (0, 0), blur) if blur else pixels
    (seen, _) = measure_finish(pixels, source.face.mesh * np.float32(scale))
    missing = missing_blur(seen, sharp_blur(height))
    if blur:
        assert missing == pytest.approx(blur, rel=0.25)
    else:
        assert missing < 0.6  # it was 1.1 at 140 pixels


def test_a_face_beyond_the_size_of_the_texture_is_soft_already(source):
    swapper = MeshSwapper()
    swapper.prepare([source])
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    own = replace(swapper._prepared, blur=0.0)
    for factor, is_softened in ((1.0, False), (4.0, False), (1.0, True)):
        height = factor * 450
        blur = sharp_blur(450) * (factor + is_softened)
        mesh = source.face.mesh * np.float32(height / np.ptp(source.face.mesh[:, 1]))
        soft = swapper._soften(pixels, replace(source.face, mesh=mesh, blur=blur), own)
        assert (soft != pixels).any() == is_softened, factor


def test_light_is_read_alike_wherever_the_crop_begins(source):
    at = np.stack(np.meshgrid(np.linspace(180, 320, 24), np.linspace(180, 320, 24)), axis=-1).astype(np.float32)
    for blur in (3.4, 6.0, 7.7):
        read = [
            sample_soft(np.ascontiguousarray(source.pixels[y:, x:]), at - np.float32([x, y]), blur).astype(int)
            for x, y in ((0, 0), (1, 0), (2, 3), (5, 4))
        ]
        assert max(np.abs(other - read[0]).max() for other in read[1:]) <= 1
    grown = [sample_soft(source.pixels, at, blur).astype(float) for blur in np.arange(2.9, 4.2, 0.1)]
    assert max(np.abs(b - a).mean() for a, b in itertools.pairwise(grown)) < 0.6


def test_the_head_takes_the_proportions_of_the_source(source, target, analyser):
    def rendered(share: float) -> np.ndarray:
        recipe = build_recipe({"face_swapper_shape": share, "source_paths": ["face.jpg"]})
        chain = build_processors(recipe, recipe.steps, [source])
        frame = Frame(target.pixels, 0, 0, Fraction(1))
        tracks = analyser.analyse(iter([frame]))
        return Renderer({0: chain}, tracks).render(frame).pixels

    def proportions(pixels: np.ndarray) -> np.ndarray:
        return analyser.analyse(iter([Frame(pixels, 0, 0, Fraction(1))])).tracks[0].proportions

    wanted = proportions(source.pixels)
    away = [float(np.linalg.norm(proportions(rendered(share)) - wanted)) for share in (0.0, 0.5, 1.0)]
    assert away[2] < away[1] < away[0]
    assert away[2] < 0.75 * away[0]


def test_a_head_with_a_shape_of_its_own_changes_nothing_far_from_the_face(source, target, analyser):
    recipe = build_recipe({"source_paths": ["face.jpg"]})
    chain = build_processors(recipe, recipe.steps, [source])
    frame = Frame(target.pixels, 0, 0, Fraction(1))
    done = Renderer({0: chain}, analyser.analyse(iter([frame]))).render(frame)
    height, width = frame.pixels.shape[:2]
    far = disc_around(target.face.mesh[list(FACE_OVAL), :2], height, width, 1.6, 0.01) == 0
    assert far.any()
    np.testing.assert_array_equal(done.pixels[far], frame.pixels[far])


def test_tracks_without_proportions_leave_the_head_as_it_is(source, target):
    swapper = MeshSwapper(shape=1.0)
    swapper.prepare([source])
    crop = cut_native(target.pixels, replace(target.face, proportions=None), 0.24)
    (done,) = swapper.process([crop])
    other = replace(crop, face=replace(crop.face, proportions=np.zeros(5, np.float32)))
    np.testing.assert_array_equal(swapper.process([other])[0].pixels, done.pixels)
    plain = MeshSwapper()
    plain.prepare([source])
    (wanted,) = plain.process([crop])
    np.testing.assert_array_equal(done.pixels, wanted.pixels)
    np.testing.assert_array_equal(done.alpha, wanted.alpha)


def test_proportions_are_those_of_the_whole_track_in_every_part_of_it(tmp_path, target_clip, analyser):
    frames = list(ClipReader(target_clip))[:12]
    tracks = analyser.analyse(iter(frames))
    tracks.save(tmp_path / "seen.tracks")
    parts = [Tracks.load(tmp_path / "seen.tracks", rows) for rows in ((0, 3), (8, 12), (0, 0))]
    for part in parts:
        np.testing.assert_array_equal(part.tracks[0].proportions, tracks.tracks[0].proportions)
        for row in range(len(part.tracks[0].frames)):
            np.testing.assert_array_equal(part.tracks[0].face(row).proportions, tracks.tracks[0].proportions)


def test_a_profile_keeps_its_outline(source):
    swapper = MeshSwapper(shape=1.0)
    swapper.prepare([source])
    known = np.zeros_like(swapper._proportions)
    moved = [
        swapper._offsets(replace(source.face, pose=Pose(yaw, 0, 0), proportions=known)) for yaw in (0, 30, 50, 60, 80)
    ]
    amounts = [0.0 if m is None else float(np.abs(m).max()) for m in moved]
    assert amounts[0] == amounts[1] > amounts[2] > amounts[3] > amounts[4] == 0


def test_no_outline_is_moved_further_than_the_limit(source):
    swapper = MeshSwapper(shape=1.0)
    swapper.prepare([source])
    far = np.zeros_like(swapper._proportions)
    far[:3] = 40
    offsets = swapper._offsets(replace(source.face, proportions=far))
    assert np.linalg.norm(offsets[list(FACE_OVAL)], axis=1).max() == pytest.approx(MAX_MOVE, rel=1e-3)


def with_gap(face: Face, gap: float) -> Face:
    """The same face with its inner lips so far apart."""
    mesh = face.mesh.copy()
    upper, lower = list(LIPS_INNER[1:10]), list(LIPS_INNER[:10:-1])
    middle = (mesh[upper] + mesh[lower]) / 2
    apart = np.array([0, gap / 2, 0], np.float32) * np.sin(np.linspace(0.1, 0.9, 9) * np.pi)[:, None]
    mesh[upper], mesh[lower] = middle - apart, middle + apart
    return replace(face, mesh=mesh.astype(np.float32))


def drawn_mouth(source: SourceFace, target: SourceFace, gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Layer, alpha, and (N, 2) places along the middle between the lips of a target whose mouth is bright green."""
    face = with_gap(target.face, gap)
    pixels = target.pixels.copy()
    cv2.fillPoly(pixels, [np.rint(face.mesh[list(LIPS_INNER), :2]).astype(np.int32)], (0, 255, 0))
    swapper = MeshSwapper()
    swapper.prepare([source])
    crop = cut_native(pixels, face)
    (result,) = swapper.process([crop])
    points = crop.face.mesh[:, :2]
    middle = (points[list(LIPS_INNER[1:10])] + points[list(LIPS_INNER[:10:-1])]) / 2
    along = np.arange(np.ceil(middle[1, 0]), middle[-2, 0])
    return result.pixels, result.alpha, np.stack([along, np.interp(along, middle[:, 0], middle[:, 1])], axis=1)


@pytest.mark.parametrize("gap", [-1.0, 0.0, 0.4, 1.0])
def test_lips_that_touch_leave_one_dark_line_without_gaps(source, target, gap):
    pixels, alpha, along = drawn_mouth(source, target, gap)
    light = pixels.astype(np.float32).mean(axis=-1)
    for x, y in along.astype(int):
        column = light[y - 12 : y + 13, x]
        assert column[10:15].min() < 0.8 * min(column[:6].max(), column[-6:].max()), (x, y)
        assert alpha[y - 3 : y + 4, x].min() > 0.9


def test_a_mouth_that_is_open_shows_what_is_in_it(source, target):
    _, alpha, along = drawn_mouth(source, target, 14.0)
    x, y = along[len(along) // 2].astype(int)
    assert alpha[y - 3 : y + 4, x].max() < 0.1


class _Says:
    """Stands for masks of models: everything is face, or nothing."""

    def __init__(self, value: float) -> None:
        self._value = value

    def mask(self, pixels: np.ndarray, seen: np.ndarray, face: Face, has_outline: bool = False) -> np.ndarray:
        return np.full(pixels.shape[:2], self._value, np.float32)


def test_a_brow_that_is_raised_further_than_its_mesh_is_no_hair_where_masks_say_face(source, target):
    points = target.face.mesh[list(LEFT_BROW), :2].copy()
    points[:, 1] -= 0.05 * np.ptp(target.face.mesh[:, 1])
    pixels = target.pixels.copy()
    cv2.fillPoly(pixels, [np.rint(points).astype(np.int32)], (38, 26, 20))
    crop = cut_native(pixels, target.face)
    band = np.zeros(crop.pixels.shape[:2], np.uint8)
    moved = points + (crop.face.mesh[LEFT_BROW[0], :2] - target.face.mesh[LEFT_BROW[0], :2])
    cv2.fillPoly(band, [np.rint(moved).astype(np.int32)], 1)
    shown = {}
    for name, masks in (("alone", None), ("face", _Says(1.0))):
        swapper = MeshSwapper(masks=masks)
        swapper.prepare([source])
        (result,) = swapper.process([crop])
        shown[name] = float(result.alpha[band > 0].mean())
    assert shown["alone"] < 0.8, "it is dark and above the brows, as hair is"
    assert shown["face"] > 0.95
