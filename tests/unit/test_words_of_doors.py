"""Every door speaks its own words: flags on the command line, names of options in programs and in recipes."""

import httpx
import pytest

from facefusion import FaceFusionError, Swapper, analyse_target, build_recipe, run
from facefusion.client import Client
from facefusion.declaration import meant_by, words_of
from facefusion.recipe import for_programs
from facefusion.server.problems import for_clients, has_flags, hint_for_clients
from facefusion.server.recipes import recipe_models


@pytest.mark.parametrize(
    "call",
    [
        lambda: Swapper([]),
        lambda: run(build_recipe({})),
        lambda: analyse_target(build_recipe({})),
    ],
)
def test_hints_of_the_library_name_no_flags(call):
    with pytest.raises(FaceFusionError) as told:
        call()
    assert "given" in told.value.message
    assert "--" not in told.value.hint and "_path" in told.value.hint


def test_flags_are_names_of_options():
    assert for_programs("or lower --face-detector-score.") == "or lower face_detector_score."
    assert for_programs("Use --face-swapper-light, -s or --nobody-knows.") == (
        "Use face_swapper_light, source_paths or --nobody-knows."
    )


def test_services_speak_as_they_are_spoken_to():
    note = "--faces all changes everybody; lower --face-detector-score."
    assert for_clients(note) == "faces all changes everybody; lower face_detector_score."
    token = has_flags.set(True)
    try:
        assert for_clients(note) == note
        assert for_clients("/home/anna/a.jpg is small.") == "a.jpg is small."
        assert hint_for_clients("recipe", note) == note
        assert "--" not in hint_for_clients("recipe", "Free some room, or name another --jobs-path.")
    finally:
        has_flags.reset(token)
    seen = []

    def answer(request):
        seen.append(request.headers.get("facefusion-words"))
        return httpx.Response(200, json={})

    for is_one in (True, False):
        with Client("http://a", "k", transport=httpx.MockTransport(answer), has_flags=is_one) as client:
            client.capabilities()
    assert seen == ["flags", None]


ID = "0" * 32


@pytest.mark.parametrize(
    ("recipe", "said", "meant"),
    [
        ({"target": "x"}, "should be an id, 32 digits of 0-9 and a-f, as an upload is answered with", ""),
        (
            {"target": ID, "steps": [{"processor": "face_swaper"}]},
            "there is no processor 'face_swaper'",
            "face_swapper",
        ),
        ({"target": ID, "steps": [{"options": {}}]}, "lacks its processor", ""),
        ({"target": ID, "face_detector_scor": 0.5}, "is not known here", "face_detector_score"),
        ({"target": ID, "mask_kind": "x", "faces": 3}, None, None),
    ],
)
def test_wrong_bodies_are_told_in_our_words(recipe, said, meant):
    from pydantic import ValidationError

    model = recipe_models().recipe
    with pytest.raises(ValidationError) as told:
        model.model_validate(recipe)
    flaws = told.value.errors()
    for one in flaws:
        assert "String" not in words_of(one) and "Input" not in words_of(one) and "^" not in words_of(one)
    if said is not None:
        assert words_of(flaws[0]) == said
        assert meant_by(flaws[0], model.model_fields) == meant


def test_what_was_meant_is_in_the_answer(tmp_path):
    from facefusion.server.app import _known_at

    place = ("body", "recipe", "steps", 0, "face_swapper", "options", "lighht")
    assert meant_by({"type": "extra_forbidden", "loc": place}, _known_at(place)) == "light"
    assert "target" in _known_at(("body", "recipe", "targett"))
