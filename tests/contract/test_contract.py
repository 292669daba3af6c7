import ast
import re
import tomllib
from pathlib import Path

import pytest

import facefusion
from facefusion import errors
from facefusion.apps.endings import exit_code
from facefusion.models.catalog import load_catalog
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import FAMILIES, build_engine, find_entry, list_engines
from facefusion.recipe import Recipe, flags_of, known_options
from facefusion.settings import JobSettings
from facefusion.testing.conformance import check_detector, check_face_processor, check_landmarker
from facefusion.testing.fakes import FakeDetector, PaintProcessor, make_mesh

ROOT = Path(__file__).resolve().parents[2]


def test_public_names_are_these_and_all_load():
    assert sorted(facefusion.__all__) == [
        "FaceFusionError", "Outcome", "Recipe", "Step", "Track", "Tracks", "__version__", "analyse_target",
        "build_recipe", "get_options", "process_image", "process_video", "render_target", "run", "set_options",
    ]  # fmt: skip
    for name in facefusion.__all__:
        assert getattr(facefusion, name) is not None
    with pytest.raises(AttributeError):
        facefusion.nothing  # noqa: B018


def test_embedded_engines_conform():
    context = EngineContext(Recipe())
    check_detector(build_engine("face_detector", "embedded", context))
    check_landmarker(build_engine("face_landmarker", "embedded", context))
    check_face_processor(build_engine("face_swapper", "mesh", context))


def test_engines_that_are_listed_are_these():
    assert list_engines("face_detector") == ["embedded", "many"]
    assert list_engines("face_landmarker") == ["embedded", "many"]
    assert list_engines("face_swapper") == ["mesh"]


def test_fakes_conform_and_the_suite_catches_a_bad_engine():
    check_face_processor(PaintProcessor())

    class Backwards(FakeDetector):
        def detect(self, pixels):
            return super().detect(pixels)[:-1]

    with pytest.raises(AssertionError):
        check_detector(Backwards([make_mesh()]))


def test_every_catalogue_entry_has_licence_source_and_engine():
    for spec in load_catalog().values():
        assert spec.licence
        assert spec.licence_source
        assert spec.vendor
        assert spec.inputs
        assert spec.outputs
        if spec.family not in ("embedded", "converter"):
            assert find_entry(FAMILIES, spec.family) is not None, f"nobody runs the family {spec.family}"
        for key in ("identifier", "converter"):
            assert spec.options.get(key, spec.id) in load_catalog()


def test_every_embedded_model_has_its_hash_and_a_card():
    for spec in load_catalog().values():
        if spec.origin != "embedded":
            continue
        assert re.fullmatch(r"[0-9a-f]{64}", spec.graph.sha256)
        card = ROOT / "docs/models" / f"{spec.id}.md"
        assert card.is_file(), "every embedded model has a card"
        for word in ("data", "teacher", "licence", "held out"):
            assert word in card.read_text().lower()


def test_every_error_has_a_code_of_its_own_and_an_exit_code():
    tree = ast.parse((ROOT / "src/facefusion/errors.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    codes = [getattr(errors, name).code for name in names]
    assert len(set(codes)) == len(codes)
    drawn = errors.__doc__ or ""
    for name in names:
        assert name in drawn, "the tree in the docstring shows every error"
        if name not in ("FaceFusionError", "Fault"):  # a fault is 1
            assert exit_code(getattr(errors, name)("x")) != 1


def test_every_option_has_a_flag_a_description_and_a_place_in_the_documentation():
    text = (ROOT / "docs/configuration.md").read_text()
    for name, field in {**known_options(), **JobSettings.model_fields}.items():
        assert field.description
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        assert flags_of(name) if name in known_options() else extra["flags"]
        assert f"`{name}`" in text, f"docs/configuration.md does not mention {name}"


def test_readme_commands_and_script_are_the_ones_that_are_tested():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme
    script = (ROOT / "tests/e2e/test_doors.py").read_text()
    for line in ("from facefusion import process_video, set_options", '"frame_processors": ["face_swapper"]'):
        assert line in readme
        assert line in script


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == facefusion.__version__
    assert f"## {facefusion.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_path_of_a_machine_and_no_foreign_picture_is_in_the_package():
    for path in (ROOT / "src").rglob("*.py"):
        assert not re.search(r"/(home|root|work|Users)/", path.read_text()), path
    pictures = [p for p in (ROOT / "src").rglob("*") if p.suffix in (".jpg", ".png", ".mp4", ".webp")]
    assert {p.parent.name for p in pictures} == {"samples"}
