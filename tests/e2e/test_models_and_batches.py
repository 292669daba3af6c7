"""The doors to models of others: the models command, swaps with them, FaceFusion 3's words, batches, mapping files."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest
from tests.graphs import channel_means, inverting, painting_swapper

from facefusion.apps import cli
from facefusion.apps.models import words_of
from facefusion.errors import RecipeError
from facefusion.media.image import read_photo, write_photo
from facefusion.service.batch import pair
from facefusion.service.models import Timed, Timing, advise


def call(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A models folder with a recogniser, a swapper and an enhancer that are tiny."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "arcface_w600k_r50.onnx").write_bytes(channel_means(112, 512))
    (folder / "hyperswap_1a_256.onnx").write_bytes(painting_swapper(256, "n, 512"))
    (folder / "gfpgan_1.4.onnx").write_bytes(inverting(512))
    return folder


pytestmark = pytest.mark.filterwarnings("ignore::facefusion.models.store.UnknownHashWarning")


def test_models_list_show_verify_and_pin(zoo, capsys):
    assert call("models", "list", "--models-path", zoo) == 0
    listed = capsys.readouterr().out
    line = next(line for line in listed.splitlines() if line.startswith("hyperswap_1a_256"))
    assert "ResearchRAIL" in line
    assert "here" in line
    assert "refused by licences = commercial" in line
    assert call("models", "show", "inswapper_128") == 0
    shown = capsys.readouterr().out
    assert "Non-Commercial" in shown
    assert "pinned when it is first loaded" in shown
    assert call("models", "verify", "gfpgan_1.4", "--models-path", zoo) == 0
    assert "nobody has said" in capsys.readouterr().out
    assert call("models", "pin", "gfpgan_1.4", "--models-path", zoo) == 0
    assert call("models", "verify", "gfpgan_1.4", "--models-path", zoo) == 0
    assert "as it was pinned" in capsys.readouterr().out
    (zoo / "gfpgan_1.4.onnx").write_bytes(inverting(256))
    assert call("models", "verify", "gfpgan_1.4", "--models-path", zoo) == 6
    assert "models pin gfpgan_1.4" in capsys.readouterr().out
    assert call("models", "pin", "gfpgan_1.4", "--models-path", zoo) == 0
    assert call("models", "verify", "gfpgan_1.4", "--models-path", zoo) == 0


def test_models_export_and_import_carry_a_model_over(zoo, tmp_path, monkeypatch, capsys):
    path = tmp_path / "b.ffbundle"
    assert call("models", "export", path, "gfpgan_1.4", "--models-path", zoo) == 0
    key = capsys.readouterr().out.split("signed by ")[1].split()[0]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "other"))
    assert call("models", "import", path) == 6
    assert key in capsys.readouterr().err
    assert call("models", "import", path, "--trust", key) == 0
    assert call("models", "verify", "gfpgan_1.4") == 0
    assert call("models", "import", zoo) == 0
    assert "arcface_w600k_r50" in capsys.readouterr().out
    assert call("models", "export", path) == 2
    assert call("models", "show") == 2


def timed(**seconds):
    names = {"cpu": ("cpu", "model"), "vino": ("openvino_cpu", "model"), "vino_half": ("openvino_cpu", "half")}
    return Timed("m", tuple(Timing(*names[name], spent) for name, spent in seconds.items()))


def test_bench_advises_what_is_fastest_over_all_models():
    detector = timed(cpu=0.01, vino=0.02)
    swapper = timed(cpu=0.5, vino=0.4, vino_half=0.2)
    assert words_of(advise([detector, swapper])).startswith(
        "fastest for all of them: --execution-providers openvino_cpu --execution-precision half "
    )
    assert "--execution-providers cpu (" in words_of(advise([detector]))
    # A provider that could not run one of them is no advice.
    assert "--execution-providers cpu (" in words_of(advise([timed(cpu=0.01, vino=None), swapper]))
    assert advise([]) is advise([timed(vino=None), swapper]) is None


def test_models_bench_times_what_is_here(zoo, capsys):
    assert call("models", "bench", "face_landmarker_embedded") == 0
    assert "fastest: cpu" in capsys.readouterr().out


def test_missing_models_and_refused_licences_say_what_to_do_before_the_first_frame(
    zoo, tmp_path, source_photo, target_photo, capsys
):
    words = ["-s", source_photo, "-t", target_photo, "-o", tmp_path / "o.png", "--quiet"]
    assert call("run", *words, "--face-swapper-model", "hyperswap_1a_256", "--models-path", zoo) == 6
    assert "--licences research" in capsys.readouterr().err
    assert call("run", *words, "--face-swapper-model", "inswapper_128", "--licences", "research") == 6
    assert "facefusion models fetch inswapper_128" in capsys.readouterr().err
    assert call("run", *words, "--face-swapper-model", "inswapper_182") == 2
    assert "inswapper_128" in capsys.readouterr().err
    reference = ["--face-selector-mode", "reference", "--face-identifier-model", "arcface_w600k_r50"]
    assert call("run", *words, *reference) == 6
    assert "arcface_w600k_r50" in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()


def test_swap_then_enhance_with_models_of_others_and_what_ran_is_recorded(
    zoo, tmp_path, source_photo, target_clip, capsys
):
    output = tmp_path / "o.mp4"
    words = ["-s", source_photo, "-t", target_clip, "-o", output, "--json", "--end", "0.2", "--licences", "research"]
    chain = ["--processors", "face_swapper", "face_enhancer", "--face-swapper-model", "hyperswap_1a_256"]
    assert call("headless-run", *words, *chain, "--models-path", zoo, "--execution-batch-size", "3") == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert done["frames"] == done["changed_frames"] == 5
    ran = " ".join(done["models"])
    for name in ("hyperswap_1a_256@1 (ResearchRAIL)", "gfpgan_1.4@1", "arcface_w600k_r50@1", "face_detector_embedded"):
        assert name in ran
    with av.open(str(output)) as container:
        assert "hyperswap_1a_256@1" in container.metadata["comment"]


def two_people(tmp_path, target_photo):
    photo = read_photo(target_photo)
    pixels = np.concatenate([photo.pixels, photo.pixels[:, ::-1]], axis=1)
    path = tmp_path / "two.png"
    import dataclasses

    write_photo(path, dataclasses.replace(photo, pixels=np.ascontiguousarray(pixels)), 92, "")
    return path, photo.pixels.shape[1]


def test_mapping_file_gives_two_people_their_own_treatment_in_one_pass(
    zoo, tmp_path, source_photo, target_photo, capsys
):
    target, width = two_people(tmp_path, target_photo)
    mapping = tmp_path / "map.toml"
    mapping.write_text(
        f'[[person]]\ntrack = 0\nsources = ["{source_photo}"]\n[[person]]\ntrack = 1\nprocessors = ["face_enhancer"]\n'
    )
    output = tmp_path / "o.png"
    words = ["-t", target, "-o", output, "--face-map", mapping, "--models-path", zoo, "--quiet"]
    assert call("run", *words) == 0
    before, after = read_photo(target).pixels.astype(int), read_photo(output).pixels.astype(int)
    changed = np.abs(before - after).max(axis=2) > 12
    assert changed[:, :width].any()
    assert changed[:, width:].any()
    mapping.write_text(f'[[person]]\ntrack = 5\nsources = ["{source_photo}"]\n')
    assert call("run", *words) == 2
    assert "track 5" in capsys.readouterr().err
    mapping.write_text("[[person]]\ntrack = 0\n")
    assert call("run", *words) == 2
    assert "No source" in capsys.readouterr().err


def test_weight_needs_identities_and_says_so_when_the_tracks_have_none(
    zoo, tmp_path, source_photo, target_photo, capsys
):
    tracks, output = tmp_path / "t.tracks", tmp_path / "o.png"
    model = ["--face-swapper-model", "hyperswap_1a_256", "--licences", "research", "--models-path", zoo, "--quiet"]
    weighted = [*model, "--face-swapper-weight", "0.2"]
    assert call("analyse", "-t", target_photo, "-o", tracks, *model) == 0
    words = ["render", "--tracks", tracks, "-s", source_photo, "-t", target_photo, "-o", output]
    assert call(*words, *weighted) == 3
    assert "carry no identities" in capsys.readouterr().err
    assert call("analyse", "-t", target_photo, "-o", tracks, *weighted) == 0
    assert call(*words, *weighted) == 0
    assert call(*words[:1], *words[3:], *weighted) == 2  # no tracks named


def test_notes_are_in_words(zoo, tmp_path, target_photo, capsys):
    words = ["-t", target_photo, "-o", tmp_path / "o.png", "--processors", "face_enhancer", "--models-path", zoo]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert call("run", *words, "--quiet") == 0
    error = capsys.readouterr().err
    assert "facefusion: Note: Nobody has published the SHA-256 of gfpgan_1.4.onnx" in error
    assert ".py" not in error


def test_enhancer_alone_needs_no_source(zoo, tmp_path, target_photo):
    output = tmp_path / "o.png"
    words = ["-t", target_photo, "-o", output, "--processors", "face_enhancer", "--models-path", zoo, "--quiet"]
    assert call("run", *words) == 0
    assert output.exists()


def test_reference_by_photo_changes_the_person_it_shows(zoo, tmp_path, source_photo, target_photo):
    words = ["-s", source_photo, "-t", target_photo, "-o", tmp_path / "o.png", "--models-path", zoo, "--quiet"]
    reference = ["--face-selector-mode", "reference", "--reference-face-path", target_photo, "--licences", "research"]
    assert call("run", *words, *reference) == 0
    assert (tmp_path / "o.png").exists()


def test_68_point_landmarkers_guide_the_alignment_and_stay_in_the_tracks(zoo, tmp_path, target_clip):
    from tests.graphs import constant_outputs

    from facefusion.types.track import Tracks

    points = np.zeros((1, 68, 3), np.float32)
    points[0, :, :2] = np.random.default_rng(0).uniform(10, 50, (68, 2))
    heat = np.ones((1, 68, 64, 64), np.float32)
    graph = constant_outputs([1, 3, 256, 256], {"landmarks": points, "heatmaps": heat})
    (zoo / "2dfan4.onnx").write_bytes(graph)
    words = ["-t", target_clip, "-o", tmp_path / "t.tracks", "--models-path", zoo, "--end", "0.2", "--quiet"]
    assert call("analyse", *words, "--face-landmarker-model", "2dfan4") == 0
    found = Tracks.load(tmp_path / "t.tracks").tracks[0]
    notes = Tracks.load(tmp_path / "t.tracks").notes
    assert {"model 2dfan4@1", "model face_landmarker_embedded@1"} <= set(notes)
    assert found.points is not None
    assert found.points.shape == (len(found.frames), 68, 2)
    assert call("analyse", *words, "--face-landmarker-model", "2dfan4", "--face-landmarker-score", "1.0") == 0


# FaceFusion 3's words


def test_facefusion_ini_is_read(tmp_path, capsys):
    path = tmp_path / "facefusion.ini"
    path.write_text(
        "[paths]\nsource_paths = a.jpg b.jpg\ntarget_path =\n[face_detector]\nface_detector_size = 640x640\n"
        "face_detector_angles = 0 90\n[face_masker]\nface_mask_padding = 1 2 3 4\n"
    )
    assert call("headless-run", "--config-path", path, "--show-config") == 0
    shown = capsys.readouterr().out
    assert "face_detector_size = 640" in shown
    assert "face_detector_angles = [0, 90]" in shown
    assert "face_mask_padding = [1, 2, 3, 4]" in shown
    path.write_text("[voice_extractor]\nvoice_extractor_model = kim_vocal_2\n")
    assert call("headless-run", "--config-path", path, "--show-config") == 0
    assert "--voice-extractor-model" in capsys.readouterr().err
    path.write_text("[processors]\nlip_syncer_model = wav2lip_96\n")
    assert call("headless-run", "--config-path", path, "--show-config") == 2
    assert "not here yet" in capsys.readouterr().err
    path.write_text("no section\n")
    assert call("headless-run", "--config-path", path, "--show-config") == 2


def test_command_line_of_facefusion_3_is_understood(capsys):
    line = (
        "headless-run -s a.jpg -t b.mp4 -o c.mp4 --processors face_swapper face_enhancer "
        "--face-swapper-model inswapper_128 --face-swapper-pixel-boost 256x256 --face-enhancer-blend 70 "
        "--face-selector-mode reference --reference-face-distance 0.4 --face-mask-types box occlusion "
        "--face-mask-padding 10 0 0 0 --face-detector-model yolo_face --face-detector-angles 0 90 "
        "--execution-providers cuda cpu --execution-device-ids 1 --output-video-quality 90"
    )
    words = line.split()
    assert call(*words, "--show-config") == 0
    shown = capsys.readouterr().out
    assert "execution_device_ids = [1]" in shown
    assert 'face_mask_types = ["box", "occlusion"]' in shown


# Batches


def test_batch_runs_every_source_with_every_target_and_goes_on_after_a_failure(
    tmp_path, source_photo, target_photo, capsys
):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("one.jpg", "two.jpg"):
        (folder / name).write_bytes(target_photo.read_bytes())
    (folder / "bad.jpg").write_bytes(b"no picture")
    pattern = tmp_path / "out" / "{source_name}-{target_name}{target_extension}"
    words = ["-s", source_photo, "-t", folder / "*.jpg", "-o", pattern]
    assert call("batch-run", *words, "--quiet") == 3
    assert "bad.jpg" in capsys.readouterr().err
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == [f"{source_photo.stem}-one.jpg", f"{source_photo.stem}-two.jpg"]


def test_a_batch_that_hides_people_has_one_page_for_all_files_and_each_its_own(tmp_path, target_photo, capsys):
    (tmp_path / "in" / "day 2").mkdir(parents=True)
    for name in ("one.jpg", "day 2/two.jpg"):
        (tmp_path / "in" / name).write_bytes(target_photo.read_bytes())
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    summary = tmp_path / "out" / "all.html"
    words = ["--processors", "face_anonymiser", "--face-anonymiser-model", "blur", "-t", tmp_path / "in"]
    words += ["-o", tmp_path / "out", "--report", summary, "--quiet"]
    assert call("batch-run", *words) == 3
    page, told = summary.read_text(), json.loads(summary.with_suffix(".json").read_text())
    assert [(Path(one["target"]).name, one["status"]) for one in told["files"]] == [
        ("bad.jpg", "failed"), ("one.jpg", "done"), ("two.jpg", "done"),
    ]  # fmt: skip
    assert not told["nobody_known_to_be_missed"] and "1 file failed" in told["verdict"]
    for one in told["files"][1:]:
        assert f'href="{one["page"]}"' in page
        own = summary.parent / unquote(one["page"])
        assert own == Path(one["output"] + ".report.html")
        assert "was anyone missed" in own.read_text() and one["said"] in page
        assert one["sure"] == 1 and len(one["output_sha256"]) == 64
    Path(told["files"][1]["output"] + ".report.html").unlink()
    assert call("batch-run", *words) == 3  # a run whose report is gone is done again, the other skipped
    told = json.loads(summary.with_suffix(".json").read_text())
    assert [one["status"] for one in told["files"]] == ["failed", "done", "skipped"]
    assert all((summary.parent / unquote(one["page"])).is_file() for one in told["files"][1:])
    capsys.readouterr()


def test_batch_patterns_are_checked_before_anything_runs(tmp_path, source_photo, target_photo):
    with pytest.raises(RecipeError, match="field"):
        pair([source_photo], [target_photo], "{nothing}.jpg")
    with pytest.raises(RecipeError, match="Two runs"):
        pair([source_photo], [target_photo, target_photo], "one.jpg")
    assert call("batch-run", "-s", source_photo, "-t", tmp_path / "none*", "-o", "x.jpg") == 2
    assert call("batch-run", "-t", target_photo, "-o", tmp_path / "{index}.jpg") == 2


def test_listing_models_and_engines_loads_no_heavy_library():
    code = (
        "import sys\nfrom facefusion.models.catalog import load_catalog\nfrom facefusion.plugins.registry import "
        "list_engines\nload_catalog(); list_engines('face_swapper')\n"
        "heavy = {'onnxruntime', 'cv2', 'av', 'onnx', 'httpx', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The same for programs


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_models_tell_values_in_json(zoo, tmp_path, capsys):
    places = ["--models-path", zoo, "--json"]
    assert call("models", "list", *places) == 0
    (listed,) = events(capsys)
    lines = {line["id"]: line for line in listed["models"]}
    assert lines["gfpgan_1.4"]["place"] == "here"
    assert lines["hyperswap_1a_256"]["is_allowed"] is False
    assert call("models", "show", "gfpgan_1.4", "inswapper_128", *places) == 0
    shown = events(capsys)
    assert [view["id"] for view in shown] == ["gfpgan_1.4", "inswapper_128"]
    assert shown[0]["files"][0]["path"] == str(zoo / "gfpgan_1.4.onnx")
    assert call("models", "pin", "gfpgan_1.4", *places) == 0
    assert events(capsys)[0]["event"] == "pinned"
    (zoo / "gfpgan_1.4.onnx").write_bytes(inverting(256))
    assert call("models", "verify", "gfpgan_1.4", "face_detector_embedded", *places) == 6
    broken, whole = events(capsys)
    assert broken["problem"]["code"] == "hash_mismatch"
    assert "models pin gfpgan_1.4" in broken["problem"]["hint"]
    assert whole["problem"] is None
    assert call("models", "pin", "gfpgan_1.4", *places) == 0
    assert call("models", "export", tmp_path / "b.ffbundle", "gfpgan_1.4", *places) == 0
    assert call("models", "key", *places) == 0
    told = events(capsys)
    assert [event["event"] for event in told if event["event"] != "bytes"] == ["pinned", "exported", "key"]
    assert told[-1]["public_key"] == told[-2]["public_key"]
    assert call("models", "fetch", "face_detector_embedded", *places) == 0
    assert events(capsys)[0]["is_embedded"] is True
    assert call("models", "show", "nothing", *places) == 2
    assert events(capsys)[0]["code"] == "unknown_model"


def test_the_doctor_tells_values_in_json(zoo, capsys):
    assert call("doctor", "--json", "--models-path", zoo) == 0
    (told,) = events(capsys)
    assert told["event"] == "doctor"
    assert told["is_well"] is True
    assert "gfpgan_1.4" in [model["id"] for model in told["models"]]
    assert next(p for p in told["providers"] if p["name"] == "cpu")["runs_on"] == "CPUExecutionProvider"


def test_what_was_asked_for_is_shown_though_only_errors_are_wanted_besides(zoo, capsys):
    assert call("models", "list", "--quiet") == 0
    assert "inswapper_128" in capsys.readouterr().out


# Extras


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_report_without_its_packages_is_refused_before_the_first_frame(
    package, tmp_path, source_photo, target_photo, target_clip, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("facefusion.pipeline.runner.build_cast", None)
    monkeypatch.setattr("facefusion.jobs.prepare.check_faces", None)
    for target, name in ((target_photo, "o.png"), (target_clip, "o.mp4")):
        words = ["run", "-s", source_photo, "-t", target, "-o", tmp_path / name, "--quiet"]
        assert call(*words, "--report", tmp_path / "r.html") == 2
        told = capsys.readouterr().err
        assert package in told
        assert "pip install 'facefusion-studio[report]'" in told
        assert not (tmp_path / name).exists()


def test_figures_alone_need_no_further_package(tmp_path, source_photo, target_photo, monkeypatch):
    for package in ("jinja2", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)
    words = ["run", "-s", source_photo, "-t", target_photo, "-o", tmp_path / "o.png", "--quiet"]
    assert call(*words, "--report", tmp_path / "r.json", "--fail-under", "similarity_source=0") == 0
    assert json.loads((tmp_path / "r.json").read_text())["rows"]
