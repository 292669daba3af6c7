"""Landmarkers, identifiers, the classifier and the maskers."""

import numpy as np
import pytest
from tests.graphs import channel_means, constant_outputs, graph, linear, pixel_reader

from facefusion.errors import ModelMismatch
from facefusion.imaging.templates import TEMPLATES, align_to, similarity, template_points
from facefusion.testing.conformance import check_content_check, check_landmarker
from facefusion.testing.fakes import make_face
from facefusion.types.topology import FIVE_POINTS, MESH_TO_68, five_from_68

FACE = make_face(centre=(300.0, 200.0), eye_distance=80.0)
PICTURE = np.full((480, 640, 3), 128, np.uint8)


def ramp():
    """Red counts columns by quarters, green counts rows by quarters."""
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[..., 0] = np.arange(640) // 4
    pixels[..., 1] = (np.arange(480) // 2)[:, None]
    return pixels


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_templates_put_the_five_points_where_they_belong(template):
    goal = template_points(template, 256)
    turned = make_face(centre=(300.0, 200.0), eye_distance=80.0, roll=30.0)
    for face in (FACE, turned):
        affine = align_to(face.five_points, template, 256)
        moved = face.five_points @ affine[:, :2].T + affine[:, 2]
        assert np.abs(moved - goal).mean() < 256 * 0.05  # the mean face is not the template's face
    np.testing.assert_allclose(similarity(goal, goal), [[1, 0, 0], [0, 1, 0]], atol=1e-4)


def test_similarity_undoes_a_known_turn_scale_and_shift():
    points = template_points("arcface_128", 128)
    angle = np.radians(25)
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (points @ turn.T + (30, -12)).astype(np.float32)
    np.testing.assert_allclose(similarity(points, moved)[:, :2], turn, atol=1e-4)


@pytest.mark.parametrize("model", ["arcface_w600k_r50", "arcface_simswap", "arcface_ghost"])
def test_arcface_sees_red_first_from_minus_one_to_one(zoo, model):
    zoo.put(f"{model}.onnx", channel_means(112, 512))
    picture = np.empty((480, 640, 3), np.uint8)
    picture[:] = (255, 51, 0)
    engine = zoo.build("face_identifier", model)
    found = engine.identify([picture, picture], [FACE.five_points, FACE.five_points])
    assert found.shape == (2, 512)
    np.testing.assert_allclose(found[1, :4], [1.0, 51 / 127.5 - 1, -1.0, 0.0], atol=1e-3)
    assert engine.contract == model.removesuffix("_r50")


def test_sface_sees_red_first_in_raw_bytes(zoo):
    zoo.put("face_recognition_sface_2021dec.onnx", channel_means(112, 128))
    picture = np.empty((480, 640, 3), np.uint8)
    picture[:] = (200, 100, 50)
    found = zoo.build("face_identifier", "sface").identify([picture], [FACE.five_points])
    np.testing.assert_allclose(found[0, :3], [200, 100, 50], atol=0.5)


def test_identifiers_cut_their_crop_by_the_template(zoo):
    row, column = 40, 70
    zoo.put("arcface_w600k_r50.onnx", pixel_reader(112, 512, row, column))
    found = zoo.build("face_identifier", "arcface_w600k_r50").identify([ramp()], [FACE.five_points])
    affine = align_to(FACE.five_points, "arcface_112_v2", 112)
    x, y = np.linalg.inv(affine[:, :2]) @ (np.array([column, row]) - affine[:, 2])
    seen = (found[0, :2] + 1) * 127.5
    np.testing.assert_allclose(seen, [x // 4, y // 2], atol=1.5)


def test_fairface_reads_race_gender_and_age_in_this_order(zoo):
    outputs = {"race": np.array([3.0]), "gender": np.array([1.0]), "age": np.array([4.0])}
    zoo.put("fairface.onnx", constant_outputs(["n", 3, 224, 224], outputs))
    (found,) = zoo.build("face_classifier", "fairface").classify([PICTURE], [FACE.five_points])
    assert (found.race, found.gender, found.ages) == ("asian", "female", (30, 40))


def test_fairface_normalises_as_imagenet(zoo):
    # The mean of the first channel decides the age: (255 / 255 - 0.485) / 0.229 = 2.25, cut to 2.
    zoo.put(
        "fairface.onnx",
        graph(
            """
            probe (float[n, 3, 224, 224] input) => (float[n] race, float[n] gender, float[n] age) {
                first = Gather <axis = 1> (input, zero)
                age = ReduceMean <axes = [1, 2], keepdims = 0> (first)
                race = Mul(age, nothing)
                gender = Mul(age, nothing)
            }""",
            zero=np.int64(0),
            nothing=np.float32(0),
        ),
    )
    red = np.zeros((480, 640, 3), np.uint8)
    red[..., 0] = 255
    (found,) = zoo.build("face_classifier", "fairface").classify([red], [FACE.five_points])
    assert (found.race, found.gender, found.ages) == ("white", "male", (10, 20))


def fan_outputs(score):
    points = np.zeros((1, 68, 3), np.float32)
    points[0, :, 0], points[0, :, 1] = np.arange(68) / 2, 32
    heat = np.zeros((1, 68, 64, 64), np.float32)
    heat[:, :, 3, 3] = score
    return {"landmarks": points, "heatmaps": heat}


def test_2dfan4_maps_its_grid_back_to_the_picture_and_its_score_to_one(zoo):
    zoo.put("2dfan4.onnx", constant_outputs([1, 3, 256, 256], fan_outputs(0.45)))
    ((points, score),) = zoo.build("face_landmarker", "2dfan4").locate(PICTURE, [FACE])
    assert score == pytest.approx(0.5)
    box = FACE.box
    scale = 195 / (box[2:] - box[:2]).max()
    centre = (box[:2] + box[2:]) / 2
    np.testing.assert_allclose(points[:, 0], centre[0] + (np.arange(68) * 2 - 128) / scale, atol=0.05)
    np.testing.assert_allclose(points[:, 1], centre[1], atol=0.05)


def test_box_landmarkers_turn_a_lying_face_upright(zoo):
    zoo.put("2dfan4.onnx", constant_outputs([1, 3, 256, 256], fan_outputs(0.9)))
    lying = make_face(centre=(300.0, 200.0), eye_distance=80.0, roll=90.0)
    ((points, _),) = zoo.build("face_landmarker", "2dfan4").locate(PICTURE, [lying])
    assert np.ptp(points[:, 1]) > 10 * np.ptp(points[:, 0])


def test_box_landmarkers_see_blue_first(zoo):
    text = """
        probe (float[1, 3, 256, 256] input) => (float[1, 68, 3] landmarks, float[1, 68, 64, 64] heatmaps) {
            first = Gather <axis = 1> (input, zero)
            mean = ReduceMax <keepdims = 0> (first)
            landmarks = Identity(points)
            heatmaps = Mul(ones, mean)
        }"""
    points, ones = np.zeros((1, 68, 3), np.float32), np.ones((1, 68, 64, 64), np.float32)
    zoo.put("2dfan4.onnx", graph(text, zero=np.int64(0), points=points, ones=ones))
    blue = np.zeros((480, 640, 3), np.uint8)
    blue[..., 2] = 153
    engine = zoo.build("face_landmarker", "2dfan4")
    assert engine.locate(blue, [FACE])[0][1] == pytest.approx(0.6 / 0.9, abs=0.02)
    assert engine.locate(blue[..., ::-1].copy(), [FACE])[0][1] == pytest.approx(0.0, abs=0.02)


def test_peppa_and_many_choose_by_score(zoo):
    table = np.zeros((1, 68, 3), np.float32)
    table[0, :, 0], table[0, :, 1], table[0, :, 2] = 16, 48, 0.95
    zoo.put("peppa_wutz.onnx", constant_outputs([1, 3, 256, 256], {"output": table.reshape(1, -1)}))
    ((points, score),) = zoo.build("face_landmarker", "peppa_wutz").locate(PICTURE, [FACE])
    assert score == pytest.approx(1.0)
    zoo.put("2dfan4.onnx", constant_outputs([1, 3, 256, 256], fan_outputs(0.85 * 0.9)))
    sure = zoo.build("face_landmarker", "many").locate(PICTURE, [FACE])[0][0]
    assert not np.allclose(sure, points)  # 0.85 against 1.0 is near enough to stay with 2DFAN-4
    zoo.put("2dfan4.onnx", constant_outputs([1, 3, 256, 256], fan_outputs(0.3)))
    zoo.sessions.clear()
    (zoo.folder.parent / "data/facefusion/models/pins.json").unlink()
    np.testing.assert_allclose(zoo.build("face_landmarker", "many").locate(PICTURE, [FACE])[0][0], points)


def test_five_to_68_works_in_the_plane_of_its_template(zoo):
    # Repeats the middle of the five points: back in the picture it is the middle of the face's own five.
    zoo.put(
        "fan_68_5.onnx",
        graph(
            """
            five (float[n, 5, 2] input) => (float[n, 68, 2] output) {
                mean = ReduceMean <axes = [1], keepdims = 1> (input)
                output = Mul(mean, ones)
            }""",
            ones=np.ones((1, 68, 2), np.float32),
        ),
    )
    ((points, _),) = zoo.build("face_landmarker", "fan_68_5").locate(PICTURE, [FACE])
    np.testing.assert_allclose(points[7], FACE.mesh[list(FIVE_POINTS), :2].mean(axis=0), atol=0.05)


def test_106_points_come_in_the_order_of_68(zoo):
    raw = np.zeros((1, 106, 2), np.float32)
    raw[0, :, 0] = np.arange(106) / 106 - 0.5
    zoo.put("2d106det.onnx", constant_outputs([1, 3, 192, 192], {"fc1": raw.reshape(1, -1)}))
    ((points, _),) = zoo.build("face_landmarker", "2d106").locate(PICTURE, [FACE])
    assert points.shape == (68, 2)
    box = FACE.box
    side = (box[2:] - box[:2]).max() * 1.5
    centre = (box[:2] + box[2:]) / 2
    # Point 30, the nose tip, is number 86 of the 106; a graph's 0 is the middle of the crop, half a pixel off ours.
    expected = centre[0] + ((86 / 106 - 0.5) * 96 + 0.5) * side / 192
    np.testing.assert_allclose(points[30, 0], expected, atol=0.1)


def test_203_points_carry_the_mesh_along(zoo):
    raw = np.zeros((1, 203, 2), np.float32)
    raw[0, [0, 6, 12, 18]] = (0.35, 0.4)
    raw[0, [24, 30, 36, 42]] = (0.65, 0.4)
    raw[0, [48]], raw[0, [66]] = (0.4, 0.7), (0.6, 0.7)
    outputs = {"a": np.zeros((1, 214)), "b": np.zeros((1, 262)), "c": raw.reshape(1, -1)}
    zoo.put("landmark.onnx", constant_outputs([1, 3, 224, 224], outputs))
    ((points, _),) = zoo.build("face_landmarker", "liveportrait_203").locate(PICTURE, [FACE])
    eyes = points[36:48].mean(axis=0)
    mesh_eyes = FACE.mesh[list(MESH_TO_68), :2][36:48].mean(axis=0)
    assert np.linalg.norm(points[45] - points[36]) > np.linalg.norm(FACE.points_68[45] - FACE.points_68[36]) * 0.8
    assert np.abs(eyes - mesh_eyes).max() < 60


def test_mediapipe_points_and_score(zoo):
    mesh = np.zeros((1, 1, 1, 1434), np.float32)
    mesh[..., 0::3], mesh[..., 1::3] = 100.5, 50.5
    outputs = {"points": mesh, "flag": np.array([[[[2.0]]]])}
    zoo.put("face_landmarks_detector.onnx", constant_outputs([1, 256, 256, 3], outputs))
    engine = zoo.build("face_landmarker", "mediapipe_478")
    check_landmarker(engine)
    meshes, scores = engine.landmark([np.zeros((256, 256, 3), np.uint8)])
    np.testing.assert_allclose(meshes[0, 5], [100, 50, 0])
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-2)))
    zoo.put("face_landmarks_detector.onnx", constant_outputs([1, 256, 256, 3], {"p": mesh[..., :1404], "q": mesh}))


def test_xseg_takes_blue_first_with_channels_last_and_many_is_the_minimum(zoo):
    text = """
        first (float[n, 256, 256, 3] input) => (float[n, 256, 256, 1] output) {
            one = Gather <axis = 3> (input, which)
            deep = Unsqueeze(one, last)
            output = Mul(deep, factor)
        }"""
    for number, factor in ((1, 2.0), (2, 1.0), (3, 0.5)):
        zoo.put(
            f"xseg_{number}.onnx",
            graph(text, which=np.int64(0), last=np.array([3], dtype=np.int64), factor=np.float32(factor)),
        )
    crop = np.zeros((128, 128, 3), np.uint8)
    crop[..., 2] = 102  # blue 0.4
    (mask,) = zoo.build("face_occluder", "xseg_1").mask([crop], [FACE])
    assert mask.shape == (128, 128)
    np.testing.assert_allclose(mask, 0.8, atol=1e-3)
    np.testing.assert_allclose(zoo.build("face_occluder", "many").mask([crop], [FACE])[0], 0.2, atol=1e-3)


def test_bisenet_keeps_the_chosen_regions(zoo):
    scores = np.zeros((1, 19, 512, 512), np.float32)
    scores[0, 1, :, :256] = 5  # skin on the left
    scores[0, 10, :, 256:] = 5  # nose on the right
    zoo.put("bisenet_resnet_34.onnx", constant_outputs([1, 3, 512, 512], {"output": scores}))
    crop = np.zeros((128, 128, 3), np.uint8)
    (mask,) = zoo.build("face_parser", "bisenet_resnet_34", face_mask_regions=("skin",)).mask([crop], [FACE])
    assert mask[:, :62].min() == 1
    assert mask[:, 66:].max() == 0
    (mask,) = zoo.build("face_parser", "bisenet_resnet_34", face_mask_regions=("nose",)).mask([crop], [FACE])
    assert mask[:, 66:].min() == 1


@pytest.mark.parametrize(
    ("capability", "model", "file", "content"),
    [
        ("face_identifier", "arcface_w600k_r50", "arcface_w600k_r50.onnx", channel_means(128, 512)),
        ("face_identifier", "sface", "face_recognition_sface_2021dec.onnx", channel_means(112, 512)),
        ("face_classifier", "fairface", "fairface.onnx", channel_means(224, 3)),
        ("face_landmarker", "2dfan4", "2dfan4.onnx", channel_means(256, 3)),
        ("face_landmarker", "fan_68_5", "fan_68_5.onnx", linear(5, 1.0)),
        ("face_occluder", "xseg_2", "xseg_2.onnx", channel_means(256, 3)),
        ("face_parser", "bisenet_resnet_18", "bisenet_resnet_18.onnx", channel_means(512, 3)),
        ("face_landmarker", "2d106", "2d106det.onnx", channel_means(192, 106)),
        ("face_landmarker", "liveportrait_203", "landmark.onnx", channel_means(224, 3)),
    ],
)
def test_wrong_graphs_are_refused_when_they_are_loaded(zoo, capability, model, file, content):
    zoo.put(file, content)
    with pytest.raises(ModelMismatch, match=model):
        zoo.build(capability, model)


def test_five_points_of_68_are_eyes_nose_and_mouth():
    five = five_from_68(FACE.points_68)
    assert np.abs(five - FACE.five_points).max() < 8


@pytest.mark.parametrize(
    ("option", "first", "second"),
    [("face_landmarker_model", "2dfan4", "peppa_wutz"), ("face_occluder_model", "xseg_1", "xseg_2")],
)
def test_a_plan_knows_the_models_of_many_before_the_first_frame(zoo, option, first, second, source_photo):
    from facefusion.errors import ModelMissing
    from facefusion.pipeline.plan import check_models
    from facefusion.recipe import build_recipe

    wanted = {
        option: "many", "models_paths": [str(zoo.folder)], "licences": "any", "source_paths": [source_photo],
        "processors": ["face_swapper"], "face_mask_types": ["occlusion"],
    }  # fmt: skip
    with pytest.raises(ModelMissing, match=first):
        check_models(build_recipe(wanted))
    for name in ("2dfan4", "peppa_wutz", "xseg_1", "xseg_2"):
        zoo.put(f"{name}.onnx", constant_outputs([1, 3, 256, 256], {"output": np.zeros((1, 68 * 3), np.float32)}))
    if option == "face_occluder_model":
        with pytest.raises(ModelMissing, match="xseg_3"):
            check_models(build_recipe(wanted))
        zoo.put("xseg_3.onnx", constant_outputs([1, 3, 256, 256], {"output": np.zeros((1, 68 * 3), np.float32)}))
    names = [spec.id for spec in check_models(build_recipe(wanted))]
    assert first in names
    assert second in names


def content_rows(channel=0):
    """A detector's answer whose only class is seen everywhere as strongly as one channel is light."""
    return graph(
        f"""
        rows (float[n, 3, 640, 640] input) => (float[n, 5, 3] output) {{
            mean = ReduceMean <axes = [2, 3], keepdims = 1> (input)
            one = Gather <axis = 1> (mean, channel)
            flat = Reshape(one, shape)
            place = Constant <value = float[1, 4, 3] {{{", ".join(["9.0"] * 12)}}}> ()
            none = Mul(flat, nothing)
            places = Add(none, place)
            classes = Mul(flat, spread)
            output = Concat <axis = 1> (places, classes)
        }}""",
        channel=np.int64(channel),
        shape=np.array([-1, 1, 1], np.int64),
        nothing=np.zeros((1, 4, 3), np.float32),
        spread=np.array([[[0.0, 0.5, 1.0]]], np.float32),
    )


def test_a_content_model_with_rows_takes_the_best_class_anywhere_and_no_place_of_a_box(zoo):
    zoo.put("nsfw_1.onnx", content_rows())
    engine = zoo.build("content_check", "nsfw_1")
    square = np.zeros((50, 50, 3), np.uint8)
    square[..., 0] = 102
    wide = np.zeros((50, 100, 3), np.uint8)  # half of its square stays black
    wide[..., 0] = 102
    np.testing.assert_allclose(engine.check([square, wide]), [0.4, 0.2], atol=2e-3)
    assert engine.limit == 0.2


@pytest.mark.parametrize(
    ("model", "file", "size", "classes", "picture", "score"),
    [
        ("nsfw_2", "nsfw_2.onnx", 384, 2, (255, 51, 0), 1.6),  # (1 - 0.5) / 0.5 less (0.2 - 0.5) / 0.5
        ("nsfw_3", "nsfw_3.onnx", 448, 4, (0, 0, 255), None),
    ],
)
def test_content_models_with_classes_weigh_them_as_facefusion_3_does(zoo, model, file, size, classes, picture, score):
    zoo.put(file, channel_means(size, classes))
    engine = zoo.build("content_check", model)
    pixels = np.empty((64, 64, 3), np.uint8)
    pixels[:] = picture
    if score is None:  # blue speaks for it, red and green against it
        mean, std = (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)
        red, green, blue = ((value / 255 - m) / s for value, m, s in zip(picture, mean, std, strict=True))
        score = blue - red - green
    np.testing.assert_allclose(engine.check([pixels]), [score], atol=1e-2)


@pytest.mark.parametrize(
    ("model", "content"),
    [("nsfw_1", content_rows()), ("nsfw_2", channel_means(384, 2)), ("nsfw_3", channel_means(448, 4))],
)
def test_content_models_hold_to_their_contract(zoo, model, content):
    zoo.put(f"{model}.onnx", content)
    check_content_check(zoo.build("content_check", model))


def test_a_content_model_that_answers_with_something_else_is_refused(zoo):
    zoo.put("nsfw_2.onnx", channel_means(384, 5))
    with pytest.raises(ModelMismatch, match="nsfw_2"):
        zoo.build("content_check", "nsfw_2").check([PICTURE])
