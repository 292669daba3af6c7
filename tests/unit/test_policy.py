"""Consents, the blocklist, votes on content, and settings that nobody can weaken; no face is looked at."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from facefusion import settings
from facefusion.apps.backends import policy_of
from facefusion.errors import (
    ConsentMissing,
    ContentRefused,
    PersonBlocked,
    PolicyError,
    PolicyUnready,
    RecipeError,
    UnknownOption,
)
from facefusion.policy.blocklist import Blocked, Blocklist
from facefusion.policy.consent import Consent, Ledger
from facefusion.policy.content import Checker, check_content
from facefusion.policy.gate import BLOCKED_COSINE, CONSENT_COSINE, Gate, Known, Seen, SeenModel
from facefusion.policy.site import SitePolicy
from facefusion.policy.verdict import Verdict, strictest
from facefusion.recipe import build_recipe
from facefusion.settings import PolicySettings, build_settings, load_options, load_policy
from facefusion.testing.conformance import Nonconforming, check_content_check, check_engine

TODAY = date(2026, 6, 15)
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
REQUIRE = SitePolicy(consent_mode="require")
RECORD = SitePolicy(consent_mode="record")


def code(*values):
    vector = np.array([*values, *[0.0] * (4 - len(values))], np.float32)
    return vector / np.linalg.norm(vector)


ANNA, TOM, EVE = code(1), code(0, 1), code(0, 0, 1)


def consent(ref="anna", **fields):
    return Consent(ref=ref, added_at=NOW, **fields)


def seen(*codes, use="source", processors=("face_swapper",), others=None):
    looks = np.stack(codes) if codes else np.zeros((0, 1), np.float32)
    return Seen(use, "The source /secret/anna.jpg", "Source 1", processors, looks, others)


def judge(site, people, consents=(), asked=(), tenant="", models=(), blocked=()):
    known = Known(tuple((entry, face[None]) for entry, face in consents), tuple(blocked), "space")
    return Gate(site, asked, tenant, TODAY).judge(people, models, known)


def test_somebody_who_has_agreed_is_covered_and_their_reference_is_told():
    verdict = judge(REQUIRE, [seen(ANNA)], [(consent(), ANNA), (consent("tom"), TOM)])
    assert (verdict.sources, verdict.sources_covered, verdict.used, verdict.is_covered) == (1, 1, ("anna",), True)


@pytest.mark.parametrize(
    ("fields", "use", "tenant"),
    [
        ({"valid_until": date(2026, 6, 14)}, "source", ""),
        ({"valid_from": date(2026, 6, 16)}, "source", ""),
        ({"revoked_at": NOW}, "source", ""),
        ({"uses": ("target",)}, "source", ""),
        ({"uses": ("source",)}, "target", ""),
        ({"processors": ("lip_syncer",)}, "source", ""),
        ({"tenants": ("ada",)}, "source", "ben"),
        ({"tenants": ("ada",)}, "source", ""),
    ],
)
def test_a_consent_that_is_over_or_for_something_else_covers_nobody(fields, use, tenant):
    with pytest.raises(ConsentMissing, match="not covered") as refused:
        judge(REQUIRE, [seen(ANNA, use=use)], [(consent(**fields), ANNA)], tenant=tenant)
    assert refused.value.hint and not refused.value.retryable


def test_the_first_and_the_last_day_of_a_consent_count():
    one_day = consent(valid_from=TODAY, valid_until=TODAY, tenants=("ada",), processors=("face_swapper", "other"))
    assert judge(REQUIRE, [seen(ANNA)], [(one_day, ANNA)], tenant="ada").is_covered


def test_a_stranger_does_not_pass_for_one_who_agreed():
    almost = code(CONSENT_COSINE - 0.01, np.sqrt(1 - (CONSENT_COSINE - 0.01) ** 2))
    with pytest.raises(ConsentMissing):
        judge(REQUIRE, [seen(almost)], [(consent(), ANNA)])


def test_who_cannot_be_recognised_has_not_agreed():
    with pytest.raises(ConsentMissing):
        judge(REQUIRE, [seen(use="target")], [(consent(), ANNA)])


def test_a_reference_that_is_named_is_the_only_one_that_counts():
    known = [(consent(), ANNA), (consent("tom"), TOM)]
    assert judge(REQUIRE, [seen(ANNA)], known, asked=("anna",)).asked == ("anna",)
    with pytest.raises(ConsentMissing, match="that the request names"):
        judge(REQUIRE, [seen(ANNA)], known, asked=("tom",))
    with pytest.raises(ConsentMissing, match="no consent 'nobody'"):
        judge(REQUIRE, [seen(ANNA)], known, asked=("nobody",))


def test_record_notes_who_has_not_agreed_and_refuses_nobody():
    verdict = judge(RECORD, [seen(EVE), seen(TOM, use="target")], [(consent("tom"), TOM)], asked=("tom", "nobody"))
    assert (verdict.sources_covered, verdict.targets_covered) == (0, 1)
    assert not verdict.is_covered
    assert "Source 1 is not covered by a consent." in verdict.notes
    assert "There is no consent 'nobody' here." in verdict.notes


def test_a_site_may_ask_for_the_consent_of_sources_alone():
    site = replace(REQUIRE, consent_of="sources")
    assert judge(site, [seen(ANNA), seen(EVE, use="target")], [(consent(), ANNA)]).targets == 0


def test_the_person_whom_a_model_shows_has_to_agree_too():
    model = SeenModel("iperov/somebody_224", ("deep_swapper",))
    with pytest.raises(ConsentMissing, match="iperov/somebody_224"):
        judge(REQUIRE, [], [(consent(), ANNA)], models=[model])
    entry = consent(models=("iperov/somebody_224",))
    assert judge(REQUIRE, [], [(entry, ANNA)], models=[model]).sources_covered == 1


@pytest.mark.parametrize("mode", ["off", "record", "require"])
@pytest.mark.parametrize("others", [None, EVE[None]])
def test_somebody_on_the_blocklist_is_refused_in_every_mode(mode, others):
    site = SitePolicy(consent_mode=mode, blocklist=Path("list"), is_blocklist_named=True)
    entry = Blocked("1", "", "", "space", EVE[None])
    person = seen(EVE) if others is None else seen(ANNA, others=others)
    with pytest.raises(PersonBlocked):
        judge(site, [person], [(consent(), EVE)], blocked=[entry])
    assert judge(replace(site, consent_mode="off"), [seen(ANNA)], blocked=[entry]).has_blocklist


def test_one_clear_look_at_somebody_who_is_blocked_is_enough():
    blurred = code(0.2, 0.9, 0.3)
    assert float(blurred @ EVE) < BLOCKED_COSINE
    with pytest.raises(PersonBlocked):
        judge(
            SitePolicy(),
            [seen(blurred, blurred, EVE, use="target")],
            blocked=[Blocked("1", "", "", "space", EVE[None])],
        )


def test_a_blocklist_of_another_recogniser_stops_all_work():
    with pytest.raises(PolicyUnready):
        judge(SitePolicy(), [seen(ANNA)], blocked=[Blocked("1", "", "", "another", EVE[None])])


def test_a_verdict_comes_back_from_the_store_and_tells_no_path_and_no_face():
    verdict = judge(RECORD, [seen(EVE)], [(consent("tom", person="Tom Example"), TOM)], asked=("tom",))
    verdict = verdict.joined(
        Verdict(content_mode="require", content="clear", content_models=("m@1 (MIT)",), frames_checked=3)
    )
    told = json.dumps(verdict.as_dict())
    assert Verdict.from_dict(json.loads(told)) == verdict
    for secret in ("/secret", "anna.jpg", "Tom Example", "cosine", "0."):
        assert secret not in told
    for wrong in (
        {},
        {"consent": {}},
        {**verdict.as_dict(), "consent": {**verdict.as_dict()["consent"], "mode": "perhaps"}},
    ):
        with pytest.raises((ValueError, TypeError, KeyError)):
            Verdict.from_dict(wrong)


def test_verdicts_of_parts_add_up_to_the_strictest():
    one = Verdict("record", sources=1, sources_covered=1, content="clear", frames_checked=2)
    both = one.joined(Verdict("require", "record", targets=2, content="flagged", frames_checked=3, notes=("x",)))
    assert (both.consent_mode, both.content, both.frames_checked, both.targets) == ("require", "flagged", 5, 2)
    assert strictest([]) == "off"


# --- the ledger -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "policy" / "consents.toml")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "Photo of Anna.JPG"
    path.write_bytes(b"a picture")
    return path


def test_a_ledger_is_read_as_it_was_written_and_for_its_owner_alone(ledger, photo):
    made = ledger.add(
        "anna-2026", [photo, photo], person="Anna", valid_until=TODAY, uses=("source",), note='say "a"\nb'
    )
    assert ledger.load() == (made,)
    assert [ledger.read_photo(one) for one in made.photos] == [b"a picture"] * 2
    assert 'ref = "anna-2026"' in ledger.path.read_text()
    if os.name != "nt":
        for path in (ledger.path, *ledger.photos.rglob("*.jpg")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(ledger.photos.stat().st_mode) == 0o700


def test_a_photo_that_was_replaced_proves_nothing(ledger, photo):
    made = ledger.add("anna", [photo])
    ledger.place_of(made.photos[0]).write_bytes(b"another picture")
    assert ledger.read_photo(made.photos[0]) is None


def test_a_revoked_consent_stays_as_a_record_and_its_photos_are_gone(ledger, photo):
    ledger.add("anna", [photo])
    ledger.add("tom", [photo])
    ended = ledger.revoke("anna")
    assert ended.state(TODAY) == "revoked"
    assert [entry.ref for entry in ledger.load()] == ["anna", "tom"]
    assert [path.name for path in ledger.photos.iterdir()] == ["tom"]
    with pytest.raises(RecipeError, match="revoked already"):
        ledger.revoke("anna")


@pytest.mark.parametrize("ref", ["", "../anna", "a b", "-x", "a" * 65, "a/b"])
def test_a_reference_that_is_no_short_name_is_refused_and_leaves_nothing(ledger, photo, ref):
    with pytest.raises(RecipeError):
        ledger.add(ref, [photo])
    assert not ledger.path.exists() and not ledger.photos.exists()
    with pytest.raises(RecipeError):
        build_recipe({"consent": [ref]})


def test_bad_entries_are_refused_and_lose_nothing(ledger, photo):
    ledger.add("anna", [photo])
    before = ledger.path.read_bytes()
    for ref, photos, fields in (
        ("anna", [photo], {}),
        ("tom", [], {}),
        ("tom", [photo.with_name("missing.jpg")], {}),
        ("tom", [photo], {"uses": ("sale",)}),
        ("tom", [photo], {"valid_from": TODAY, "valid_until": date(2026, 6, 1)}),
    ):
        with pytest.raises(RecipeError) as refused:
            ledger.add(ref, photos, **fields)
        assert refused.value.hint
    assert ledger.path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["format = 1", "[[consent]]\nref='a'", "not toml", 'format = "facefusion-consents-1"\nmore = 1', "\xff"]
)
def test_a_damaged_ledger_is_never_taken_for_an_empty_one(ledger, photo, text):
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PolicyUnready):
        ledger.load()
    with pytest.raises(PolicyUnready):
        ledger.add("anna", [photo])
    assert ledger.path.read_bytes() == text.encode("latin-1")


def _add_some(path, photo, number):
    for k in range(4):
        Ledger(Path(path)).add(f"p{number}-{k}", [Path(photo)])


def test_many_processes_write_one_ledger_and_no_entry_is_lost(ledger, photo):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_some, args=(str(ledger.path), str(photo), n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert {entry.ref for entry in ledger.load()} == {f"p{n}-{k}" for n in range(3) for k in range(4)}


# --- the blocklist ----------------------------------------------------------------------------------------------------


@pytest.fixture
def blocklist(tmp_path):
    return Blocklist(tmp_path / "policy" / "blocklist.json")


def test_a_blocklist_gives_back_what_was_put_on_it_and_its_file_tells_nothing(blocklist):
    codes = np.stack([ANNA, EVE])
    made = blocklist.add(codes, "space", "a court order")
    (found,) = blocklist.load()
    assert (found.id, found.note, found.contract) == (made.id, "a court order", "space")
    np.testing.assert_array_equal(found.codes, codes)
    content = blocklist.path.read_bytes()
    for secret in (b"court", b"space", made.id.encode(), codes.tobytes()[:16]):
        assert secret not in content
    assert "codes" not in repr(found)


def test_the_length_of_a_blocklist_tells_little(blocklist):
    blocklist.add(ANNA[None], "space")
    size = blocklist.path.stat().st_size
    for _ in range(10):
        blocklist.add(EVE[None], "space")
    assert blocklist.path.stat().st_size == size


def test_a_blocklist_that_is_missing_changed_or_sealed_by_another_key_is_never_an_empty_one(blocklist, tmp_path):
    blocklist.add(EVE[None], "space")
    key, good = tmp_path / "policy" / "blocklist.json.key", blocklist.path.read_bytes()
    document = json.loads(good)
    for content in (
        b"",
        b"{}",
        good[:-20],
        json.dumps({**document, "sealed": document["sealed"][:-8] + "AAAAAAA="}).encode(),
    ):
        blocklist.path.write_bytes(content)
        with pytest.raises(PolicyUnready):
            blocklist.load()
    blocklist.path.write_bytes(good)
    for text in (key.read_text()[::-1], "x", ""):
        with pytest.raises(PolicyUnready):
            Blocklist(blocklist.path, tmp_path / "none", key=text or "AAAA").load()
    key.rename(tmp_path / "elsewhere")
    with pytest.raises(PolicyUnready, match="key"):
        blocklist.load()
    assert Blocklist(blocklist.path, tmp_path / "elsewhere").load()
    assert Blocklist(blocklist.path, key=(tmp_path / "elsewhere").read_text()).load()
    blocklist.path.unlink()
    with pytest.raises(PolicyUnready):
        blocklist.load()


@pytest.mark.skipif(os.name == "nt", reason="rights are other ones there")
def test_a_key_that_others_may_read_is_refused(blocklist):
    blocklist.add(EVE[None], "space")
    key = blocklist.path.with_name("blocklist.json.key")
    assert stat.S_IMODE(key.stat().st_mode) == stat.S_IMODE(blocklist.path.stat().st_mode) == 0o600
    key.chmod(0o640)
    with pytest.raises(PolicyUnready, match="Others may read"):
        blocklist.load()


def test_who_is_taken_off_the_blocklist_is_off_and_unknown_ids_change_nothing(blocklist):
    one, other = blocklist.add(ANNA[None], "space"), blocklist.add(EVE[None], "space")
    with pytest.raises(RecipeError):
        blocklist.remove([one.id, "nobody"])
    assert [entry.id for entry in blocklist.remove([one.id])] == [one.id]
    assert [entry.id for entry in blocklist.load()] == [other.id]


# --- content ----------------------------------------------------------------------------------------------------------


class Says:
    """A check that says of a picture what is in its first pixel."""

    def __init__(self, limit=0.5, channel=0):
        self.limit, self._channel = limit, channel

    def check(self, pixels):
        return np.array([picture[0, 0, self._channel] / 255 for picture in pixels], np.float32)


def pictures(*values):
    return [np.full((4, 4, 3), value, np.uint8) for value in values]


def test_more_than_a_tenth_of_flagged_frames_is_refused_and_fewer_pass():
    checkers = [Checker("says@1 (MIT)", Says())]
    site = SitePolicy(content_mode="require")
    verdict = check_content(site, pictures(255, *[0] * 9), checkers)
    assert (verdict.content, verdict.frames_checked, verdict.content_models) == ("clear", 10, ("says@1 (MIT)",))
    with pytest.raises(ContentRefused):
        check_content(site, pictures(255, 255, *[0] * 9), checkers)
    assert check_content(SitePolicy(content_mode="record"), pictures(255), checkers).content == "flagged"
    assert check_content(SitePolicy(), pictures(255), checkers) == Verdict()


def test_half_of_those_who_look_decide():
    site = SitePolicy(content_mode="record")
    red = [np.array([[[255, 0, 0]]], np.uint8)]
    say = [Checker(str(channel), Says(channel=channel)) for channel in range(3)]
    assert check_content(site, red, say).content == "clear"  # one of three
    assert check_content(site, red, say[:2]).content == "flagged"


def test_a_check_that_answers_no_number_lets_nothing_pass():
    class Broken(Says):
        def check(self, pixels):
            return np.full(len(pixels), np.nan, np.float32)

    with pytest.raises(ContentRefused):
        check_content(SitePolicy(content_mode="require"), pictures(0), [Checker("broken", Broken())])


@pytest.mark.parametrize(
    ("flaw", "text"),
    [
        (lambda self, pixels: np.zeros(len(pixels) + 1, np.float32), "scores of 3 pictures"),
        (lambda self, pixels: np.full(len(pixels), np.inf, np.float32), "finite"),
        (lambda self, pixels: np.arange(len(pixels), dtype=np.float32), "alone"),
    ],
)
def test_a_check_of_another_package_that_breaks_its_contract_is_found_out(flaw, text):
    check_content_check(Says())
    with pytest.raises(Nonconforming, match=text):
        check_content_check(type("Broken", (Says,), {"check": flaw})())
    with pytest.raises(Nonconforming):
        check_engine("content_check", type("Broken", (Says,), {"check": flaw})())


def test_required_content_checks_fail_closed_where_nobody_can_look():
    with pytest.raises(PolicyUnready) as refused:
        check_content(SitePolicy(content_mode="require"), pictures(0))
    assert "models fetch" in refused.value.hint
    with pytest.raises(PolicyUnready):
        check_content(SitePolicy(content_mode="require"), [], [Checker("says", Says())])
    with pytest.raises(PolicyUnready):
        check_content(SitePolicy(content_mode="require", content_models=("no_such_model",)), pictures(0))
    verdict = check_content(SitePolicy(content_mode="record"), pictures(0))
    assert (verdict.content, len(verdict.notes)) == ("unchecked", 1)


# --- settings ---------------------------------------------------------------------------------------------------------

PLACES = ("site", "user", "local", "environment", "command line")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Says something in some places, and gives what is in force by both ways of reading."""
    monkeypatch.setattr(settings, "SITE_FILE", tmp_path / "site" / "policy.toml")
    monkeypatch.setattr(settings.platformdirs, "user_config_path", lambda _: tmp_path / "user")
    files = {
        "site": tmp_path / "site/policy.toml",
        "user": tmp_path / "user/config.toml",
        "local": tmp_path / "here/facefusion.toml",
    }
    for path in files.values():
        path.parent.mkdir()

    def read(name, **values):
        for place, path in files.items():
            path.write_text(f"{name} = {json.dumps(values[place])}\n" if place in values else "")
        environment = {f"FACEFUSION_{name.upper()}": values["environment"]} if "environment" in values else {}
        line = {name: values["command line"]} if "command line" in values else {}
        found = {key: one.value for key, one in load_options(line, environment, tmp_path / "here").items()}
        by_options = build_settings(PolicySettings, found)
        if not line:
            assert load_policy(environment, tmp_path / "here") == by_options
        return by_options

    return read


@pytest.mark.parametrize("strict", PLACES)
@pytest.mark.parametrize("lenient", PLACES)
@pytest.mark.parametrize(("name", "values"), settings.STRICTER.items())
def test_no_place_weakens_what_another_requires(places, strict, lenient, name, values):
    if strict == lenient:
        assert getattr(places(name, **{strict: values[-1]}), name) == values[-1]
    else:
        assert getattr(places(name, **{strict: values[-1], lenient: values[0]}), name) == values[-1]
        assert getattr(places(name, **{strict: values[0], lenient: values[0]}), name) == values[0]


@pytest.mark.parametrize("name", ["consent_ledger", "blocklist_path", "blocklist_key_path", "content_models"])
def test_what_the_site_names_no_request_replaces(places, name):
    for weaker in PLACES[1:]:
        found = places(name, **{"site": "of-the-site", weaker: "of-somebody"})
        assert "of-the-site" in str(getattr(found, name))


def test_a_policy_of_a_site_that_cannot_be_read_stops_everything(places, tmp_path):
    places("consent_mode")
    for text, kind in (
        ("consent_mode = 'sometimes'", RecipeError),
        ("consentmode = 'off'", UnknownOption),
        ("=", RecipeError),
    ):
        settings.SITE_FILE.write_text(text)
        with pytest.raises(kind):
            load_options({}, {}, None)
        with pytest.raises(kind):
            load_policy({}, None)


def test_a_policy_is_told_without_where_it_is():
    site = policy_of(PolicySettings(consent_mode="require", consent_ledger=Path("/secret/l"), blocklist_key="abc"))
    assert site.as_dict() == {
        "consent": "require", "consent_of": "everyone", "blocklist": False, "content": "off", "watermark": "on",
    }  # fmt: skip
    assert "abc" not in repr(site)


def test_every_refusal_has_a_code_of_its_own():
    kinds = PolicyError.__subclasses__()
    assert {kind.code for kind in kinds} == {"consent_missing", "person_blocked", "content_refused", "policy_unready"}
    assert not any(kind.retryable for kind in kinds)
