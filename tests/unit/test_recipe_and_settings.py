from pathlib import Path

import pytest

from facefusion.errors import RecipeError, UnknownOption
from facefusion.pipeline.plan import settled
from facefusion.recipe import Recipe, build_recipe
from facefusion.settings import (
    JobSettings,
    OperationSettings,
    PolicySettings,
    build_settings,
    load_options,
    load_policy,
    naming_origins,
    setting_fields,
    with_flags,
)


@pytest.mark.parametrize(
    ("options", "called"),
    [
        ({"segment_s": 0.5}, "Option '--segment-length' (segment_s): should be greater"),
        ({"face_swapper_blend": "nix"}, "Option '--face-swapper-blend': should be 'feather'"),
        ({"sources": None}, "(source_paths): takes several values, in a list (given: None)"),
    ],
)
def test_an_option_is_called_as_it_was_given(options, called):
    with pytest.raises(RecipeError) as told:
        build_recipe(options)
    assert called in with_flags(told.value.message)
    assert "Input" not in told.value.message


def test_settings_are_called_by_their_flags_too():
    for name, field in setting_fields().items():
        flags = field.json_schema_extra["flags"]
        assert not flags or with_flags(f"Option '{name}': is wrong.").startswith(f"Option '{flags[0]}'"), name


@pytest.mark.parametrize("name", ["http://example.com/a.mp4", "https://example.com/a.mp4", "s3://one/two.mp4", "-"])
@pytest.mark.parametrize("option", ["target_path", "source_paths", "exempt_paths", "reference_face_path"])
def test_addresses_and_standard_input_are_told_not_to_be_read(name, option):
    with pytest.raises(RecipeError, match="not read"):
        build_recipe({option: name})


def test_a_file_that_is_called_like_standard_input_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_bytes(b"x")
    assert build_recipe({"target_path": "-"}).target_path.name == "-"


def test_recipe_is_frozen():
    recipe = Recipe()
    with pytest.raises(ValueError, match="frozen"):
        recipe.faces = "all"


def test_unknown_option_names_the_nearest():
    with pytest.raises(UnknownOption, match="face_swapper_blend"):
        build_recipe({"face_swaper_blend": "feather"})


def test_value_out_of_range_names_the_option_and_the_rule():
    with pytest.raises(RecipeError, match=r"face_detector_score.*less than or equal to 1"):
        build_recipe({"face_detector_score": 3})


def test_old_spelling_of_processors_is_understood():
    assert build_recipe({"frame_processors": ["face_swapper"]}).processors == ("face_swapper",)


def test_two_spellings_of_one_option_are_refused():
    with pytest.raises(RecipeError, match="both given"):
        build_recipe({"frame_processors": ["face_swapper"], "processors": ["face_swapper"]})


@pytest.mark.parametrize(
    ("given", "read"), [("all", "all"), ("largest", "largest"), ("0,2", (0, 2)), (1, (1,)), ("3", (3,))]
)
def test_faces_are_read(given, read):
    assert build_recipe({"faces": given}).faces == read


@pytest.mark.parametrize("given", ["none", "-1", "0,x", True])
def test_other_faces_are_refused(given):
    with pytest.raises(RecipeError, match="faces"):
        build_recipe({"faces": given})


def test_end_before_start_is_refused():
    with pytest.raises(RecipeError, match=r"^The end \(2\.0 s\) must be later than the start \(3\.0 s\)\. Change"):
        build_recipe({"start_s": 3, "end_s": 2})


def test_precedence_is_command_line_then_environment_then_files(tmp_path: Path):
    (tmp_path / "facefusion.toml").write_text('output_video_quality = 10\nfaces = "all"\noutput_image_quality = 11\n')
    explicit = tmp_path / "mine.toml"
    explicit.write_text("output_video_quality = 20\noutput_image_quality = 21\nface_mask_blur = 0.2\n")
    environment = {"FACEFUSION_OUTPUT_VIDEO_QUALITY": "30", "FACEFUSION_FACE_MASK_BLUR": "0.4", "PATH": "/x"}
    options = load_options({"output_video_quality": "40"}, environment, tmp_path, explicit)
    assert (options["output_video_quality"].value, options["output_video_quality"].origin) == ("40", "command line")
    assert options["face_mask_blur"].origin == "FACEFUSION_FACE_MASK_BLUR"
    assert options["output_image_quality"].value == 21
    assert options["faces"].origin.endswith("facefusion.toml")
    recipe = build_recipe({name: sourced.value for name, sourced in options.items()})
    assert (recipe.output_video_quality, recipe.face_mask_blur, recipe.output_image_quality) == (40, 0.4, 21)


@pytest.mark.parametrize("spelled", [".", "./", "./."])
def test_the_working_folder_is_a_path_like_others_and_not_one_that_nobody_gave(tmp_path: Path, monkeypatch, spelled):
    monkeypatch.chdir(tmp_path)
    explicit = tmp_path / "mine.toml"
    explicit.write_text(f'output_path = "{spelled}"\n')
    line = {"target_path": spelled, "jobs_path": spelled, "faces": "."}
    options = load_options(line, {"FACEFUSION_IDENTITY_PATH": spelled}, None, explicit)
    values = {name: sourced.value for name, sourced in options.items()}
    assert values.pop("faces") == "."
    assert {name: Path(value) for name, value in values.items()} == dict.fromkeys(
        ("target_path", "jobs_path", "output_path", "identity_path"), tmp_path
    )
    assert build_settings(JobSettings, {"jobs_path": values["jobs_path"]}).folder == tmp_path
    with pytest.raises(RecipeError, match="an empty path names nothing"):
        build_recipe({"target_path": load_options({"target_path": ""}, {}, None)["target_path"].value})


def test_the_working_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(RecipeError, match="The working folder is gone"):
        load_options({"target_path": "."}, {}, None)


def test_lists_come_from_the_environment_as_words_or_json(tmp_path: Path):
    options = load_options({}, {"FACEFUSION_SOURCE_PATHS": '["a b.jpg", "c.jpg"]'}, tmp_path)
    assert options["source_paths"].value == ["a b.jpg", "c.jpg"]
    options = load_options({}, {"FACEFUSION_EXECUTION_PROVIDERS": "cuda cpu"}, tmp_path)
    assert options["execution_providers"].value == ["cuda", "cpu"]


def test_unknown_names_in_files_and_environment_say_where(tmp_path: Path):
    with pytest.raises(UnknownOption, match="FACEFUSION_FACEZ"):
        load_options({}, {"FACEFUSION_FACEZ": "all"}, tmp_path)
    (tmp_path / "facefusion.toml").write_text("qality = 1\n")
    with pytest.raises(UnknownOption, match=r"facefusion\.toml"):
        load_options({}, {}, tmp_path)


STEP = '[[step]]\nprocessor = "face_swapper"\n'


@pytest.mark.parametrize(
    ("kind", "name", "text", "environment", "origin"),
    [
        (Recipe, "face_swapper_light", 'face_swapper_light = "much"', {}, "FILE"),
        (Recipe, "face_swapper_light", '[face_swapper]\nlight = "much"', {}, "FILE"),
        (Recipe, "face_swapper_light", f'{STEP}light = "much"', {}, "FILE"),
        (Recipe, "face_swapper_light", STEP, {"FACEFUSION_FACE_SWAPPER_LIGHT": "much"}, "VARIABLE"),
        (Recipe, "face_swapper_light", f'face_swapper_light = "much"\n{STEP}', {}, "FILE"),
        (Recipe, "faces", "", {"FACEFUSION_FACES": "foo"}, "VARIABLE"),
        (JobSettings, "lease_s", 'lease_s = "abc"', {}, "FILE"),
        (JobSettings, "lease_s", "", {"FACEFUSION_LEASE_S": "abc"}, "VARIABLE"),
        (OperationSettings, "log_level", 'log_level = "x"', {}, "FILE"),
        (PolicySettings, "content_mode", 'content_mode = "x"', {}, "FILE"),
        (PolicySettings, "content_mode", "", {"FACEFUSION_CONTENT_MODE": "x"}, "VARIABLE"),
    ],
)
def test_a_wrong_value_says_where_it_comes_from(tmp_path, kind, name, text, environment, origin):
    path = tmp_path / "facefusion.toml"
    path.write_text(text)
    options = load_options({}, environment, tmp_path)
    values = {key: sourced.value for key, sourced in options.items()}
    with pytest.raises(RecipeError) as told, naming_origins(options):
        build_recipe(values) if kind is Recipe else build_settings(kind, values)
    origin = str(path) if origin == "FILE" else f"environment variable FACEFUSION_{name.upper()}"
    assert with_flags(told.value.message).startswith(f"Option '{name}' ({origin}): ")
    if kind is PolicySettings:  # doors that read no other setting
        with pytest.raises(RecipeError) as told:
            load_policy(environment, tmp_path)
        assert told.value.message.startswith(f"Option '{name}' ({origin}): ")


def test_a_value_that_steps_take_over_says_where_it_comes_from(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    user = tmp_path / "user" / "facefusion" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('face_swapper_light = "much"')
    (tmp_path / "facefusion.toml").write_text(STEP)
    options = load_options({}, {}, tmp_path)
    assert "face_swapper_light" not in options
    with pytest.raises(RecipeError) as told, naming_origins(options):
        build_recipe({key: sourced.value for key, sourced in options.items()})
    assert told.value.message.startswith(f"Option 'face_swapper_light' ({user}): ")


def test_a_wrong_value_of_the_machine_s_policy_names_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr("facefusion.settings.SITE_FILE", tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_text('watermark = "perhaps"\n')
    with pytest.raises(RecipeError) as told:
        load_options({}, {}, tmp_path)
    assert told.value.message.startswith(f"Option 'watermark' ({tmp_path}/policy.toml): ")


def test_a_wrong_value_of_the_command_line_is_called_by_its_flag(tmp_path):
    options = load_options({"lease_s": "abc"}, {"FACEFUSION_LEASE_S": "3"}, tmp_path)
    with pytest.raises(RecipeError) as told, naming_origins(options):
        build_settings(JobSettings, {key: sourced.value for key, sourced in options.items()})
    assert with_flags(told.value.message).startswith("Option '--lease' (lease_s): ")


def test_broken_toml_and_missing_file_are_explained(tmp_path: Path):
    (tmp_path / "facefusion.toml").write_text("faces = [")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_options({}, {}, tmp_path)
    with pytest.raises(RecipeError, match="no configuration file"):
        load_options({}, {}, tmp_path / "elsewhere", tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("beside", "name"),
    [
        ({"faces": "0,2"}, "--faces"), ({"source_paths": ["face.jpg"]}, "--source"),
        ({"face_selector_mode": "many"}, "--face-selector-mode"), ({"face_selector_gender": "male"}, "-gender"),
    ],
)  # fmt: skip
def test_what_a_mapping_file_says_is_not_said_twice(tmp_path, beside, name):
    path = tmp_path / "map.toml"
    path.write_text('[[person]]\nperson = 0\nsources = ["anna.jpg"]\n')
    values = {"face_map_path": path, "target_path": tmp_path / "clip.mp4"}
    assert settled(build_recipe(values)).people
    with pytest.raises(RecipeError, match=f"{name}.* would mean nothing beside it"):
        settled(build_recipe({**values, **beside}))
    hides = settled(build_recipe({**values, "processors": ["face_anonymiser"]}))
    assert hides.faces == "all"  # which nobody said
