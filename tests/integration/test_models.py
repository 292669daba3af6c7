import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.graphs import graph

from facefusion.errors import (
    HashMismatch,
    LicenceRefused,
    ModelMismatch,
    ModelMissing,
    ProviderRefused,
    SpecError,
    UnknownModel,
)
from facefusion.models.catalog import EntryLeftOutWarning, get_spec, load_catalog
from facefusion.models.providers import check_providers, measure_shares, provider_options, time_shares
from facefusion.models.session import Session, SessionCache, _check_really_runs
from facefusion.models.spec import ModelFile, ModelSpec, parse_spec
from facefusion.models.store import ModelStore, UnknownHashWarning
from facefusion.pipeline.plan import check_models
from facefusion.recipe import build_recipe

EMBEDDED = sorted(spec.id for spec in load_catalog().values() if spec.origin == "embedded")
MESH = "face_landmarker_embedded"


@pytest.fixture
def store(tmp_path):
    (tmp_path / "models").mkdir()
    return ModelStore((str(tmp_path / "models"),), "commercial", tmp_path / "home")


def doubling_graph(factor=2.0):
    made = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def doubling_spec(content=None, **changes):
    base = ModelSpec(
        id="double",
        version="1",
        capability="test",
        family="test",
        files=(ModelFile("double.onnx", hashlib.sha256(content).hexdigest() if content else ""),),
        licence="MIT",
        licence_source="here",
        commercial="yes",
        vendor="us",
        year=2026,
        inputs={"x": (None, 2)},
        outputs={"y": (None, 2)},
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize("model_id", EMBEDDED)
def test_every_embedded_model_verifies_and_loads(model_id, store):
    spec = get_spec(model_id)
    content = store.read(spec)
    assert spec.graph.size_bytes == len(content)
    assert Session(spec, content).provider == "CPUExecutionProvider"


def test_embedded_models_are_small():
    sizes = {model_id: get_spec(model_id).graph.size_bytes for model_id in EMBEDDED}
    assert sizes["face_detector_embedded"] + sizes["face_landmarker_embedded"] <= 8_000_000
    assert sizes["face_occluder_embedded"] == sizes["face_parser_embedded"] <= 4_000_000
    assert sizes["face_identifier_embedded"] <= 6_000_000


def test_wrong_hash_is_refused_before_a_session_exists(store):
    spec = get_spec(MESH)
    wrong = dataclasses.replace(spec, files=(dataclasses.replace(spec.graph, sha256="0" * 64),))
    with pytest.raises(HashMismatch, match="Reinstall"):
        store.read(wrong)


def test_unknown_model_is_refused_and_the_nearest_is_suggested():
    with pytest.raises(UnknownModel, match="inswapper_128"):
        get_spec("inswaper_128")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("inputs", {"picture": (None, 3, 128, 128)}, "picture"),
        ("inputs", {"image": (None, 3, 64, 64)}, "image"),
        ("outputs", {"mesh": (None, 468, 3)}, "mesh"),
        ("outputs", {"#0": (), "#1": (), "#2": ()}, "2 outputs, not 3"),
    ],
)
def test_graph_that_does_not_match_its_specification_is_refused(field, value, named, store):
    spec = get_spec(MESH)
    with pytest.raises(ModelMismatch, match=named):
        Session(dataclasses.replace(spec, **{field: value}), store.read(spec))


def test_file_that_is_no_graph_is_refused():
    with pytest.raises(ModelMismatch, match="double"):
        Session(doubling_spec(), b"not a graph")


def test_session_returns_what_a_known_graph_computes_by_name_and_by_position():
    (result,) = Session(doubling_spec(), doubling_graph()).run({"x": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(result, [[2, 4]])
    by_position = doubling_spec(inputs={"#0": (None, 2)}, outputs={"#0": ()})
    (result,) = Session(by_position, doubling_graph()).run({"#0": np.array([[1, 2]])})
    np.testing.assert_array_equal(result, [[2, 4]])


def test_what_an_entry_names_is_found_by_its_place_too():
    (result,) = Session(doubling_spec(), doubling_graph()).run({"#0": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(result, [[2, 4]])
    (result,) = Session(doubling_spec(inputs={}), doubling_graph()).run({"#0": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(result, [[2, 4]])
    assert Session(doubling_spec(), doubling_graph()).shape("#0")[-1] == 2


def test_bound_and_plain_runs_give_the_same():
    session = Session(doubling_spec(), doubling_graph())
    value = np.array([[3, 4]], np.float32)
    plain = session.run({"x": value})[0]
    session._is_bound = True
    np.testing.assert_array_equal(session.run({"x": value})[0], plain)


def test_batches_larger_than_the_limit_are_split_and_joined_in_order():
    session = Session(doubling_spec(), doubling_graph())
    values = np.arange(80, dtype=np.float32).reshape(40, 2)
    np.testing.assert_array_equal(session.run_batch({"x": values})[0], values * 2)
    session.is_batched = False
    np.testing.assert_array_equal(session.run_batch({"x": values[:3]})[0], values[:3] * 2)


def test_half_precision_graphs_get_and_give_what_they_should():
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (result,) = Session(doubling_spec(precision="fp16"), model.SerializeToString()).run({"x": np.array([[0.5, 2.0]])})
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[0.5, 2.0]])


def test_provider_that_is_not_here_is_an_error_and_no_silent_cpu_run(store):
    with pytest.raises(ProviderRefused, match="doctor"):
        check_providers(["cuda"])
    with pytest.raises(ProviderRefused, match="no execution provider"):
        check_providers(["gpu"])
    with pytest.raises(ProviderRefused):
        Session(get_spec(MESH), store.read(get_spec(MESH)), ["cuda"])


def test_cpu_after_another_provider_allows_the_fallback(store):
    check_providers(["cuda", "cpu"])
    assert Session(get_spec(MESH), store.read(get_spec(MESH)), ["cuda", "cpu"]).provider == "CPUExecutionProvider"


def test_warm_up_says_which_provider_did_the_work_and_another_one_is_refused():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    shares = measure_shares(doubling_graph(), options, [("CPUExecutionProvider", {})])
    assert shares == {"CPUExecutionProvider": 1.0}
    with pytest.raises(ProviderRefused, match="0% of the work"):
        _check_really_runs(doubling_spec(), shares, "CUDAExecutionProvider", "cuda")


def test_profile_counts_time_and_not_nodes(tmp_path):
    profile = tmp_path / "p.json"
    profile.write_text(
        '[{"dur": 90, "args": {"provider": "A"}}, {"dur": 5, "args": {"provider": "B"}},'
        ' {"dur": 5, "args": {"provider": "B"}}, {"name": "x"}]'
    )
    assert time_shares(profile) == {"A": 0.9, "B": 0.1}


@pytest.mark.parametrize(
    "name", ["cuda", "tensorrt", "migraphx", "coreml", "openvino", "openvino_cpu", "qnn", "directml", "rocm"]
)
def test_every_provider_is_told_its_device_or_its_cache(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = provider_options(name, 1)
    assert options
    assert all(isinstance(value, str) for value in options.values())


def put(store, content, name="double.onnx"):
    from pathlib import Path

    folder = Path(store.places[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_one_session_for_all_threads_and_a_changed_file_is_picked_up(store):
    path = put(store, doubling_graph(2.0))
    cache = SessionCache()
    sessions = []
    spec = doubling_spec(doubling_graph(2.0))
    threads = [threading.Thread(target=lambda: sessions.append(cache.get(spec, store))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(session) for session in sessions}) == 1
    path.write_bytes(doubling_graph(3.0) + b"")
    changed = cache.get(doubling_spec(doubling_graph(3.0)), store)
    np.testing.assert_array_equal(changed.run({"x": np.ones((1, 2))})[0], [[3, 3]])
    np.testing.assert_array_equal(sessions[0].run({"x": np.ones((1, 2))})[0], [[2, 2]])


def test_failed_load_is_not_remembered(store):
    cache = SessionCache()
    path = put(store, b"rubbish")
    with pytest.raises(HashMismatch):
        cache.get(doubling_spec(doubling_graph()), store)
    path.write_bytes(doubling_graph())
    assert cache.get(doubling_spec(doubling_graph()), store).provider


def test_least_recently_used_session_goes_first_when_memory_is_short(store):
    content = doubling_graph()
    specs = []
    for name in ("one", "two", "three"):
        put(store, content, f"{name}.onnx")
        specs.append(doubling_spec(id=name, files=(ModelFile(f"{name}.onnx", hashlib.sha256(content).hexdigest()),)))
    cache = SessionCache(budget_bytes=len(content) * 2)
    first, second = cache.get(specs[0], store), cache.get(specs[1], store)
    assert cache.get(specs[0], store) is first
    cache.get(specs[2], store)
    assert cache.get(specs[0], store) is first
    assert cache.get(specs[1], store) is not second


def test_file_without_a_published_hash_is_pinned_with_a_warning_when_it_works_and_then_held_to_it(store):
    path = put(store, doubling_graph())
    with pytest.warns(UnknownHashWarning, match=r"double\.onnx"):
        SessionCache().get(doubling_spec(), store)
    SessionCache().get(doubling_spec(), store)  # no second warning: warnings are errors here
    path.write_bytes(doubling_graph(5.0))
    with pytest.raises(HashMismatch, match="models pin double"):
        store.read(doubling_spec())
    store.pin(doubling_spec(), doubling_spec().graph, store.hash_of(path))
    assert store.read(doubling_spec()) == doubling_graph(5.0)


@pytest.mark.parametrize("content", [b"", b"no graph", doubling_graph()[:-7]])
def test_a_file_that_does_not_work_is_not_pinned_and_the_right_one_is_taken_after_it(store, content):
    path = put(store, content)
    with pytest.raises(ModelMismatch, match="double"):
        SessionCache().get(doubling_spec(), store)
    path.write_bytes(doubling_graph())
    with pytest.warns(UnknownHashWarning):
        SessionCache().get(doubling_spec(), store)


def test_a_model_that_answers_with_no_numbers_is_refused_by_name_before_it_is_used(store):
    put(store, graph("g (float[n, 2] x) => (float[n, 2] y) { zero = Sub(x, x)  y = Div(zero, zero) }"))
    with pytest.raises(ModelMismatch, match=r"double.*no numbers"):
        SessionCache().get(doubling_spec(), store)
    assert not (store.home / "pins.json").exists()


def test_a_graph_whose_names_are_no_text_or_that_takes_nothing_is_refused_by_its_name():
    content = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["xx"], ["yy"])],
            "names",
            [helper.make_tensor_value_info("xx", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("yy", TensorProto.FLOAT, [1])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    ).SerializeToString()
    empty = onnx.load_from_string(content)
    del empty.graph.input[:], empty.graph.node[:]
    empty.graph.node.append(helper.make_node("Constant", [], ["yy"], value_floats=[1.0]))
    spec = doubling_spec(inputs={"#0": (1,)}, outputs={"#0": (1,)})
    Session(spec, content)
    for broken in (content.replace(b"xx", b"x\xff"), content.replace(b"yy", b"\xc4y"), empty.SerializeToString()):
        with pytest.raises(ModelMismatch, match="double"):
            Session(spec, broken)


def test_a_model_that_never_answers_is_ended_and_refused_by_name(store):
    endless = graph(
        """
        g (float[n, 2] x) => (float[n, 2] y)
        <bool yes = {1}>
        {
            limit = Constant <value = int64 {9223372036854775807}> ()
            y = Loop (limit, yes, x) <body = turn (int64 k, bool go, float[n, 2] a) => (bool on, float[n, 2] b) {
                on = Identity(go)
                b = Neg(a)
            }>
        }"""
    )
    put(store, endless)
    session = Session(doubling_spec(), endless)
    with pytest.raises(ModelMismatch, match=r"double has not answered"):
        session.warm_up(limit_s=0.5)


def test_an_input_that_the_graph_has_not_is_named(store):
    put(store, doubling_graph())
    session = Session(doubling_spec(), doubling_graph())
    with pytest.raises(ModelMismatch, match="no input 'z'"):
        session.run({"z": np.zeros((1, 2))})


PINNING = """
import sys
from pathlib import Path
from tests.integration.test_models import doubling_spec
from facefusion.models.spec import ModelFile
from facefusion.models.store import ModelStore
store = ModelStore((), "commercial", Path(sys.argv[1]))
for number in range(12):
    store.pin(doubling_spec(), ModelFile(f"{sys.argv[2]}-{number}.onnx"), "f" * 64)
"""


def test_hashes_that_processes_write_down_at_the_same_time_are_all_kept(tmp_path):
    root = Path(__file__).parents[2]
    words = [[sys.executable, "-c", PINNING, str(tmp_path / "home"), str(number)] for number in range(3)]
    processes = [subprocess.Popen(word, cwd=root) for word in words]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(json.loads((tmp_path / "home" / "pins.json").read_text())) == 36
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["pins.json"]


def test_damaged_pins_are_named_and_not_thrown_away(store):
    put(store, doubling_graph())
    store.home.mkdir(parents=True)
    (store.home / "pins.json").write_text("{")
    with pytest.raises(HashMismatch, match=r"pins\.json"):
        store.read(doubling_spec())


def test_missing_model_names_the_command_that_gets_it(store):
    with pytest.raises(ModelMissing, match="facefusion models fetch inswapper_128"):
        ModelStore(store.places, "any", store.home).read(get_spec("inswapper_128"))


@pytest.mark.parametrize(
    ("commercial", "policy", "is_allowed"),
    [
        ("yes", "commercial", True),
        ("no", "commercial", False),
        ("unclear", "commercial", False),
        ("yes", "research", True),
        ("no", "research", True),
        ("unclear", "research", False),
        ("no", "any", True),
        ("unclear", "any", True),
    ],
)
def test_licence_gate(commercial, policy, is_allowed, tmp_path):
    store = ModelStore((str(tmp_path),), policy, tmp_path / "home")
    put(store, doubling_graph())
    spec = doubling_spec(doubling_graph(), commercial=commercial)
    if is_allowed:
        assert store.read(spec)
    else:
        with pytest.raises(LicenceRefused, match="stated at here"):
            store.read(spec)


def test_facefusion_folder_is_searched_where_it_keeps_its_models(tmp_path):
    inside = tmp_path / "ff" / ".assets" / "models"
    inside.mkdir(parents=True)
    (inside / "double.onnx").write_bytes(doubling_graph())
    store = ModelStore((str(tmp_path / "ff"),), "commercial", tmp_path / "home")
    assert store.read(doubling_spec(doubling_graph())) == doubling_graph()


def test_object_storage_is_read_by_url_and_a_changed_object_is_picked_up(tmp_path, monkeypatch):
    from obstore.store import LocalStore

    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / "double.onnx").write_bytes(doubling_graph())
    monkeypatch.setattr("obstore.store.from_url", lambda url, **_: LocalStore(bucket))
    store = ModelStore(("s3://models/here",), "commercial", tmp_path / "home")
    first = store.stamp(doubling_spec())
    assert store.read(doubling_spec(doubling_graph())) == doubling_graph()
    (bucket / "double.onnx").write_bytes(doubling_graph(3.0) + b"  ")
    assert store.stamp(doubling_spec()) != first
    with pytest.raises(ModelMissing):
        store.stamp(doubling_spec(files=(ModelFile("other.onnx"),)))


LOCAL = """
id = "mine"
version = "2"
capability = "face_detector"
family = "yunet"
licence = "MIT"
licence_source = "mine"
commercial = "yes"
vendor = "me"
year = 2026
[[files]]
name = "mine.onnx"
[inputs]
"#0" = [-1, 3, -1, -1]
[outputs]
"#0" = []
"""


def test_users_add_models_by_dropping_an_entry_in_a_folder(tmp_path):
    (tmp_path / "mine.toml").write_text(LOCAL)
    (tmp_path / "mats").mkdir()
    (tmp_path / "mats" / "actor_224.dfm").write_bytes(b"x")
    catalog = ModelStore((str(tmp_path),), home=tmp_path / "home").catalog()
    assert catalog["mine"].origin == "local"
    assert catalog["mats/actor_224"].family == "dfm"
    assert catalog["mats/actor_224"].commercial == "unclear"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("year = 2026", 'year = "x"'), "year"),
        (('licence = "MIT"', ""), "licence"),
        (('vendor = "me"', 'vendor = "me"\nmaker = "x"'), "maker"),
        (('name = "mine.onnx"', 'name = "../mine.onnx"'), "plain name"),
        (('name = "mine.onnx"', 'name = "m.onnx"\nsha256 = "abc"'), "sha256"),
        (('id = "mine"', 'id = "../mine"'), "plain name"),
        (('commercial = "yes"', 'commercial = "maybe"'), "commercial"),
        (("[-1, 3, -1, -1]", '["x"]'), "whole numbers"),
        (("[[files]]\nname", "[[file]]\nname"), "file"),
        (("[inputs]", "[inputs"), "TOML"),
    ],
)
def test_wrong_entries_are_named(tmp_path, change, named):
    (tmp_path / "mine.toml").write_text(LOCAL.replace(*change))
    with pytest.raises(SpecError, match=named):
        parse_spec(LOCAL.replace(*change), "mine.toml", "local")
    with pytest.warns(EntryLeftOutWarning, match=named):
        assert "mine" not in load_catalog([tmp_path])


def test_of_two_entries_of_one_id_in_a_folder_one_is_left_out_and_named(tmp_path):
    (tmp_path / "a.toml").write_text(LOCAL)
    (tmp_path / "b.toml").write_text(LOCAL.replace('version = "2"', 'version = "3"'))
    with pytest.warns(EntryLeftOutWarning, match="mine"):
        assert load_catalog([tmp_path])["mine"].version == "2"


@pytest.mark.parametrize("built_in", ["face_detector_embedded", "inswapper_128"])
def test_what_is_built_in_cannot_be_replaced_from_a_folder(tmp_path, built_in):
    (tmp_path / "mine.toml").write_text(LOCAL.replace('"mine"', f'"{built_in}"'))
    with pytest.warns(EntryLeftOutWarning, match="built-in"):
        found = load_catalog([tmp_path])[built_in]
    assert found == load_catalog()[built_in]


def test_strange_things_in_a_models_folder_are_named_and_break_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "folder.dfm").mkdir()
    os.mkfifo(tmp_path / "pipe.dfm")
    (tmp_path / "latin.toml").write_bytes(b'id = "\xe9"')
    (tmp_path / "endless.toml").write_bytes(b"#" * (5 << 20))
    (tmp_path / "deep.toml").write_bytes(b"a = " + b"[" * 5000)
    (tmp_path / "project.toml").write_text('[project]\nname = "other"\n')
    (tmp_path / "good.toml").write_text(LOCAL)
    with pytest.warns(EntryLeftOutWarning) as told:
        catalog = load_catalog([tmp_path])
    assert set(catalog) - set(load_catalog()) == {"mine"}
    said = " ".join(str(warning.message) for warning in told)
    for name in ("pipe", "loop", "folder", "latin", "endless", "deep", "project"):
        assert f"{name}.toml is left out" in said


def test_an_alignment_template_that_there_is_not_is_refused_with_the_name_of_the_model(tmp_path):
    (tmp_path / "mine.toml").write_text(LOCAL + '[preprocess]\ntemplate = "arcface_113"\n')
    (tmp_path / "mine.onnx").write_bytes(doubling_graph())
    recipe = build_recipe({"face_detector_model": "mine", "models_paths": [str(tmp_path)]})
    with pytest.raises(ModelMismatch, match=r"mine names the alignment template 'arcface_113'"):
        check_models(recipe)


def test_graph_is_valid_onnx():
    onnx.checker.check_model(onnx.load_from_string(doubling_graph()))
