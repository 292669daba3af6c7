"""Every command, found by walking the parsers: with --json it prints the service's values, and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tests.graphs import inverting

from facefusion.apps import cli
from facefusion.apps.backends import site_policy
from facefusion.apps.cli import _command_parser
from facefusion.apps.show import Show
from facefusion.errors import RecipeError
from facefusion.jobs.ledger import Ledger
from facefusion.media.image import read_photo
from facefusion.models.store import ModelStore
from facefusion.pipeline.clip import read_clip
from facefusion.pipeline.runner import analyse_target
from facefusion.pipeline.still import find_frame
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import build_recipe
from facefusion.server.access import KeyList, KeyView
from facefusion.server.config import ServerConfig
from facefusion.service import consent, passes, plugins, sources
from facefusion.service.backend import Backend
from facefusion.service.doctor import examine
from facefusion.service.drafts import DraftList, Drafts
from facefusion.service.export import export
from facefusion.service.jobs import Jobs
from facefusion.service.measure import measure
from facefusion.service.models import ModelList, Models
from facefusion.service.own_models import FolderChecked
from facefusion.service.previews import AROUND, Previews
from facefusion.service.provenance import verify_file
from facefusion.service.values import Finished, Told
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path
from facefusion.types.track import Tracks

pytestmark = pytest.mark.filterwarnings("ignore::facefusion.models.store.UnknownHashWarning")

SOURCE, PHOTO, CLIP = (str(sample_path(name)) for name in ("source.jpg", "target.jpg", "target.mp4"))
NEWS = ("progress", "bytes", "message", "note", "error")
"""Events that tell of the way, not of what came of it."""
HOMES = ("facefusion.service.", "facefusion.plugins.listing", "facefusion.jobs.sweep", "facefusion.server.")
WITHOUT = {
    ("worker",): "works until it is told to leave, and needs a broker; tests/e2e/test_cluster.py starts some",
    ("serve",): "serves until it is told to stop; tests/integration/test_rest_jobs.py starts some",
    ("models", "fetch"): "goes to the network but for models that ship; tests/integration/test_fetch_and_bundles.py",
}
"""Leaves whose answers are not asked for here, and why."""


def call(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


def find_leaves():
    """Every command with every action of it."""
    leaves = []
    for command in (*cli._COMMANDS, *cli._DRAFT_ACTIONS):
        parser = _command_parser(command)
        choices = [action.choices for action in parser._actions if action.dest == "action"]
        leaves += [(command, name) for name in choices[0]] if choices else [(command,)]
    return leaves


def entered(ref):
    """A consent of that reference."""
    consent.add_consent(site_policy(), ref, [Path(PHOTO)], person=ref.title())
    return ref


def own_graph(*said):
    """A model of one's own; with what is said of it in a folder that is whole."""
    Path("own").mkdir(exist_ok=True)
    Path("own", "mine.onnx").write_bytes(inverting(64))
    if said:
        assert call("models", "new", "own/mine.onnx", "--family", "restoration", *said, "--quiet") == 0
    return "own" if said else "own/mine.onnx"


def blocked():
    """Id of somebody on the blocklist."""
    return consent.block(site_policy(), [Path(SOURCE)]).id


@pytest.fixture
def told(monkeypatch):
    """Values that were shown, with the names of their events."""
    values = []
    answer = Show.answer

    def noted(self, event, value, text, is_news=False):
        values.append((event, value))
        answer(self, event, value, text, is_news)

    monkeypatch.setattr(Show, "answer", noted)
    return values


@pytest.fixture(scope="module")
def tracks_file(tmp_path_factory, few_frames):
    path = tmp_path_factory.mktemp("tracks") / "clip.tracks"
    analyse_target(build_recipe({"target_path": few_frames})).save(path)
    return path


@pytest.fixture
def folder(tmp_path, few_frames, tracks_file, monkeypatch):
    """A folder with two clips, tracks of them, and keys of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("clip.mp4", "other.mp4"):
        Path(name).write_bytes(few_frames.read_bytes())
    Path("clip.tracks").write_bytes(tracks_file.read_bytes())
    return tmp_path


@pytest.fixture
def room(folder, capsys, told):
    """And one job that is done, and one that is not begun."""
    assert call("run", "-s", SOURCE, "-t", PHOTO, "-o", "done.png", "--quiet") == 0
    with jobs_here() as jobs:
        recipe = {"source_paths": [SOURCE], "target_path": "other.mp4", "output_path": "later.mp4"}
        jobs.submit(build_recipe(recipe))
    capsys.readouterr()
    told.clear()
    return folder


def draft_some():
    """Drafts: one with a step, one that is submitted, one with nothing in it."""
    step = {"source_paths": (SOURCE,), "target_path": PHOTO}
    for name, count in (("drafted", 1), ("queued", 1), ("empty", 0)):
        drafts_here().create(name)
        for _ in range(count):
            drafts_here().edit(name, "add", "", {**step, "output_path": f"{name}.png"})
    drafts_here().submit("queued")


def jobs_here(policy=NO_POLICY):
    return Jobs(Backend(Path(os.environ["FACEFUSION_JOBS_PATH"]), policy=policy))


def drafts_here():
    return Drafts(Path(os.environ["FACEFUSION_JOBS_PATH"]) / "drafts")


def id_of(status):
    with jobs_here() as jobs:
        return jobs.list(statuses=[status]).jobs[0].id


def show_job(job_id):
    with jobs_here() as jobs:
        return Told(jobs.show(job_id), jobs.history(job_id)[-20:])


def key_id():
    """A key of the tenant 'film', made when there is none."""
    if not list_keys().keys:
        assert call("keys", "create", *NEW_KEY) == 0
    return list_keys().keys[0].id


def list_keys():
    backend = Backend(Path(os.environ["FACEFUSION_JOBS_PATH"]))
    with contextlib.closing(Ledger(ServerConfig(backend).store_url)) as ledger:
        return KeyList(tuple(KeyView.of(key, ledger.now()) for key in ledger.list_keys("")))


def ask(function):
    with jobs_here() as jobs:
        return function(jobs)


NEW_KEY = ("--tenant", "film", "--scopes", "jobs:read")
SWAP = ("-s", SOURCE, "-t", PHOTO, "-o", "o.png")
RECIPE = {"source_paths": [SOURCE], "target_path": "clip.mp4"}
LEAVES = {
    ("run",): (lambda: SWAP, "done", None),
    ("headless-run",): (lambda: SWAP, "done", None),
    ("batch-run",): (lambda: ("-s", SOURCE, "-t", "*.mp4", "-o", "out/{target_name}.mp4"), "batch done", None),
    ("analyse",): (lambda: ("-t", "clip.mp4", "-o", "o.tracks"), "analysed", None),
    ("render",): (lambda: ("--tracks", "clip.tracks", "-s", SOURCE, "-t", "clip.mp4", "-o", "o.mp4"), "done", None),
    ("people",): (lambda: ("-t", "clip.mp4", "--tracks", "clip.tracks", "-o", "o.png"), "people", None),
    ("export",): (lambda: ("clip.tracks", "--format", "mot"), "exported",
                  lambda: export(Tracks.load(Path("clip.tracks")), Path("clip.txt"), "mot")),
    ("report",): (lambda: ("-t", "clip.mp4", "-o", "other.mp4", "--tracks", "clip.tracks"), "measured",
                  lambda: measure(build_recipe({"target_path": Path("clip.mp4").absolute()}),
                                  Path("other.mp4").absolute(), Tracks.load(Path("clip.tracks")))),
    ("preview",): (lambda: ("-s", SOURCE, "-t", "clip.mp4", "-o", "o.png", "--compare"), "preview", None),
    ("live",): (
        lambda: ("-s", SOURCE, "-o", "o.mkv", "--camera", f"movie={CLIP}", "--camera-format", "lavfi",
                 "--seconds", "0.2", "--every-frame"),
        "recorded", None,
    ),
    ("jobs", "list"): (lambda: ("--limit", "1"), "jobs", lambda: ask(lambda jobs: jobs.list(1))),
    ("jobs", "show"): (lambda: (id_of("queued"),), "job", lambda: show_job(id_of("queued"))),
    ("jobs", "resume"): (lambda: (id_of("queued"),), "done", None),
    ("jobs", "cancel"): (lambda: (id_of("queued"),), "job", lambda: ask(lambda jobs: jobs.show(id_of("cancelled")))),
    ("jobs", "retry"): (lambda: (id_of("queued"),), "done", None),
    ("jobs", "delete"): (lambda: (id_of("queued"),), "deleted", None),
    ("jobs", "report"): (lambda: (id_of("done"),), "job", lambda: ask(lambda jobs: jobs.show(id_of("done")))),
    ("jobs", "sweep"): (lambda: (), "swept", None),
    ("jobs", "preview"): (lambda: (id_of("queued"), "--at", "0.04", "-o", "o.png"), "preview", None),
    ("models", "list"): (lambda: (), "models", lambda: ModelList(Models().list())),
    ("models", "show"): (
        lambda: ("face_detector_embedded",), "model", lambda: Models().show("face_detector_embedded"),
    ),
    ("models", "verify"): (
        lambda: ("face_detector_embedded",), "verified", lambda: next(Models().verify(["face_detector_embedded"])),
    ),
    ("models", "pin"): (lambda: ("gfpgan_1.4", "--models-path", "zoo"), "pinned", None),
    ("models", "import"): (lambda: ("zoo",), "imported", None),
    ("models", "export"): (lambda: ("c.ffbundle", "face_detector_embedded"), "exported", None),
    ("models", "key"): (lambda: (), "key", None),
    ("models", "new"): (lambda: (own_graph(), "--family", "restoration", "--force"), "drafted", None),
    ("models", "check"): (
        lambda: (own_graph("--licence", "MIT", "--licence-source", "me", "--commercial", "yes"),), "checked",
        lambda: FolderChecked("own", 1, 0, 0, 0),
    ),
    ("models", "bench"): (lambda: ("face_landmarker_embedded",), "advice", None),
    ("processors", "list"): (lambda: (), "processors", plugins.list_processors),
    ("processors", "show"): (
        lambda: ("face-swapper",), "processor", lambda: next(plugins.show_processors(["face_swapper"], Models())),
    ),
    ("plugins", "check"): (
        lambda: ("dis",), "checked",
        lambda: plugins.CheckCounts.of(list(plugins.check_plugins(["dis"], build_recipe({})))),
    ),
    ("source", "inspect"): (
        lambda: (SOURCE, PHOTO), "source",
        lambda: sources.inspect_sources("face_swapper", [Path(SOURCE), Path(PHOTO)], build_recipe({})),
    ),
    ("keys", "create"): (lambda: NEW_KEY, "key", None),  # a secret is shown once
    ("keys", "list"): (lambda: (), "keys", lambda: list_keys()),
    ("keys", "rotate"): (lambda: (key_id(),), "key", None),
    ("keys", "revoke"): (lambda: (key_id(),), "key", lambda: list_keys().keys[0]),
    ("consent", "add"): (lambda: ("anna", SOURCE, "--person", "Anna"), "consent", None),  # once
    ("consent", "list"): (lambda: (), "consents", lambda: consent.list_consents(site_policy())),
    ("consent", "show"): (lambda: (entered("tom"),), "consent", lambda: consent.show_consent(site_policy(), "tom")),
    ("consent", "revoke"): (lambda: (entered("eve"),), "consent", None),  # once
    ("consent", "check"): (
        lambda: (PHOTO,), "checked", lambda: next(iter(consent.check_photos(site_policy(), [Path(PHOTO)]))),
    ),
    ("blocklist", "add"): (lambda: (PHOTO,), "blocked", None),  # another id each time
    ("blocklist", "list"): (lambda: (), "blocklist", lambda: consent.list_blocked(site_policy())),
    ("blocklist", "remove"): (lambda: (blocked(),), "unblocked", None),
    ("verify",): (lambda: (SOURCE, CLIP), "provenance", lambda: verify_file(Path(CLIP))),
    ("doctor",): (lambda: (), "doctor", lambda: examine(Models(), backend=jobs_here().backend)),
    ("job-list",): (lambda: (), "drafts", lambda: DraftList(drafts_here().list()[0])),
    ("job-create",): (lambda: ("new",), "draft", lambda: drafts_here().load("new")),
    ("job-submit",): (lambda: ("drafted",), "draft", lambda: drafts_here().load("drafted")),
    ("job-submit-all",): (lambda: (), "", None),  # 'empty' cannot be submitted, and says so
    ("job-delete",): (lambda: ("empty",), "deleted", None),
    ("job-delete-all",): (lambda: (), "deleted", None),
    ("job-add-step",): (lambda: ("empty", *SWAP), "draft", lambda: drafts_here().load("empty")),
    ("job-remix-step",): (lambda: ("drafted", "0", "-s", SOURCE, "-o", "p.png"), "draft",
                          lambda: drafts_here().load("drafted")),
    ("job-insert-step",): (lambda: ("drafted", "0", *SWAP), "draft", lambda: drafts_here().load("drafted")),
    ("job-remove-step",): (lambda: ("drafted", "0"), "draft", lambda: drafts_here().load("drafted")),
    ("job-run",): (lambda: ("queued",), "draft", lambda: drafts_here().load("queued")),
    ("job-run-all",): (lambda: (), "draft", lambda: drafts_here().load("queued")),
    ("job-retry",): (lambda: ("queued",), "draft", lambda: drafts_here().load("queued")),
    ("job-retry-all",): (lambda: (), "", None),  # none has failed
}  # fmt: skip
"""What is said to every leaf, the event of its answer, and the service's own value where that can be had again."""
REFUSED = {("job-submit-all",): 8}
SAYS = {("verify",): 13}
"""Leaves whose exit code is their answer."""
"""Leaves that are asked for something that they refuse: that is told as an event too."""


def test_every_command_has_json_and_its_place_in_this_list():
    assert set(find_leaves()) == {*LEAVES, *WITHOUT}
    for command, *_ in find_leaves():
        flags = [flag for action in _command_parser(command)._actions for flag in action.option_strings]
        assert "--json" in flags, command
    assert all(reason for reason in WITHOUT.values())


@pytest.mark.parametrize("leaf", LEAVES, ids=" ".join)
def test_json_prints_the_values_of_the_service_and_nothing_else(leaf, request, told, capsys):
    words, event, value_of = LEAVES[leaf]
    request.getfixturevalue("room" if leaf[0] == "jobs" else "folder")
    if leaf[0].startswith("job-"):
        draft_some()
    if leaf in (("models", "pin"), ("models", "import")):
        Path("zoo").mkdir()
        Path("zoo", "gfpgan_1.4.onnx").write_bytes(inverting(512))
    if leaf == ("job-retry",):
        drafts_here().save(dataclasses.replace(drafts_here().load("queued"), status="failed"))
    said = words()
    capsys.readouterr()
    told.clear()
    assert call(*leaf, *said, "--json") == {**REFUSED, **SAYS}.get(leaf, 0)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answers = [one for one in printed if one["event"] not in NEWS]
    assert answers == [json.loads(json.dumps({"event": name, **value.as_dict()})) for name, value in told]
    for _, value in told:
        assert dataclasses.is_dataclass(value) and type(value).__dataclass_params__.frozen, value
        home = type(value).__module__
        assert home.startswith(HOMES), home
    if leaf in REFUSED:
        assert printed[-1]["event"] == "error"
    if not event:
        return
    assert answers[-1]["event"] == event
    if value_of is not None:
        assert answers[-1] == json.loads(json.dumps({"event": event, **value_of().as_dict()}))


def test_options_in_force_are_values_too(folder, told, capsys):
    assert call("run", "--faces", "all", "--show-config", "--json") == 0
    (printed,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    options = {one["name"]: one for one in printed["options"]}
    assert options["faces"] == {"step": "", "name": "faces", "value": "all", "origin": "command line"}
    assert options["face_swapper_model"]["step"] == "face_swapper"
    assert options["jobs_path"]["origin"] == "FACEFUSION_JOBS_PATH"


def test_what_is_told_of_a_run_is_true(folder, told, capsys):
    """Once the time of the first pass was 0.0 for every clip."""
    assert call("run", "-s", SOURCE, "-t", "clip.mp4", "-o", "o.mp4", "--json") == 0
    ((_, submitted), (_, done)) = told
    assert submitted.job.status == "queued"
    assert isinstance(done, Finished)
    assert done.analyse_s > 0 and done.render_s > 0
    assert done.frames_per_s == pytest.approx(5 / (done.analyse_s + done.render_s), abs=0.02)
    assert (done.frames, done.changed_frames, done.faces) == (5, 5, 1)
    assert Path(done.output) == folder / "o.mp4"
    capsys.readouterr()
    told.clear()
    assert call("analyse", "-t", "clip.mp4", "-o", "o.tracks", "--json") == 0
    ((_, seen),) = told
    tracks = Tracks.load(folder / "o.tracks")
    assert (seen.frames, seen.shots) == (len(tracks.pts), len(tracks.cuts)) == (5, 1)
    ((person),) = seen.people
    assert (person.person, person.tracks, person.frames, person.side) == (0, (0,), 5, "middle")
    assert [(one.start_s, one.stop_s, one.track) for one in person.stretches] == [(0.0, 0.2, 0)]
    assert person.size_px == pytest.approx(np.median(np.ptp(tracks.tracks[0].meshes[:, :, 1], axis=1)), abs=1)
    assert seen.analyse_s > 0 and seen.format == "tracks"


# Pages of jobs


def test_jobs_are_listed_a_page_at_a_time(room, capsys):
    with jobs_here() as jobs:
        for k in range(3):
            options = {"source_paths": [SOURCE], "target_path": "clip.mp4", "output_path": f"p{k}.mp4"}
            jobs.submit(build_recipe(options))
        every = [job.id for job in jobs.iter_all()]
    seen, after = [], []
    while True:
        assert call("jobs", "list", "--limit", "2", *after, "--json") == 0
        page = json.loads(capsys.readouterr().out)
        seen.append([job["id"] for job in page["jobs"]])
        if not page["cursor"]:
            break
        after = ["--after", page["cursor"]]
    assert seen == [every[:2], every[2:4], every[4:]]
    assert call("jobs", "list", "--limit", "2") == 0
    assert "There are more: add --after" in capsys.readouterr().out
    assert call("jobs", "list", "--status", "done", "--json") == 0
    assert [job["status"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["done"]
    assert call("jobs", "list", "--json") == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == every
    for words in (("--limit", "-1"), ("--limit", "501"), ("--after", "x"), ("--status", "fine")):
        assert call("jobs", "list", *words) == 2
        capsys.readouterr()


# Previews


def test_a_preview_of_any_recipe_is_the_frame_that_the_run_writes(folder, capsys, monkeypatch):
    """But for the invisible mark: it says which job it is of, and a preview is of none."""
    monkeypatch.setenv("FACEFUSION_WATERMARK", "off")
    words = ("-s", SOURCE, "-t", "clip.mp4", "--at", "0.08")
    assert call("preview", *words, "-o", "p.png", "--tracks", "clip.tracks", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["time_s"], made["is_changed"], made["notes"]) == (0.08, True, [])
    assert call("preview", *words, "-o", "both.png", "--tracks", "clip.tracks", "--compare", "--quiet") == 0
    one, both = (read_photo(folder / name).pixels for name in ("p.png", "both.png"))
    np.testing.assert_array_equal(both[:, -one.shape[1] :], one)
    with jobs_here(SitePolicy(is_marked=False)) as jobs:
        recipe = build_recipe({**RECIPE, "output_path": "q.mp4"})
        previews = Previews(policy=SitePolicy(is_marked=False))
        previews.learn(recipe)
        exact = previews.of_job(jobs.local, jobs.submit(recipe).job.id, 0.08)
    np.testing.assert_array_equal(exact.pixels, one)
    assert call("preview", *words, "-o", "r.png", "--json") == 0  # without tracks it says that it may be otherwise
    assert json.loads(capsys.readouterr().out)["notes"] == [AROUND]
    assert np.quantile(np.abs(read_photo(folder / "r.png").pixels.astype(int) - one), 0.99) <= 4


def test_a_second_preview_takes_in_no_source_and_looks_for_no_face_again(folder, monkeypatch):
    from facefusion.service import previews as home

    counts = {"cast": 0, "look": 0, "analyser": 0}
    for name, function in (("cast", "build_cast"), ("look", "look_around"), ("analyser", "build_analyser")):
        real = getattr(home, function)

        def counted(*words, name=name, real=real, **more):
            counts[name] += 1
            return real(*words, **more)

        monkeypatch.setattr(home, function, counted)
    recipe, previews = build_recipe(RECIPE), Previews()
    first = previews.of_recipe(recipe, 0.04)
    before = dict(counts)
    second = previews.of_recipe(recipe.with_options(output_video_quality=50), 0.04, is_beside=True)
    assert counts == before == {"cast": 1, "look": 1, "analyser": 2}
    np.testing.assert_array_equal(second.pixels[:, -first.pixels.shape[1] :], first.pixels)
    previews.of_recipe(recipe.with_options(face_swapper_light=0.5), 0.04)
    assert counts == {"cast": 2, "look": 1, "analyser": 2}
    # A source that is another is taken in again.
    Path("face.jpg").write_bytes(Path(SOURCE).read_bytes())
    own = build_recipe({**RECIPE, "source_paths": ["face.jpg"]})
    one = previews.of_recipe(own, 0.04)
    Path("face.jpg").write_bytes(Path(PHOTO).read_bytes())
    assert (previews.of_recipe(own, 0.04).pixels != one.pixels).any()
    assert counts["look"] == 1


def test_a_preview_is_an_encoded_value(folder):
    picture = Previews().of_recipe(build_recipe({**RECIPE, "target_path": PHOTO}))
    assert json.loads(json.dumps(picture.as_dict()))["width"] == picture.pixels.shape[1]
    for kind, beginning in (("jpeg", b"\xff\xd8\xff"), ("png", b"\x89PNG"), ("webp", b"RIFF")):
        data = picture.encoded(kind)
        assert data.startswith(beginning)
        (folder / f"e.{kind}").write_bytes(data)
        apart = np.abs(read_photo(folder / f"e.{kind}").pixels.astype(int) - picture.pixels)
        assert apart.mean() < (0.001 if kind == "png" else 4)
        assert b"synthetic" in data


@pytest.mark.parametrize("part", [{}, {"start_s": 0.1, "end_s": 0.7}])
def test_a_preview_at_the_very_end_is_the_last_frame(tmp_path, part):
    """It is shown until the clip is over, so there is something at every time that a player has."""
    clip = make_clip(tmp_path / "c.mp4", pts=range(0, 20480, 2048))
    recipe = build_recipe({**RECIPE, "target_path": clip, **part})
    reader = read_clip(recipe)
    times = [float((frame.pts - reader.offset) * frame.time_base) for frame in reader]
    end_s = 0.6 if part else reader.info.duration_s
    last = find_frame(recipe, "clip", end_s - 0.001)
    assert float((last.pts - reader.offset) * last.time_base) == times[-1] < end_s - 0.001
    with pytest.raises(RecipeError, match="no frame at"):
        find_frame(recipe, "clip", end_s + 0.001)


def test_previews_that_cannot_be_are_refused_and_leave_nothing(folder, capsys):
    for words, code, said in (
        (("-s", SOURCE, "-t", "clip.mp4", "--at", "9"), 2, "no frame at 9"),
        (("-s", SOURCE, "-t", "clip.mp4", "--at", "-1"), 2, "no time"),
        (("-s", SOURCE), 2, "No target"),
        (("-t", "clip.mp4"), 2, "No source"),
        (("-s", SOURCE, "-t", PHOTO, "--tracks", "clip.tracks"), 3, "Analyse this target again"),
    ):
        assert call("preview", *words, "-o", "p.png") == code, words
        assert said in capsys.readouterr().err
    assert call("preview", "-s", SOURCE, "-t", "clip.mp4", "-o", "clip.mp4") == 5
    Path("c.png").write_bytes(Path(PHOTO).read_bytes())
    assert call("preview", "-s", SOURCE, "-t", "c.png", "-o", "c.png") == 5
    assert "also an input" in capsys.readouterr().err
    assert not (folder / "p.png").exists()


def test_people_who_are_chosen_by_number_are_looked_for_in_the_whole_clip(folder):
    picture = Previews().of_recipe(build_recipe({**RECIPE, "faces": (0,)}), 0.04)
    assert picture.is_changed and picture.notes == ()
    with pytest.raises(Exception, match="no face 5"):
        Previews().of_recipe(build_recipe({**RECIPE, "faces": (5,)}), 0.04)


def test_what_an_analysis_returns_is_what_the_service_returns(folder, capsys):
    found = passes.analyse(build_recipe({"target_path": "clip.mp4"}), Path("a.tracks"))
    assert call("analyse", "-t", "clip.mp4", "-o", "a.tracks", "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    ours = json.loads(json.dumps(found.as_dict()))
    assert {k: v for k, v in printed.items() if k not in ("event", "analyse_s")} == {
        k: v for k, v in ours.items() if k != "analyse_s"
    }
    assert printed["analyse_s"] > 0
    assert ModelStore(()).get("face_detector_embedded").id in " ".join(Tracks.load(folder / "a.tracks").notes)
