"""Wrong names in files, folders that are not there, reports of no kind: said at once, with what was meant."""

import pytest

from facefusion.apps.cli import main
from facefusion.errors import OutputRefused, RecipeError, UnknownOption
from facefusion.metrics.report import check_report
from facefusion.models.store import ModelStore
from facefusion.settings import load_options


def read(tmp_path, text):
    path = tmp_path / "ff.toml"
    path.write_text(text)
    return load_options({}, {}, None, path), path


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("[face_swapper]\nlighht = 1", "light"),
        ("[face_enhancer]\nblendd = 1", "blend"),
        ("[anything]\nfacess = 'all'", "faces"),
        ("lighht = 1", "face_swapper_light"),
    ],
)
def test_what_was_meant_is_suggested(tmp_path, text, meant):
    with pytest.raises(UnknownOption) as told:
        read(tmp_path, text)
    assert str(tmp_path / "ff.toml") in told.value.message
    assert told.value.hint == f"Did you mean '{meant}'?"


def test_what_nobody_knows_in_a_section_names_those_of_the_section_alone(tmp_path):
    with pytest.raises(UnknownOption) as told:
        read(tmp_path, "[face_swapper]\nqqqqq = 1")
    assert "[face_swapper]" in told.value.message and "light" in told.value.hint and "jobs_path" not in told.value.hint


def test_what_a_section_may_say_is_read(tmp_path):
    options, _ = read(tmp_path, "[face_swapper]\nlight = 0.5\nfaces = 'all'")
    assert {name: one.value for name, one in options.items()} == {"face_swapper_light": 0.5, "faces": "all"}


@pytest.mark.parametrize("steps", ["[[step]]", "[[steps]]"])
def test_two_ways_to_say_the_same_name_their_file(tmp_path, steps):
    with pytest.raises(RecipeError) as told:
        read(tmp_path, f"processors = ['face_swapper']\n{steps}\nprocessor = 'face_swapper'")
    assert told.value.message == f"Both 'processors' and 'steps' are given ({tmp_path / 'ff.toml'})."


def test_folders_of_models_that_are_not_there_are_refused(tmp_path, capfd):
    missing = tmp_path / "nope"
    with pytest.raises(RecipeError, match=r"models_paths.*is not there"):
        ModelStore((str(missing),))
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="is no folder"):
        ModelStore((str(tmp_path / "file"),))
    assert ModelStore((str(tmp_path), f"file://{tmp_path}", "s3://bucket/models")).folders[:2] == [tmp_path, tmp_path]
    for command in (["models", "list"], ["analyse", "-t", "a.mp4", "-o", "a.tracks"], ["doctor"]):
        with pytest.raises(SystemExit, match="2"):
            main([*command, "--models-path", str(missing)])
        told = capfd.readouterr().err
        assert "--models-path" in told and f"{missing} is not there" in told
    (tmp_path / "ff.toml").write_text(f"models_paths = ['{missing}']")
    with pytest.raises(SystemExit, match="2"):
        main(["models", "list", "--config-path", str(tmp_path / "ff.toml")])
    assert "ff.toml" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["x.txt", "x", "x.pdf", "x.html.bak"])
def test_reports_of_no_kind_are_refused(tmp_path, name):
    with pytest.raises(OutputRefused, match="cannot be written as"):
        check_report(tmp_path / name)


@pytest.mark.parametrize("name", ["x.html", "x.HTM", "x.json", "x.JSON"])
def test_pages_and_figures_are_reports(tmp_path, name):
    check_report(tmp_path / name)
