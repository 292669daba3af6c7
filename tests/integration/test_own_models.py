"""Models of one's own: `models new` writes an entry by the graph, `models check` looks a folder through."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tests.graphs import channel_means, constant_outputs, graph, inverting, linear, painting_swapper

from facefusion.apps import cli
from facefusion.errors import ModelMismatch, ModelMissing, OutputRefused, RecipeError
from facefusion.models.catalog import built_in_models, load_catalog
from facefusion.models.drafting import draft
from facefusion.models.spec import parse_spec
from facefusion.pipeline.runner import analyse_target
from facefusion.recipe import build_recipe
from facefusion.service.own_models import check_folder, draft_entry

FREE = {"licence": "MIT", "licence_source": "https://example.org/LICENSE", "commercial": "yes", "vendor": "me"}


def check(folder, **options):
    return {one.file: one for one in check_folder(folder, build_recipe(options))}


def states(one):
    return {finding.what: finding.state for finding in one.findings}


def named(folder, name, content, family, **said):
    path = folder / name
    path.write_bytes(content)
    return draft_entry(path, family, said={**FREE, **said})


def eye(size=64):
    """A recogniser that sees the picture itself, small: faces that look alike are near each other."""
    side = size // 8
    return graph(
        f"""
        look (float[n, 3, {size}, {size}] face) => (float[n, {3 * side * side}] code) {{
            small = AveragePool <kernel_shape = [8, 8], strides = [8, 8]> (face)
            flat = Flatten (small)
            middle = ReduceMean <axes = [1], keepdims = 1> (flat)
            code = Sub(flat, middle)
        }}"""
    )


def test_an_entry_says_what_the_graph_says_and_what_was_guessed(tmp_path):
    made = named(tmp_path, "seer.onnx", channel_means(96, 512), "aligned")
    text = Path(made.path).read_text()
    spec = parse_spec(text, "seer.toml", "local")
    assert (spec.id, spec.family, spec.capability) == ("seer", "aligned", "face_identifier")
    assert spec.inputs == {"input": (None, 3, 96, 96)} and spec.outputs == {"output": (None, 512)}
    assert spec.preprocess.size == 96 and spec.preprocess.template == "arcface_112_v2"
    assert spec.graph.sha256 == hashlib.sha256(channel_means(96, 512)).hexdigest()
    assert "contract" not in spec.options  # that of another model would mix up two spaces
    assert any("template" in row for row in made.guessed) and "guessed" in text
    assert made.left == () and made.doubts == ()
    assert spec.licence == "MIT" and spec.commercial == "yes"


def test_what_nobody_said_is_left_to_fill_in_and_the_model_does_not_run_meanwhile(tmp_path):
    (tmp_path / "mine.onnx").write_bytes(inverting(64))
    made = draft_entry(tmp_path / "mine.onnx", "restoration")
    assert [row.split(":")[0] for row in made.left] == ["licence", "licence_source", "commercial", "vendor"]
    assert Path(made.path).read_text().count("FILL IN") == 4
    found = check(tmp_path)["mine.toml"]
    assert found.verdict == "not allowed" and states(found)["graph"] == "holds" and states(found)["run"] == "not run"
    assert "Fill in" in next(one.said for one in found.findings if one.what == "licence")
    assert check(tmp_path, licences="any")["mine.toml"].verdict == "ready"


def test_an_entry_is_never_written_over_unasked(tmp_path):
    named(tmp_path, "mine.onnx", inverting(64), "restoration")
    entry = tmp_path / "mine.toml"
    entry.write_text(entry.read_text() + "# by hand\n")
    with pytest.raises(OutputRefused, match="there already"):
        draft_entry(tmp_path / "mine.onnx", "restoration")
    assert entry.read_text().endswith("# by hand\n")
    draft_entry(tmp_path / "mine.onnx", "restoration", is_replacing=True)
    assert not entry.read_text().endswith("# by hand\n")


def test_the_family_is_told_by_the_graph_where_only_one_fits(tmp_path):
    (tmp_path / "a.onnx").write_bytes(linear(512, 2.0))
    assert draft(tmp_path / "a.onnx").family == "converter"
    (tmp_path / "b.onnx").write_bytes(inverting(64))
    with pytest.raises(RecipeError, match="several") as caught:
        draft(tmp_path / "b.onnx")
    assert "restoration (face_enhancer)" in caught.value.hint
    with pytest.raises(RecipeError, match="no family 'restoratio'") as caught:
        draft(tmp_path / "b.onnx", "restoratio")
    assert "restoration" in caught.value.hint


def test_what_is_no_graph_and_what_is_known_already_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelMismatch, match=r"bad\.onnx"):
        draft(tmp_path / "bad.onnx", "scrfd")
    with pytest.raises(ModelMissing):
        draft(tmp_path / "none.onnx", "scrfd")
    (tmp_path / "yunet.onnx").write_bytes(inverting(64))
    with pytest.raises(RecipeError, match="built-in"):
        draft(tmp_path / "yunet.onnx", "restoration")
    assert draft(tmp_path / "yunet.onnx", "restoration", "my_yunet").id == "my_yunet"
    (tmp_path / "a (2).onnx").write_bytes(inverting(64))
    with pytest.raises(RecipeError, match=r"a \(2\)"):
        draft(tmp_path / "a (2).onnx", "restoration")
    with pytest.raises(RecipeError, match="no template 'ffhq'"):
        draft_entry(tmp_path / "yunet.onnx", "restoration", "x", {"template": "ffhq"})
    assert not (tmp_path / "yunet.toml").exists()


def test_inputs_of_other_names_than_the_family_asks_for_are_told(tmp_path):
    content = painting_swapper(128, "n, 512").replace(b"source", b"person")
    (tmp_path / "swap.onnx").write_bytes(content)
    made = draft(tmp_path / "swap.onnx", "simswap")
    assert any("'source'" in row for row in made.doubts)


def test_every_family_of_the_catalogue_can_be_gone_by(tmp_path):
    path = tmp_path / "x.onnx"
    families = {spec.family: spec for spec in built_in_models() if spec.family != "embedded"}
    assert len(families) > 20
    for family, spec in sorted(families.items()):
        shapes = spec.outputs or {"out": (1, 3, 64, 64)}
        outputs = {name: np.zeros([min(n or 1, 64) for n in shape] or [1]) for name, shape in shapes.items()}
        path.write_bytes(constant_outputs(["n", 3, 64, 64], outputs))
        assert parse_spec(draft(path, family).text, family, "local").family == family


def test_a_picture_is_no_embedding(tmp_path):
    (tmp_path / "paints.onnx").write_bytes(inverting(64))
    with pytest.raises(ModelMismatch, match=r"The output '\w+' is .*64 x 64; models of the family aligned give"):
        draft_entry(tmp_path / "paints.onnx", "aligned", said=FREE)
    assert not (tmp_path / "paints.toml").exists()


def test_a_recogniser_that_is_named_is_opened_though_nobody_is_chosen_by_it(tmp_path, few_frames):
    named(tmp_path, "my_id.onnx", eye(), "aligned")
    with (tmp_path / "my_id.toml").open("a") as file:
        file.write('[options]\nsame_person_cosine = 0.9\ncontract = "my_id"\n')
    options = {"models_paths": [str(tmp_path)], "face_identifier_model": "my_id", "target_path": few_frames}
    (track,) = analyse_target(build_recipe(options)).tracks
    assert track.identity is not None and track.identity.shape == (192,)


def test_what_is_written_is_found_and_ready(tmp_path):
    named(tmp_path, "my eye 2.onnx", eye(), "aligned")
    with (tmp_path / "my eye 2.toml").open("a") as file:
        file.write("[options]\nsame_person_cosine = 0.9\n")
    named(tmp_path, "negative.onnx", inverting(64), "restoration")
    assert {"my_eye_2", "negative"} <= set(load_catalog([tmp_path]))
    found = check(tmp_path)
    assert {one.verdict for one in found.values()} == {"ready"}
    (said,) = (finding.said for finding in found["my eye 2.toml"].findings if finding.what == "run")
    assert {finding.state for one in found.values() for finding in one.findings} == {"holds"}, said


def test_a_recogniser_that_knows_nobody_again_and_a_detector_that_sees_nobody_are_doubted(tmp_path):
    named(tmp_path, "blind.onnx", channel_means(112, 512), "aligned")
    (tmp_path / "rows.onnx").write_bytes(constant_outputs(["n", 3, 640, 640], {"out": np.zeros((1, 20, 8400))}))
    draft_entry(tmp_path / "rows.onnx", "yolo_face", said=FREE)
    found = check(tmp_path)
    assert states(found["blind.toml"])["run"] == "doubtful"
    assert states(found["rows.toml"])["run"] == "doubtful", found["rows.toml"]
    assert found["rows.toml"].verdict == "ready"


def test_everything_that_can_be_wrong_with_an_entry_is_told_by_its_name(tmp_path):
    named(tmp_path, "mine.onnx", inverting(64), "restoration")
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "broken.toml").write_text("id = ")
    template = next(row for row in text.splitlines() if row.startswith("template"))
    changes = {
        "family": ('family = "restoration"', 'family = "restorer"'),
        "template": (template, 'template = "arcface"'),
        "files": ('sha256 = "', 'sha256 = "0000000000000000000000000000000000000000000000000000000000000000" #'),
        "graph": ('"input" = [1, 3, 64, 64]', '"image" = [1, 3, 64, 64]'),
        "capability": ('capability = "face_enhancer"', 'capability = "face_enhanser"'),
    }
    for what, (old, new) in changes.items():
        assert old in text, (what, text)
        changed = text.replace(old, new).replace('id = "mine"', f'id = "{what}"')
        (tmp_path / f"{what}.toml").write_text(changed)
    (tmp_path / "twin.toml").write_text(text)
    (tmp_path / "lost.toml").write_text(text.replace('"mine"', '"lost"').replace("mine.onnx", "lost.onnx"))
    (tmp_path / "stray.onnx").write_bytes(inverting(64))
    found = check(tmp_path)
    assert found["mine.toml"].verdict == "ready"
    assert found["stray.onnx"].verdict == "no entry" and "models new" in found["stray.onnx"].findings[0].said
    assert found["broken.toml"].verdict == "wrong"
    assert "same name" in found["twin.toml"].findings[0].said
    assert states(found["lost.toml"])["files"] == "wrong"
    for what in ("family", "template", "files", "graph"):
        assert states(found[f"{what}.toml"])[what] == "wrong", found[f"{what}.toml"]
        assert states(found[f"{what}.toml"])["run"] == "not run"
    said = {one.what: one.said for one in found["template.toml"].findings}
    assert "arcface_112_v2" in said["template"]
    assert "image" in next(one.said for one in found["graph.toml"].findings if one.what == "graph")
    assert states(found["capability.toml"])["family"] == "wrong"


def test_a_model_that_gives_no_numbers_is_wrong(tmp_path):
    content = graph(
        """
        divide (float[1, 3, 64, 64] input) => (float[1, 3, 64, 64] output) {
            zeroed = Sub(input, input)
            output = Div(zeroed, zeroed)
        }"""
    )
    named(tmp_path, "nan.onnx", content, "restoration")
    assert states(check(tmp_path)["nan.toml"])["graph"] == "wrong"


def test_a_folder_that_is_none_or_empty_is_said(tmp_path):
    with pytest.raises(RecipeError, match="no folder"):
        check_folder(tmp_path / "none", build_recipe({}))
    with pytest.raises(RecipeError, match="no models"):
        check_folder(tmp_path, build_recipe({}))


def test_the_command_says_how_it_went_by_its_exit_code(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.onnx").write_bytes(inverting(64))

    def call(*words):
        with pytest.raises(SystemExit) as stop:
            cli.main(list(words))
        return stop.value.code or 0

    said = ("--licence", "MIT", "--licence-source", "me", "--commercial", "yes", "--vendor", "me")
    assert call("models", "new", "mine.onnx", "--family", "restoration", *said) == 0
    assert "Then: facefusion models check ." in capsys.readouterr().out
    assert call("models", "check", ".") == 0
    assert "1 model: 1 ready" in capsys.readouterr().out
    Path("other.onnx").write_bytes(inverting(64))
    assert call("models", "check", ".", "--json") == 6
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "checked", "folder": ".", "ready": 1, "wrong": 0, "not_allowed": 0, "no_entry": 1}
