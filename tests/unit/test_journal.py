"""Logs as JSON carry ids, and nothing that may name a file."""

from __future__ import annotations

import json
import logging

from facefusion import journal


def line_of(message, *words, error=None, **extra):
    record = logging.LogRecord("facefusion.test", logging.INFO, __file__, 1, message, words, None)
    record.exc_info = None if error is None else (type(error), error, error.__traceback__)
    for name, value in extra.items():
        setattr(record, name, value)
    return json.loads(journal.JsonLines().format(record))


def test_a_record_carries_what_it_is_about():
    with journal.about(request="ab12", job="f" * 32):
        told = line_of("part is done", segment=3, stage="render")
    assert (told["request"], told["job"], told["segment"], told["stage"]) == ("ab12", "f" * 32, 3, "render")
    assert told["level"] == "info" and told["at"].endswith("Z")
    assert "request" not in line_of("another")


def test_paths_addresses_and_names_of_files_are_taken_out():
    told = line_of("cannot read %s of %s for %s", "/home/anna/wedding photo.jpg", "s3://bucket/anna", "anna.mp4")
    text = json.dumps(told)
    for word in ("anna", "wedding", "photo.jpg", "bucket"):
        assert word not in text
    assert "cannot read" in told["message"]


def test_an_exception_is_told_by_kind_and_place_and_not_by_its_words():
    try:
        try:
            raise FileNotFoundError("/home/anna/face.jpg")
        except FileNotFoundError as inner:
            raise ValueError("anna's face") from inner
    except ValueError as error:
        told = line_of("it failed", error=error)
    assert told["error"][0] == "builtins.ValueError" and "builtins.FileNotFoundError" in told["error"]
    assert "anna" not in json.dumps(told)


def test_routes_are_kept_as_templates():
    assert line_of("request", route="/v1/jobs/{job_id}", status=200)["route"] == "/v1/jobs/{job_id}"


def test_processes_that_are_started_write_as_their_parent_does():
    root, own = logging.getLogger(), logging.getLogger("facefusion")
    before = list(root.handlers), root.level, own.level
    try:
        journal.set_up("json", "warning")
        assert journal.plan() == ("json", "warning", "") and journal.is_set_up()
        journal.set_up(*journal.plan())
        assert len([one for one in root.handlers if isinstance(one.formatter, journal.JsonLines)]) == 1
    finally:
        journal.set_up("")
        root.handlers[:], root.level = before[0], before[1]
        own.setLevel(before[2])
