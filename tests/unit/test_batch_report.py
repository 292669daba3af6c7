"""One page for all files of a batch: what has to be looked at first, and the way to each file's own page."""

import json
import re
from pathlib import Path

import pytest

from facefusion.errors import OutputRefused, RecipeError
from facefusion.metrics.batch_page import BatchEntry, batch_values, entry_of, render_batch, verdict_of_batch
from facefusion.recipe import build_recipe
from facefusion.service.batch import BatchStep, fill, plan_batch, report_of
from facefusion.service.batch_report import save_batch_report


def reviewed(is_clear, *areas, openings=0):
    told = [{"what": what, "certainty": how, "decision": decision} for what, how, decision in areas]
    review = {
        "verdict": "Nobody is known to be missed." if is_clear else "Somebody may be missed.",
        "nobody_known_to_be_missed": is_clear, "areas": told, "openings": [{}] * openings,
        "evidence": {"target_sha256": "aa", "output_sha256": "bb"},
    }  # fmt: skip
    return {"review": review}


def entry(name, status="done", is_clear=None, **more):
    return BatchEntry(name, f"out/{name}", status, is_clear=is_clear, **more)


def test_an_entry_counts_what_its_review_says():
    areas = [
        ("hidden", "sure", ""), ("hidden", "unsure", ""), ("hidden", "unsure", "face"), ("left", "unlikely", ""),
        ("exempt", "sure", ""),
    ]  # fmt: skip
    one = entry_of(reviewed(False, *areas, openings=2), target="a", output="b", status="done")
    assert (one.sure, one.doubtful, one.left, one.exempt, one.openings) == (1, 1, 1, 1, 2)
    assert (one.is_clear, one.target_sha256, one.output_sha256) == (False, "aa", "bb")
    assert entry_of({"rows": []}, target="a", output="b", status="done").is_clear is None


@pytest.mark.parametrize(
    ("entries", "is_clear", "words"),
    [
        ([entry("a", is_clear=True)], True, "Nobody is known to be missed in 1 of 1 file."),
        ([entry("a", is_clear=True), entry("b", "skipped", True)], True, "in 2 of 2 files."),
        ([entry("a", is_clear=True), entry("b", is_clear=False)], False, "in 1 file somebody may be missed"),
        ([entry("a", is_clear=True), entry("b", "failed")], False, "1 file failed"),
        ([entry("a", is_clear=True), entry("b", "left")], False, "1 file was not tried"),
        ([entry("a", is_clear=True), entry("b")], False, "of 1 file nothing is known"),
        ([entry("a"), entry("b")], True, "2 of 2 files are there."),
        ([entry("a", "failed")], False, "1 file failed"),
    ],
)
def test_the_verdict_of_a_batch_is_clear_only_where_every_file_is(entries, is_clear, words):
    assert verdict_of_batch(entries)[0] is is_clear
    assert words in verdict_of_batch(entries)[1]
    assert batch_values(entries)["nobody_known_to_be_missed"] is is_clear


def test_the_page_puts_first_what_has_to_be_looked_at_and_writes_names_as_text():
    entries = [
        entry("clear.jpg", is_clear=True, page="clear.html", sure=3),
        entry("<doubt>.jpg", is_clear=False, page="a%20b.html", doubtful=2),
        entry("broken.jpg", "failed", said="it is <damaged>"),
    ]
    page = render_batch(entries)
    places = [page.index(name) for name in ("broken.jpg", "&lt;doubt&gt;.jpg", "clear.jpg")]
    assert places == sorted(places)
    assert 'href="a%20b.html"' in page and "it is &lt;damaged&gt;" in page and "<doubt>" not in page
    assert "was anyone missed" in page and "was anyone missed" not in render_batch([entry("a")])


@pytest.fixture
def batch(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/one.jpg", "in/deep/two ü.jpg", "in/three.jpg"):
        (tmp_path / name).write_bytes(b"")
    recipe = build_recipe({"processors": ["face_anonymiser"], "report_path": tmp_path / "out" / "all.html"})
    return recipe, plan_batch(recipe, "", str(tmp_path / "in"), str(tmp_path / "out"))


def test_reports_of_runs_lie_beside_their_outputs_and_the_batch_has_its_own(batch, tmp_path):
    recipe, planned = batch
    own = [run.recipe(recipe).report_path for run in planned.runs]
    assert own == [report_of(run.output, recipe.report_path).absolute() for run in planned.runs]
    assert len({*own, recipe.report_path}) == 4
    told = {}
    for run, is_clear in zip(planned.runs, (True, False, None), strict=True):
        told[run.target.name] = run
        if is_clear is not None:
            page = report_of(run.output, recipe.report_path)
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text("a page")
            page.with_suffix(".json").write_text(json.dumps(reviewed(is_clear, ("hidden", "sure", ""))))
    steps = [BatchStep(planned.runs[0], "begun"), BatchStep(planned.runs[0], "done")]
    steps += [BatchStep(planned.runs[1], "skipped"), BatchStep(planned.runs[2], "failed", error=RecipeError("no."))]
    save_batch_report(recipe.report_path, planned, steps)
    values = json.loads((tmp_path / "out" / "all.json").read_text())
    assert [one["status"] for one in values["files"]] == ["done", "skipped", "failed"]
    assert [one["is_clear"] for one in values["files"]] == [True, False, None]
    assert values["files"][2]["said"] == "no."
    page = recipe.report_path.read_text()
    for one in values["files"][:2]:
        assert f'href="{one["page"]}"' in page
    assert {Path(one["page"]).name for one in values["files"][:2]} <= {
        "one.jpg.report.html", "three.jpg.report.html", "two%20%C3%BC.jpg.report.html",
    }  # fmt: skip


def test_a_run_that_was_not_tried_and_a_damaged_report_are_told_as_unknown(batch, tmp_path):
    recipe, planned = batch
    own = report_of(planned.runs[0].output, recipe.report_path)
    own.parent.mkdir(parents=True)
    own.with_suffix(".json").write_text("{")
    save_batch_report(recipe.report_path, planned, [BatchStep(planned.runs[0], "done")])
    values = json.loads((tmp_path / "out" / "all.json").read_text())
    assert [(one["status"], one["is_clear"]) for one in values["files"]] == [
        ("done", None),
        ("left", None),
        ("left", None),
    ]
    assert not values["nobody_known_to_be_missed"]


@pytest.mark.parametrize("name", ["in/one.jpg", "out/one.jpg", "out/one.jpg.report.json"])
def test_a_batchs_report_never_goes_over_a_file_of_its_runs(batch, tmp_path, name):
    recipe = batch[0].model_copy(update={"report_path": tmp_path / name})
    with pytest.raises(OutputRefused, match="would be written over"):
        plan_batch(recipe, "", str(tmp_path / "in"), str(tmp_path / "out"))


def test_figures_alone_are_one_json_file(batch, tmp_path):
    recipe, planned = batch
    save_batch_report(tmp_path / "all.json", planned, [])
    assert json.loads((tmp_path / "all.json").read_text())["files"][0]["status"] == "left"
    assert not (tmp_path / "all.html").exists()


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("b/{target_name", "has a brace without the other"),
        ("b/}", "has a brace without the other"),
        ("{nobody}.mp4", "has a field that there is not: {nobody}."),
        ("{}.mp4", "has a field that there is not: {}."),
        ("{index!r}.mp4", "has a field that there is not: {index!r}."),
        ("{index:x}.mp4", "has a field that there is not: {index:x}."),
        ("{target_name:3}.mp4", "has a field that there is not: {target_name:3}."),
    ],
)
def test_a_pattern_that_means_nothing_says_what_of_it(pattern, said):
    with pytest.raises(RecipeError, match=re.escape(f"The name '{pattern}' for outputs {said}")) as refused:
        fill(pattern, {})
    assert "Fields: {" in refused.value.hint


def test_a_pattern_has_fields_and_braces():
    assert fill("{{{index:03d}}}-{target_name}", {"index": 7, "target_name": "a"}) == "{007}-a"
