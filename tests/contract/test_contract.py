import ast
import json
import re
import threading
import tomllib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import facefusion
from facefusion import errors
from facefusion.apps.endings import exit_code
from facefusion.declaration import Requirements, processor_names
from facefusion.models.catalog import load_catalog
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import FAMILIES, build_engine, find_entry, list_engines
from facefusion.recipe import Recipe, flags_of, known_options
from facefusion.settings import setting_fields
from facefusion.testing.conformance import (
    THREADS,
    Nonconforming,
    check_classifier,
    check_detector,
    check_face_processor,
    check_frame_processor,
    check_identifier,
    check_landmarker,
    check_masker,
    check_optical_flow,
    check_point_landmarker,
)
from facefusion.testing.fakes import FakeDetector, PaintProcessor, make_mesh
from facefusion.types.face import Attributes

ROOT = Path(__file__).resolve().parents[2]


def test_public_names_are_these_and_all_load():
    assert sorted(facefusion.__all__) == [
        "Anonymiser", "CancelToken", "Changed", "FaceFusion", "FaceFusionError", "Live", "Outcome", "Progress",
        "ProgressBar", "Recipe", "SeenFace", "Step", "Stopped", "Stream", "Swapper", "Track", "Tracks", "__version__",
        "analyse_image", "analyse_target", "build_recipe", "get_options", "process_image", "process_video",
        "render_target", "run", "set_options",
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


class Backwards(FakeDetector):
    def detect(self, pixels):
        return super().detect(pixels)[:-1]


class Inked(PaintProcessor):
    def process(self, crops):
        for crop in crops:
            crop.pixels[0, 0] = 0
        return super().process(crops)


class Counting(PaintProcessor):
    def process(self, crops):
        self._colour = (self._colour[0] - 1, 0, 0)
        return super().process(crops)


class Sharing(PaintProcessor):
    """Keeps a buffer that all threads write into."""

    together = threading.Barrier(THREADS)

    def process(self, crops):
        self.who = threading.get_ident()
        if threading.current_thread() is not threading.main_thread():
            self.together.wait()
        red = 255 if self.who == threading.get_ident() else 0
        self._colour = (red, 0, 0)
        return super().process(crops)


class Timeless(PaintProcessor):
    def process(self, crops):
        return [replace(crop, moment=Fraction(0)) for crop in super().process(crops)]


class Together(PaintProcessor):
    def process(self, crops):
        done = super().process(crops)
        return [replace(crop, pixels=np.full_like(crop.pixels, 20 * len(crops))) for crop in done]


class Hiding(PaintProcessor):
    covers_fully = True


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        (Inked(), "writes into what it is given"),
        (Counting(), "otherwise the second time"),
        (Sharing(), "several threads"),
        (Timeless(), "moment of a crop must stay"),
        (Together(), "a crop alone differs"),
        (Hiding(), "is_protective"),
    ],
)
def test_the_suite_says_what_is_wrong_with_a_face_processor(processor, words):
    check_face_processor(PaintProcessor(), Requirements())
    with pytest.raises(Nonconforming, match=words):
        check_face_processor(processor, Requirements())


class Mean:
    """Averages frames; ``kind`` says in which way it does not hold to its contract."""

    def __init__(self, kind="", scale=Fraction(1)):
        self.kind, self.scale, self.seen = kind, scale, {}

    def prepare(self, sources):
        pass

    def process(self, windows):
        made = []
        for window in windows:
            pixels = np.mean([frame.pixels for frame in window.frames], axis=0)
            if self.kind == "remembers":
                self.seen.setdefault(window.now.pts, window.now.index)
                before = [pts for pts in self.seen if pts < window.now.pts]
                pixels = pixels + (10 if len(before) > 3 else 0)
            if self.kind == "counts":
                pixels = pixels + 7 * window.now.index
            if self.kind == "writes":
                window.now.pixels[0, 0] += 1
            if self.kind == "rounds":
                pixels = pixels[: len(pixels) // 2 * 2]
            made.append(np.clip(pixels, 0, 255).astype(np.float32 if self.kind == "floats" else np.uint8))
        return made


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        (Mean("counts"), "when rendering starts near it"),
        (Mean("writes"), "writes into what it is given"),
        (Mean("rounds"), "33 x 27 px came back as"),
        (Mean("floats"), "float32"),
        (Mean("", Fraction(2)), "with scale 2"),
        (Mean("", 0), "above 0"),
        (Mean("", "large"), "fraction"),
    ],
)
def test_the_suite_says_what_is_wrong_with_a_frame_processor(processor, words):
    required = Requirements(needs=frozenset(), halo=1)
    check_frame_processor(Mean(), required)
    with pytest.raises(Nonconforming, match=words):
        check_frame_processor(processor, required)


def test_a_frame_processor_that_remembers_what_was_before_does_not_conform():
    required = Requirements(needs=frozenset(), halo=1)
    with pytest.raises(Nonconforming, match="when rendering starts near it"):
        check_frame_processor(Mean("remembers"), required, build=lambda: Mean("remembers"))


def test_fakes_conform_and_the_suite_catches_bad_engines_of_pass_1():
    check_detector(FakeDetector([make_mesh()]))
    with pytest.raises(Nonconforming, match="lists of faces"):
        check_detector(Backwards([make_mesh()]))

    class Points:
        def locate(self, pixels, faces):
            return [(face.points_68[:67], 1.0) for face in faces]

    class Still:
        contract, same_person_cosine = "still", 0.3

        def identify(self, pixels, points):
            return np.zeros((len(pixels), 8), np.float32)

    class Old:
        def classify(self, pixels, points):
            return [Attributes((30, 30), "female", "white") for _ in pixels]

    class Loud:
        def mask(self, crops, faces):
            return [np.full(crop.shape[:2], 2, np.float32) for crop in crops]

    for check, engine, words in (
        (check_point_landmarker, Points(), r"\(68, 2\)"),
        (check_identifier, Still(), "near to nobody"),
        (check_classifier, Old(), "half-open range"),
        (check_masker, Loud(), "from 0 to 1"),
        (check_optical_flow, lambda before, after: np.ones((192, 192, 2), np.float32), "stands still"),
    ):
        with pytest.raises(Nonconforming, match=words):
            check(engine)


def test_every_built_in_that_is_here_holds_to_its_contract(capsys):
    """What ``facefusion plugins check`` does; models of others are told about as not here."""
    from facefusion.apps.cli import main

    with pytest.raises(SystemExit) as end:
        main(["plugins", "check", "--json"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    checks = {event["name"]: event for event in events if event["event"] == "check"}
    assert end.value.code == 0, [check for check in checks.values() if check["state"] == "fails"]
    groups = ("face_detector", "face_landmarker", "face_identifier", "face_parser", "face_occluder", "optical_flow")
    engines = [f"{group} {name}" for group in groups for name in list_engines(group) if name != "many"]
    for name in [*engines, *(f"{name} declaration" for name in processor_names())]:
        assert checks[name]["state"] == "holds", name


def test_no_room_but_the_processors_own_names_a_processor():
    names = re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(processor_names())})(?![A-Za-z0-9_])")
    assert len(processor_names()) > 3
    rooms = ROOT / "src" / "facefusion"
    for path in rooms.rglob("*.py"):
        if path.relative_to(rooms).parts[0] in ("processors", "apps"):
            continue
        found = names.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(rooms)} names {found and found[0]}"


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
    names = [one.name for one in tree.body if isinstance(one, ast.ClassDef) and one.name != "FaceFusionWarning"]
    codes = [getattr(errors, name).code for name in names]
    assert len(set(codes)) == len(codes)
    drawn = errors.__doc__ or ""
    for name in names:
        assert name in drawn, "the tree in the docstring shows every error"
        if name not in ("FaceFusionError", "Fault"):  # a fault is 1
            assert exit_code(getattr(errors, name)("x")) != 1


def test_every_option_has_a_flag_a_description_and_a_place_in_the_documentation():
    text = (ROOT / "docs/configuration.md").read_text()
    for name, field in {**known_options(), **setting_fields()}.items():
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
