"""Swappers, enhancers and one-person swappers: colour order, scaling, embeddings, pixel boost, masks, chains."""

import dataclasses

import numpy as np
import pytest
from tests.graphs import channel_means, graph, inverting, linear, painting_swapper

from facefusion.errors import ModelMismatch, RecipeError
from facefusion.imaging.tensors import from_tensor, join_phases, split_phases, to_tensor
from facefusion.render.renderer import Renderer, cut_out, hand_on
from facefusion.testing.conformance import check_face_processor
from facefusion.testing.fakes import PaintProcessor, make_face
from facefusion.types.crop import CropShape

FACE = make_face(centre=(160.0, 120.0), eye_distance=50.0)
FRAME = np.full((240, 320, 3), 100, np.uint8)

# What the tiny recogniser says of the plain source (200, 100, 50): its channels from -1 to 1.
RAW = np.array([200, 100, 50]) / 127.5 - 1
UNIT = RAW / np.linalg.norm(RAW)


def middle(crop):
    """Colour in the middle of a changed crop."""
    h, w = crop.pixels.shape[:2]
    assert crop.alpha[h // 2, w // 2] == pytest.approx(1.0)
    return crop.pixels[h // 2, w // 2].astype(int)


def swap(zoo, source, model, **options):
    engine = zoo.build("face_swapper", model, **options)
    engine.prepare([source])
    (done,) = engine.process([cut_out(FRAME, FACE, engine.crop_shape)])
    return engine, done


def bytes_of(values, mean=0.0, std=1.0):
    """A graph's output as the byte it must become."""
    return np.clip((np.asarray(values) * std + mean) * 255 + 0.5, 0, 255).astype(int)


SEEN = 100 / 255
FAMILIES = [
    # model, what the source input must be, mean and std in, whether the output is scaled back
    ("hyperswap_1a_256", UNIT, 0.5, 0.5, True),
    ("simswap_256", UNIT, None, None, False),
    ("simswap_unofficial_512", UNIT, 0.0, 1.0, False),
    ("hififace_unofficial_256", UNIT, 0.5, 0.5, True),
    ("ghost_1_256", 3 * RAW, 0.5, 0.5, True),
    ("ghost_3_256", 3 * RAW, 0.5, 0.5, True),
]


@pytest.mark.parametrize(("model", "source", "mean", "std", "is_scaled"), FAMILIES)
def test_embedding_swappers_get_their_kind_of_embedding_and_range(
    zoo, plain_source, model, source, mean, std, is_scaled
):
    size = 512 if model.endswith("512") else 256
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    for converter in ("ghost", "simswap", "hififace"):
        zoo.put(f"crossface_{converter}.onnx", linear(512, 3.0))
    zoo.put(f"{model}.onnx", painting_swapper(size, "n, 512"))
    engine, done = swap(zoo, plain_source, model)
    assert done.pixels.shape == (size, size, 3)
    if mean is None:
        seen = (SEEN - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    else:
        seen = (SEEN - mean) / std
    value = source + 0.1 * seen
    expected = bytes_of(value, 0.5, 0.5) if is_scaled else bytes_of(value)
    np.testing.assert_allclose(middle(done), expected, atol=1)
    check_face_processor(engine)


@pytest.mark.parametrize("model", ["inswapper_128", "inswapper_128_fp16"])
def test_inswapper_takes_the_embedding_through_the_map_inside_the_graph(zoo, plain_source, model):
    emap = np.zeros((512, 512), np.float32)
    emap[0, 1], emap[1, 2], emap[2, 0] = 0.5, -2.0, -1.5  # red becomes green, and so on
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    zoo.put(f"{model}.onnx", painting_swapper(128, "1, 512", emap=emap))
    _, done = swap(zoo, plain_source, model)
    value = np.array([UNIT[2] * -1.5, UNIT[0] * 0.5, UNIT[1] * -2.0]) + 0.1 * SEEN
    np.testing.assert_allclose(middle(done), bytes_of(value), atol=1)


def test_inswapper_without_its_map_is_refused(zoo, plain_source):
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    zoo.put("inswapper_128.onnx", painting_swapper(128, "1, 512"))
    with pytest.raises(ModelMismatch, match="last initializer"):
        zoo.build("face_swapper", "inswapper_128")


@pytest.mark.parametrize(
    ("model", "shape", "is_scaled"),
    [("uniface_256", "1, 3, 256, 256", True), ("blendswap_256", "1, 3, 112, 112", False)],
)
def test_picture_swappers_get_the_source_red_first_from_zero_to_one(zoo, plain_source, model, shape, is_scaled):
    zoo.put(f"{model}.onnx", painting_swapper(256, shape))
    engine, done = swap(zoo, plain_source, model)
    colour = np.array([200, 100, 50]) / 255
    seen = 0.1 * ((SEEN - 0.5) / 0.5 if is_scaled else SEEN)
    expected = bytes_of(colour + seen, 0.5, 0.5) if is_scaled else bytes_of(colour + seen)
    np.testing.assert_allclose(middle(done), expected, atol=1)
    check_face_processor(engine)


def test_several_sources_are_averaged_before_anything_is_converted(zoo, plain_source):
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    zoo.put("hyperswap_1a_256.onnx", painting_swapper(256, "n, 512"))
    engine = zoo.build("face_swapper", "hyperswap_1a_256")
    grey = dataclasses.replace(plain_source, pixels=np.full((256, 256, 3), 255, np.uint8))
    engine.prepare([plain_source, grey])
    mean = (RAW + 1) / 2
    np.testing.assert_allclose(engine._source[0, :3], mean, atol=1e-3)


@pytest.mark.parametrize(("weight", "shift"), [(0.0, 0.35), (0.5, 0.0), (1.0, -0.35)])
def test_weight_moves_the_identity_in_the_recognisers_own_space(zoo, plain_source, weight, shift):
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    zoo.put("hyperswap_1a_256.onnx", painting_swapper(256, "n, 512"))
    engine = zoo.build("face_swapper", "hyperswap_1a_256", face_swapper_weight=weight)
    assert engine.needs == (frozenset({"identity"}) if shift else frozenset())
    engine.prepare([plain_source])
    target = np.zeros(512, np.float32)
    target[2] = 7.0
    crop = cut_out(FRAME, dataclasses.replace(FACE, identity=target), engine.crop_shape)
    fed = engine.feed(engine._source, crop)[0, :3]
    mixed = UNIT * (1 - shift) + np.array([0, 0, 1]) * shift
    np.testing.assert_allclose(fed, mixed / np.linalg.norm(mixed), atol=1e-3)


@pytest.mark.parametrize("boost", ["128x128", "256x256", "384x384", "512x512", "1024x1024"])
def test_pixel_boost_runs_by_phases_and_keeps_every_pixel_in_its_place(zoo, plain_source, boost):
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    emap = np.zeros((512, 512), np.float32)
    echo = """
        echo (float[1, 512] source, float[1, 3, 128, 128] target) => (float[1, 3, 128, 128] output) {
            some = ReduceSum <keepdims = 0> (source)
            nothing = Mul(some, zero)
            output = Add(target, nothing)
        }"""
    zoo.put("inswapper_128.onnx", graph(echo, zero=np.float32(0), emap=emap))
    engine = zoo.build("face_swapper", "inswapper_128", face_swapper_pixel_boost=boost)
    engine.prepare([plain_source])
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    crop = cut_out(frame, FACE, engine.crop_shape)
    (done,) = engine.process([crop])
    assert done.pixels.shape[0] == int(boost.split("x")[0])
    assert np.abs(done.pixels.astype(int) - crop.pixels).max() <= 1


@pytest.mark.parametrize("size", [256, 512])
def test_pixel_boost_that_is_no_multiple_works_too(zoo, plain_source, size):
    boost = size * 3 // 2  # 384 of blendswap and 768 of simswap 512 crash the incumbent
    model = "blendswap_256" if size == 256 else "simswap_unofficial_512"
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    zoo.put("crossface_simswap.onnx", linear(512, 1.0))
    zoo.put(f"{model}.onnx", painting_swapper(size, "1, 3, 112, 112" if size == 256 else "1, 512"))
    _, done = swap(zoo, plain_source, model, face_swapper_pixel_boost=f"{boost}x{boost}")
    assert done.pixels.shape == (boost, boost, 3)


def test_pixel_boost_below_the_models_own_size_is_refused(zoo):
    zoo.put("blendswap_256.onnx", painting_swapper(256, "1, 3, 112, 112"))
    with pytest.raises(RecipeError, match="256x256"):
        zoo.build("face_swapper", "blendswap_256", face_swapper_pixel_boost="128x128")


def test_phases_are_undone_exactly():
    crop = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    parts = split_phases(crop, 3)
    assert parts[0].shape == (4, 4, 3)
    np.testing.assert_array_equal(parts[1][:, 0], crop[::3, 1])
    np.testing.assert_array_equal(join_phases(parts, 3), crop)


def test_tensors_come_back_as_the_same_bytes():
    crop = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for mean, std in (((0, 0, 0), (1, 1, 1)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))):
        np.testing.assert_array_equal(from_tensor(to_tensor([crop], mean, std), mean, std)[0], crop)
    np.testing.assert_allclose(to_tensor([crop], is_bgr=True)[0, 0], crop[..., 2] / 255, atol=1e-6)


ENHANCERS = ["gfpgan_1.2", "gfpgan_1.4", "gpen_bfr_256", "gpen_bfr_1024", "restoreformer_plus_plus"]


@pytest.mark.parametrize("model", ENHANCERS)
def test_enhancers_work_from_minus_one_to_one_and_blend(zoo, model):
    size = 256 if model.endswith("256") else 1024 if model.endswith("1024") else 512
    zoo.put(f"{model}.onnx", inverting(size))
    engine = zoo.build("face_enhancer", model, face_enhancer_blend=60)
    (done,) = engine.process([cut_out(FRAME, FACE, engine.crop_shape)])
    h, w = done.pixels.shape[:2]
    assert (h, w) == (size, size)
    assert done.pixels[h // 2, w // 2].tolist() == [155, 155, 155]  # the negative of 100
    assert done.alpha[h // 2, w // 2] == pytest.approx(0.6)
    check_face_processor(engine)


def test_codeformer_gets_its_weight_as_a_double(zoo):
    zoo.put("codeformer.onnx", inverting(512, has_weight=True))
    engine = zoo.build("face_enhancer", "codeformer", face_enhancer_weight=0.25, face_enhancer_blend=100)
    (done,) = engine.process([cut_out(FRAME, FACE, engine.crop_shape)])
    assert middle(done).tolist() == [round((0.25 + 1) / 2 * 255)] * 3


def dfm(size=64):
    return graph(
        f"""
        dfm (float[1, {size}, {size}, 3] face_in, float[1] morph)
            => (float[1, {size}, {size}, 1] mask, float[1, {size}, {size}, 3] face,
                float[1, {size}, {size}, 1] mask_2) {{
            zeroed = Mul(face_in, zero)
            moved = Add(zeroed, colour)
            face = Mul(moved, morph)
            one = ReduceMax <axes = [3], keepdims = 1> (zeroed)
            mask = Add(one, whole)
            mask_2 = Identity(mask)
        }}""",
        zero=np.float32(0),
        colour=np.array([0.2, 0.4, 0.8], np.float32),  # blue, green, red
        whole=np.float32(1),
    )


def rename_inputs(content):
    import onnx

    model = onnx.load_from_string(content)
    names = {"face_in": "in_face:0", "morph": "morph_value:0"}
    for value in model.graph.input:
        value.name = names[value.name]
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = names.get(name, name)
    return model.SerializeToString()


def test_dfm_works_blue_first_with_channels_last_and_takes_its_morph(zoo, monkeypatch):
    (zoo.folder / "iperov").mkdir()
    (zoo.folder / "iperov" / "actor_64.dfm").write_bytes(rename_inputs(dfm()))
    import facefusion.processors.deep_swapper.dfm as module

    monkeypatch.setattr(module, "colour_agreement", lambda new, old: -1.0)  # leave the colours as they are
    for morph in (100, 50):
        engine = zoo.build("deep_swapper", "iperov/actor_64", deep_swapper_morph=morph, face_mask_blur=0.0)
        (done,) = engine.process([cut_out(FRAME, FACE, engine.crop_shape)])
        np.testing.assert_allclose(done.pixels[32, 32], np.array([204, 102, 51]) * morph / 100, atol=1)
        assert done.alpha[32, 32] == pytest.approx(1.0, abs=1e-3)
        assert done.alpha[0, 0] == 0
    check_face_processor(engine)


def test_dfm_that_is_none_is_refused(zoo):
    (zoo.folder / "x.dfm").write_bytes(linear(512, 1.0))
    with pytest.raises(ModelMismatch):
        zoo.build("deep_swapper", "custom/x")


@pytest.mark.parametrize(
    ("model", "content"),
    [
        ("hyperswap_1b_256", painting_swapper(128, "n, 512")),
        ("ghost_2_256", painting_swapper(256, "n, 128")),
        ("uniface_256", painting_swapper(256, "1, 3, 112, 112")),
        ("blendswap_256", inverting(256)),
    ],
)
def test_wrong_swapper_graphs_are_refused_naming_what_differs(zoo, model, content):
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    zoo.put("crossface_ghost.onnx", linear(512, 1.0))
    zoo.put(f"{model}.onnx", content)
    with pytest.raises(ModelMismatch, match=r"source|target"):
        zoo.build("face_swapper", model)


# Crops stay crops.


def test_equal_shapes_hand_the_very_crop_on_and_different_ones_warp_once():
    tracks = one_frame_tracks()
    frame = frame_of(FRAME)
    seen = []

    class Spy(PaintProcessor):
        def process(self, crops):
            seen.append(crops[0])
            return super().process(crops)

    shape = CropShape("ffhq_512", 256)
    Renderer({0: [Spy((255, 0, 0), shape), Spy((0, 255, 0), shape)]}, tracks).render(frame)
    first, second = seen
    assert second.under is first.pixels  # no copy, no warp in between


def test_layer_that_fits_goes_over_in_one_warp_and_is_pasted_once():
    small = cut_out(FRAME, FACE, CropShape("arcface_128", 128))
    red = np.empty_like(small.pixels)
    red[:] = (255, 0, 0)
    alpha = np.zeros(small.alpha.shape, np.float32)
    alpha[40:90, 40:90] = 1
    crop, kept = hand_on(small.with_layer(red, alpha), FRAME, FACE, CropShape("ffhq_512", 512))
    assert kept == []
    assert crop.pixels.shape == (512, 512, 3)
    assert crop.alpha.max() == pytest.approx(1.0)
    assert (crop.visible() == (255, 0, 0)).all(axis=2).any()


def test_layer_that_does_not_fit_is_pasted_before_and_still_seen():
    large = cut_out(FRAME, FACE, CropShape("ffhq_512", 512))
    red = np.empty_like(large.pixels)
    red[:] = (255, 0, 0)
    crop, kept = hand_on(
        large.with_layer(red, np.ones(large.alpha.shape, np.float32)), FRAME, FACE, CropShape("arcface_112_v2", 112)
    )
    assert len(kept) == 1
    assert crop.under is None
    assert (crop.pixels == (255, 0, 0)).all()


def test_two_layers_compose_as_if_pasted_one_after_the_other():
    crop = cut_out(FRAME, FACE, None)
    shape = crop.alpha.shape
    one = crop.with_layer(np.full((*shape, 3), 200, np.uint8), np.full(shape, 0.5, np.float32))
    two = one.with_layer(np.full((*shape, 3), 20, np.uint8), np.full(shape, 0.25, np.float32))
    assert one.visible()[5, 5, 0] == 150
    assert two.visible()[5, 5, 0] == pytest.approx(150 * 0.75 + 20 * 0.25, abs=1)


def test_batch_of_frames_gives_the_same_as_frame_by_frame(zoo, plain_source):
    zoo.put("arcface_w600k_r50.onnx", channel_means(112, 512))
    zoo.put("hyperswap_1a_256.onnx", painting_swapper(256, "n, 512"))
    engine = zoo.build("face_swapper", "hyperswap_1a_256")
    engine.prepare([plain_source])
    tracks = one_frame_tracks(count=3)
    rng = np.random.default_rng(2)
    frames = [frame_of(rng.integers(0, 256, FRAME.shape, dtype=np.uint8), k) for k in range(3)]
    renderer = Renderer({0: [engine]}, tracks)
    together = renderer.render_many(frames)
    for frame, rendered in zip(frames, together, strict=True):
        np.testing.assert_array_equal(renderer.render(frame).pixels, rendered.pixels)
        assert rendered.is_changed


def test_who_must_not_be_seen_is_covered_in_the_dark_too():
    class Hider(PaintProcessor):
        covers_fully = True

    pixels = FRAME.copy()
    pixels[130:] = np.random.default_rng(4).integers(0, 20, pixels[130:].shape, dtype=np.uint8)
    hidden = Renderer({0: [Hider((255, 0, 0), CropShape("ffhq_512", 256))]}, one_frame_tracks()).render(
        frame_of(pixels)
    )
    assert (hidden.pixels[140, 160] == (255, 0, 0)).all()


def frame_of(pixels, number=0):
    from fractions import Fraction

    from facefusion.types.frame import Frame

    return Frame(pixels, number, number, Fraction(1, 25))


def one_frame_tracks(count=1):
    from fractions import Fraction

    from facefusion.types.track import Track, Tracks

    frames = np.arange(count)
    meshes = np.repeat(FACE.mesh[None], count, axis=0)
    track = Track(0, frames, meshes, np.ones(count, np.float32), np.zeros((count, 3), np.float32))
    return Tracks(320, 240, Fraction(1, 25), frames, (track,), {}, np.array([0]))
