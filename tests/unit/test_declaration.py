"""Processors are declared, options belong to them, and every spelling folds into steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from facefusion import declaration
from facefusion import recipe as recipes
from facefusion.declaration import (
    Need,
    Requirements,
    Step,
    default_processors,
    find_processor,
    processor_names,
    suggest,
    union,
)
from facefusion.errors import ProcessorRefused, RecipeError, UnknownOption, UnknownProcessor
from facefusion.pipeline.plan import decided, settled
from facefusion.pipeline.selection import load_face_map
from facefusion.plugins.listing import list_processors, show_processor
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_processor
from facefusion.recipe import Recipe, build_recipe, flags_of, known_options
from facefusion.service.drafts import Drafts
from facefusion.settings import JobSettings, load_options, setting_fields
from facefusion.testing.conformance import HEAVY, Nonconforming, check_declaration, check_is_light


def forget():
    for cached in (find_processor, declaration._flat_fields):
        cached.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package into a folder of its own, as an installer does."""
    names = []

    def put(package, code, **entries):
        folder = tmp_path / f"site-{package}"
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[facefusion.processors]", *lines, ""]))
        monkeypatch.syspath_prepend(str(folder))
        names.append(package)
        forget()

    yield put
    monkeypatch.undo()
    for name in names:
        sys.modules.pop(name, None)
    forget()


PLAIN = """
from facefusion.declaration import Options, ProcessorSpec, Requirements, option

class O(Options):
    {options}

SPEC = ProcessorSpec("{name}", "{kind}", O, lambda options: Requirements({required}), "{name}:build", "does nothing")
"""


def code_of(name, kind="face", options="amount: int = option(1, 'how much', ge=0)", required=""):
    return PLAIN.format(name=name, kind=kind, options=options, required=required)


def load(folder, command_line=None, environment=None):
    options = load_options(command_line or {}, environment or {}, folder)
    return build_recipe({name: one.value for name, one in options.items() if name not in JobSettings.model_fields})


def test_flat_options_fold_into_the_step_of_their_processor():
    recipe = build_recipe({"processors": ["face_swapper", "face_enhancer"], "face_enhancer_blend": 20})
    assert recipe.processors == ("face_swapper", "face_enhancer")
    assert recipe.steps[1].options.blend == 20
    assert recipe == Recipe(steps=[Step("face_swapper"), Step("face_enhancer", blend=20)])
    assert recipe.presets == ()


def test_options_of_a_processor_that_is_in_no_step_wait_for_a_mapping_file(tmp_path):
    recipe = build_recipe({"face_anonymiser_model": "blur", "face_anonymiser_strength": 0.9})
    assert recipe.processors == default_processors()
    assert [step.processor for step in recipe.presets] == ["face_anonymiser"]
    (tmp_path / "map.toml").write_text('[[person]]\ntrack = 0\nprocessors = ["face_anonymiser"]\n')
    (person,) = load_face_map(tmp_path / "map.toml", recipe)
    assert (person.steps[0].options.model, person.steps[0].options.strength) == ("blur", 0.9)
    assert recipe.with_options(processors=["face_anonymiser"]).steps == person.steps


def test_a_processor_may_stand_twice_with_options_of_its_own():
    steps = [Step("face_enhancer", blend=10), Step("face_swapper"), Step("face_enhancer", blend=90)]
    recipe = Recipe(steps=steps)
    assert [step.options.blend for step in recipe.steps if step.processor == "face_enhancer"] == [10, 90]
    assert recipe.step_of("face_enhancer") == steps[0]
    assert [s.options.blend for s in recipe.with_options(face_enhancer_blend=50).steps[::2]] == [50, 50]
    again = build_recipe(json.loads(recipe.model_dump_json()))
    assert again == recipe


@pytest.mark.parametrize("name", processor_names())
def test_steps_come_back_from_json_whatever_their_processor(name):
    step = Step(name)
    recipe = Recipe(steps=[step])
    assert build_recipe(json.loads(json.dumps(recipe.model_dump(mode="json")))).steps == recipe.steps == (step,)
    assert Step.from_table({"processor": name, "options": step.options.model_dump(mode="json")}) == step
    check_declaration(find_processor(name))


def test_steps_and_processors_together_are_refused():
    with pytest.raises(RecipeError, match="Both 'processors' and 'steps'"):
        build_recipe({"processors": ["face_swapper"], "steps": [{"processor": "face_enhancer"}]})


@pytest.mark.parametrize("given", ["face_swapper", [3], [{"name": "face_swapper"}], [{"processor": 3}], {"a": 1}])
def test_steps_that_are_none_are_refused_with_an_example(given):
    with pytest.raises(RecipeError) as caught:
        build_recipe({"steps": given})
    assert "processor = " in caught.value.hint


def test_the_stronger_place_says_what_is_done(tmp_path: Path):
    (tmp_path / "facefusion.toml").write_text('[[step]]\nprocessor = "face_enhancer"\nblend = 30\n')
    assert load(tmp_path).processors == ("face_enhancer",)
    assert load(tmp_path, {"processors": ["face_swapper"]}).processors == ("face_swapper",)
    assert load(tmp_path, {}, {"FACEFUSION_PROCESSORS": "face_swapper"}).processors == ("face_swapper",)
    steps = '[{"processor": "face_enhancer", "blend": 1}, {"processor": "face_enhancer", "blend": 2}]'
    recipe = load(tmp_path, {}, {"FACEFUSION_STEPS": steps})
    assert [step.options.blend for step in recipe.steps] == [1, 2]
    with pytest.raises(RecipeError, match="Both"):
        load(tmp_path, {}, {"FACEFUSION_STEPS": steps, "FACEFUSION_PROCESSORS": "face_swapper"})
    (tmp_path / "facefusion.toml").write_text('processors = ["face_swapper"]\n[[step]]\nprocessor = "face_enhancer"\n')
    with pytest.raises(RecipeError, match="Both"):
        load(tmp_path)


def test_options_beside_steps_say_what_these_leave_out_and_stronger_places_win(tmp_path: Path):
    (tmp_path / "facefusion.toml").write_text(
        "face_enhancer_blend = 5\nface_enhancer_weight = 0.1\n"
        '[[step]]\nprocessor = "face_enhancer"\nblend = 30\n'
        '[[step]]\nprocessor = "face_enhancer"\nblend = 30\n'
    )
    for step in load(tmp_path).steps:
        assert (step.options.blend, step.options.weight) == (30, 0.1)
    for step in load(tmp_path, {}, {"FACEFUSION_FACE_ENHANCER_BLEND": "40"}).steps:
        assert (step.options.blend, step.options.weight) == (40, 0.1)
    for step in load(tmp_path, {"face_enhancer_blend": "50"}, {"FACEFUSION_FACE_ENHANCER_BLEND": "40"}).steps:
        assert (step.options.blend, step.options.weight) == (50, 0.1)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownProcessor) as caught:
        Step("face_swaper")
    assert caught.value.hint == "Did you mean 'face_swapper'?"
    with pytest.raises(UnknownOption) as caught:
        Step("face_swapper", blent="feather")
    assert caught.value.hint == "Did you mean 'blend'?"
    with pytest.raises(UnknownOption) as caught:
        build_recipe({"steps": [{"processor": "face_enhancer", "options": {"wieght": 1}}]})
    assert caught.value.hint == "Did you mean 'weight'?"
    with pytest.raises(UnknownOption, match="face_swapper_blend"):
        build_recipe({"face_swaper_blend": "feather"})


def test_values_out_of_range_are_named_by_their_flat_spelling():
    with pytest.raises(RecipeError, match=r"'face_enhancer_blend'.*less than or equal to 100.*given: 900"):
        Step("face_enhancer", blend=900)
    with pytest.raises(RecipeError, match="are not the options of"):
        Step("face_enhancer", Step("face_swapper").options)


def test_steps_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Step("face_enhancer").options.blend = 3


def test_a_protective_processor_wants_the_cautious_detector_wherever_it_is_named(tmp_path: Path):
    cautious = find_processor("face_anonymiser").require(find_processor("face_anonymiser").options()).cautious
    assert cautious
    for recipe in (Recipe(processors=("face_anonymiser",)), Recipe(steps=[Step("face_anonymiser")])):
        assert {name: getattr(recipe, name) for name in cautious} == cautious
    kept = Recipe(processors=("face_anonymiser",), face_detector_interval=9, faces=(1,))
    assert (kept.face_detector_interval, kept.faces) == (9, (1,))
    assert kept.face_detector_score == cautious["face_detector_score"]
    (tmp_path / "map.toml").write_text('[[person]]\ntrack = 0\nprocessors = ["face_anonymiser"]\n')
    mapped = Recipe(face_map_path=tmp_path / "map.toml")
    assert mapped.face_detector_score == Recipe().face_detector_score
    assert {name: getattr(settled(mapped), name) for name in cautious} == cautious
    own = Recipe(face_map_path=tmp_path / "map.toml", face_detector_score=0.7)
    assert settled(own).face_detector_score == 0.7


@pytest.mark.parametrize("words", ["processors = []", "step = []", 'processors = ["face_swapper"]\nstep = [{}]'])
def test_a_person_without_a_processor_is_refused(words, tmp_path: Path):
    (tmp_path / "map.toml").write_text(f"[[person]]\ntrack = 0\n{words}\n")
    with pytest.raises(RecipeError, match="person 0"):
        load_face_map(tmp_path / "map.toml", Recipe())


def test_a_person_may_have_steps_of_their_own(tmp_path: Path):
    (tmp_path / "map.toml").write_text(
        '[[person]]\ntrack = 0\n[[person.step]]\nprocessor = "face_enhancer"\nblend = 11\n'
        '[[person.step]]\nprocessor = "face_enhancer"\nweight = 0.25\n'
        '[[person]]\ntrack = 1\nsources = ["a.jpg"]\n'
    )
    recipe = build_recipe({"processors": ["face_swapper"], "face_enhancer_blend": 60})
    one, other = load_face_map(tmp_path / "map.toml", recipe)
    assert [(step.options.blend, step.options.weight) for step in one.steps] == [(11, 0.5), (60, 0.25)]
    assert other.steps == recipe.steps
    planned = recipe.model_copy(update={"people": (one, other)})
    assert build_recipe(planned.model_dump(mode="json")).people == (one, other)
    (tmp_path / "map.toml").write_text(
        '[[person]]\ntrack = 0\n[[person.step]]\nprocessor = "face_enhancer"\nblnd = 1\n'
    )
    with pytest.raises(UnknownOption, match="blnd"):
        load_face_map(tmp_path / "map.toml", recipe)


def test_steps_on_whole_frames_are_nobodys_own(install, tmp_path: Path):
    install("grey_frame", code_of("grey_frame", "frame", required="needs=frozenset()"), grey_frame="grey_frame:SPEC")
    recipe = Recipe(processors=("face_swapper", "grey_frame"))
    (tmp_path / "map.toml").write_text("[[person]]\ntrack = 0\n")
    (person,) = load_face_map(tmp_path / "map.toml", recipe)
    assert person.processors == ("face_swapper",)
    (tmp_path / "map.toml").write_text('[[person]]\ntrack = 0\nprocessors = ["grey_frame"]\n')
    with pytest.raises(RecipeError, match="grey_frame changes whole frames"):
        load_face_map(tmp_path / "map.toml", recipe)


def test_what_is_left_open_is_decided_once_for_all_steps(install, tmp_path: Path):
    code = code_of("lucky_frame", "frame", "seed: int | None = option(None, 'number')", "needs=frozenset()")
    code = code.replace(
        "class O(Options):", "class O(Options):\n    def decided(self): return O(seed=self.seed or 7)\n"
    )
    install("lucky_frame", code, lucky_frame="lucky_frame:SPEC")
    (tmp_path / "map.toml").write_text("[[person]]\ntrack = 0\n")
    for face_map in (None, tmp_path / "map.toml"):
        recipe = decided(Recipe(processors=("face_swapper", "lucky_frame"), face_map_path=face_map))
        assert recipe.steps[1].options.seed == 7
    seeds = {decided(Recipe(processors=("face_anonymiser",))).steps[0].options.seed for _ in range(3)}
    assert len(seeds) == 3
    kept = decided(Recipe(steps=[Step("face_anonymiser", seed=5)]))
    assert kept.steps[0].options.seed == 5


def test_drafts_keep_the_options_of_processors(tmp_path: Path):
    drafts = Drafts(tmp_path)
    drafts.create("film")
    given = {
        "target_path": "a.mp4",
        "output_path": "b.mp4",
        "processors": ["face_enhancer"],
        "face_enhancer_blend": "33",
    }
    drafts.edit("film", "add", "", given)
    drafts.edit("film", "add", "", {"target_path": "a.mp4", "output_path": "c.mp4", "face_anonymiser_seed": "4"})
    (found,), _ = drafts.list()
    first, second = (build_recipe(dict(step)) for step in found.steps)
    assert first.steps == (Step("face_enhancer", blend=33),)
    assert second.steps == Recipe().steps
    assert second.step_of("face_anonymiser").options.seed == 4


def test_a_processor_of_others_brings_its_options_everywhere(install, tmp_path: Path):
    code = code_of(
        "tv_noise", options="amount: int = option(1, 'how much', ge=0)\n    colours: tuple[str, ...] = option((), 'c')"
    )
    install("tv_noise", code, tv_noise="tv_noise:SPEC")
    assert "tv_noise" in processor_names()
    assert flags_of("tv_noise_amount") == ("--tv-noise-amount",)
    recipe = build_recipe({"processors": "tv_noise", "tv_noise_amount": "3"})
    assert recipe.steps[0].options.amount == 3
    given = load(tmp_path, {}, {"FACEFUSION_PROCESSORS": "tv_noise", "FACEFUSION_TV_NOISE_COLOURS": "red green"})
    assert given.steps[0].options.colours == ("red", "green")
    with pytest.raises(RecipeError, match="tv_noise_amount"):
        build_recipe({"tv_noise_amount": -1})


BROKEN = {
    "no_module": "raise RuntimeError('no such library')",
    "no_spec": "SPEC = 3",
    "other_name": code_of("elsewhere"),
    "no_options": "from facefusion.declaration import ProcessorSpec, Requirements\n"
    "SPEC = ProcessorSpec('no_options', 'face', dict, lambda o: Requirements(), 'a:b')",
    "face_detector": code_of("face_detector", options="size: int = option(1, 'x')"),
    "face_mask": code_of("face_mask", options="types: str = option('a', 'x')"),
    "wants_name": code_of("wants_name", options="processor: str = option('a', 'x')"),
    "no_default": code_of("no_default", options="amount: int"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_package_is_named_and_the_others_go_on(name, install):
    before = dict(known_options())
    install(name, BROKEN[name], **{name: f"{name}:SPEC"})
    assert set(known_options()) == set(before)
    assert Recipe(processors=("face_swapper",)).processors == ("face_swapper",)
    with pytest.raises(ProcessorRefused, match=rf"{name} 1\.0"):
        Step(name)
    (line,) = [line for line in list_processors() if line.name == name]
    assert line.package == f"{name} 1.0"
    assert line.problem


def test_two_packages_that_bring_one_name_are_both_named(install):
    install("first_one", code_of("twin"), twin="first_one:SPEC")
    install("second_one", code_of("twin"), twin="second_one:SPEC")
    with pytest.raises(ProcessorRefused, match=r"second_one 1\.0, first_one 1\.0|first_one 1\.0, second_one 1\.0"):
        Step("twin")


def test_a_declaration_that_raises_is_told_with_its_package(install):
    code = code_of("picky").replace("lambda options: Requirements()", "lambda options: 1 / 0")
    install("picky", code, picky="picky:SPEC")
    with pytest.raises(ProcessorRefused, match=r"'picky' \(picky 1\.0\) does not work: ZeroDivisionError"):
        Recipe(processors=("picky",))
    with pytest.raises(ProcessorRefused, match="cannot be loaded"):
        find_processor("picky").load()


RAISING = """
class Raising:
    crop_shape, needs, covers_fully = None, frozenset(), False
    def prepare(self, sources):
        pass
    def process(self, crops):
        return crops[0].nothing
    def read(self, start, stop):
        yield start
        raise KeyError(stop)

def build(context):
    if context.options.amount > 8:
        raise OSError("no device")
    return Raising()
"""


def test_what_a_processor_of_others_raises_is_told_as_its_own(install):
    install("rough", code_of("rough") + RAISING, rough="rough:SPEC")
    with pytest.raises(ProcessorRefused, match=r"'rough' of the package rough 1\.0 has failed: OSError: no device"):
        build_processor(Step("rough", amount=9), EngineContext(Recipe()))
    processor = build_processor(Step("rough"), EngineContext(Recipe()))
    processor.prepare(None)
    with pytest.raises(ProcessorRefused, match=r"AttributeError.*\(rough\.py, line \d+\)"):
        processor.process([3])
    frames = processor.read(0, 2)
    assert next(frames) == 0
    with pytest.raises(ProcessorRefused, match="KeyError: 2"):
        next(frames)


def test_what_others_mark_as_default_does_not_take_the_place_of_ours(install):
    ours = default_processors()
    code = code_of("aaa_first").replace('"does nothing")', '"does nothing", is_default=True)')
    install("aaa_first", code, aaa_first="aaa_first:SPEC")
    assert find_processor("aaa_first").is_default
    assert default_processors() == ours == Recipe().processors
    assert len(ours) == 1


def test_requirements_of_several_steps_are_their_union():
    one = Requirements(halo=2, needs=frozenset(), cautious={"a": 1})
    other = Requirements(halo=1, needs=frozenset({Need.FACES}), is_protective=True, join="poisson")
    both = union([one, other])
    assert (both.halo, both.needs, both.is_protective, both.join) == (2, {Need.FACES}, True, "poisson")
    assert both.cautious == {"a": 1}
    assert union([]).needs == frozenset()


def test_declarations_and_help_import_nothing_heavy():
    for entries in declaration._entries().values():
        check_is_light(entries[0].value)
    code = (
        "import sys\nfrom facefusion.apps.cli import main\n"
        "try:\n    main(['run', '--help-all'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--face-swapper-blend" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded"
    with pytest.raises(Nonconforming, match="imports numpy"):
        check_is_light("facefusion.types.frame:Frame")


def test_what_is_shown_of_a_processor_is_what_it_declares():
    from facefusion.models.store import ModelStore

    view = show_processor("face_enhancer", ModelStore())
    by_name = {option.name: option for option in view.options}
    assert (by_name["blend"].type, by_name["blend"].range, by_name["blend"].default) == (
        "whole number",
        "≥ 0, ≤ 100",
        80,
    )
    assert by_name["blend"].variable == "FACEFUSION_FACE_ENHANCER_BLEND"
    assert by_name["blend"].flag in flags_of("face_enhancer_blend")
    assert {model.place for model in view.models} <= {"built in", "here", "not here"}
    assert any(model.name == "gfpgan_1.4" and model.licence for model in view.models)
    json.dumps(view.as_dict())


def test_the_recipe_module_reserves_its_own_names():
    assert set(Recipe.model_fields) <= declaration._reserved
    assert set(setting_fields()) <= declaration._reserved
    assert recipes.INNER == ("steps", "presets", "people", "decisions")


def test_a_part_of_a_name_finds_those_that_are_made_of_it():
    known = ["face_enhancer_blend", "face_swapper_blend", "end", *(f"face_mask_{k}" for k in range(9))]
    assert suggest("blend", known) == "Did you mean 'face_enhancer_blend' or 'face_swapper_blend'?"
    assert suggest("ends", known) == "Did you mean 'end'?"
    assert suggest("nonsense", ["consent", "end"]) == "Known: consent, end."
    assert suggest("mask", known).endswith(" or 'face_mask_4', or another of them?")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("trim-start", "start"),
        ("trim-end", "end"),
        ("begin", "start"),
        ("to", "end"),
        ("start-frame", "trim_frame_start"),
        ("out", "output"),
        ("input", "target"),
        ("source-path", "source"),
        ("gpu", "execution_providers"),
    ],
)
def test_what_others_call_an_option_finds_ours(written, meant):
    known = ["start", "end", "trim_frame_start", "trim_frame_end", "source", "source_paths", "target", "output"]
    assert suggest(written, [*known, "execution_providers", "output_image_scale"]) == f"Did you mean '{meant}'?"


def test_what_others_call_an_option_is_one_that_is_there():
    options = {*known_options(), *setting_fields(), "config_path", "log_level"}
    for ours, written in declaration.MEANT.items():
        assert options.intersection(ours), ours
        assert not options.intersection(written), written
    words = [word for written in declaration.MEANT.values() for word in written]
    assert len(words) == len(set(words))
    assert suggest("source", ["source_pattern", "target_pattern"]) == "Did you mean 'source_pattern'?"
