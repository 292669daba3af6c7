"""What a job and its items may do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefusion.errors import IllegalMove, LeaseLost
from facefusion.jobs.states import (
    Beat,
    Cancel,
    Claim,
    Expire,
    Fail,
    Finish,
    Invalidate,
    Item,
    Open,
    Park,
    Publish,
    Refuse,
    Retry,
    Wait,
    is_due,
    is_expired,
    job_status,
    move_item,
    stage_to_open,
)

ITEM = Item("j", "render", 3)


def after(*events, item=ITEM, now=0.0, tries=3):
    commands = ()
    for event in events:
        item, commands = move_item(item, event, now, tries)
    return item, commands


def test_an_item_goes_from_waiting_to_done():
    item, _ = after(Open(), Claim("a", 10), Beat("a", 20), Finish("a", "abc"))
    assert (item.status, item.sha256, item.attempts, item.renders) == ("done", "abc", 1, 1)


def test_opening_publishes_at_once():
    item, commands = after(Open())
    assert item.status == "queued"
    assert commands == (Publish(item, 0.0),)


def test_only_the_owner_may_report():
    item, _ = after(Open(), Claim("a", 10))
    for event in (Beat("b", 1), Finish("b", "x"), Fail("b", "x", True), Wait("b"), Refuse("b", "x")):
        with pytest.raises(LeaseLost, match="not in the hands of b"):
            move_item(item, event, 0, 3)


def test_a_worker_that_was_overtaken_cannot_finish():
    item, _ = after(Open(), Claim("a", 10))
    item, _ = move_item(item, Expire(), 11, 3)
    item, _ = move_item(item, Claim("b", 10), 11, 3)
    with pytest.raises(LeaseLost):
        move_item(item, Finish("a", "x"), 12, 3)


def test_a_failure_is_tried_again_later_and_later_then_put_aside():
    item, delays = ITEM, []
    item, _ = move_item(item, Open(), 0, 3)
    now = 0.0
    for _ in range(2):
        item, _ = move_item(item, Claim("a", 10), now, 3)
        item, (command,) = move_item(item, Fail("a", "no", True), now, 3)
        delays.append(command.delay_s)
        now = item.available_at
    assert delays == [1, 2]
    item, _ = move_item(item, Claim("a", 10), now, 3)
    item, (command,) = move_item(item, Fail("a", "no", True), now, 3)
    assert isinstance(command, Park)
    assert (item.status, item.error, item.attempts) == ("failed", "no", 3)


def test_an_error_that_will_come_again_is_put_aside_at_once():
    item, (command,) = after(Open(), Claim("a", 10), Fail("a", "no face", False))
    assert item.status == "failed"
    assert isinstance(command, Park)


def test_waiting_and_refusing_are_no_tries():
    assert after(Open(), Claim("a", 10), Wait("a"))[0].attempts == 0
    refused, (command,) = after(Open(), Claim("a", 10), Refuse("a", "licence"))
    assert (refused.status, refused.attempts, refused.renders) == ("queued", 0, 1)
    assert command.delay_s > 0


def test_a_lease_that_has_not_run_out_does_not_expire_unless_its_owner_is_known_to_be_dead():
    item, _ = after(Open(), Claim("a", 10))
    with pytest.raises(IllegalMove):
        move_item(item, Expire(), 9, 3)
    assert move_item(item, Expire(is_known_dead=True), 9, 3)[0].status == "queued"


def test_an_item_is_not_claimed_before_its_time():
    item, _ = after(Open(), Claim("a", 10), Fail("a", "x", True))
    with pytest.raises(IllegalMove):
        move_item(item, Claim("a", 10), 0.5, 3)


def test_a_damaged_item_is_made_again_with_all_its_tries():
    item, _ = after(Open(), Claim("a", 10), Finish("a", "x"), Invalidate("its file is missing"))
    assert (item.status, item.attempts, item.sha256, item.renders) == ("queued", 0, "", 1)


def test_what_is_done_is_not_cancelled_or_claimed():
    done, _ = after(Open(), Claim("a", 10), Finish("a", "x"))
    for event in (Cancel(), Claim("b", 1), Open(), Retry(True), Expire(True)):
        with pytest.raises(IllegalMove, match="is done: no"):
            move_item(done, event, 0, 3)


def test_a_cancelled_job_can_be_taken_up_again():
    item, _ = after(Open(), Claim("a", 10), Cancel(), Retry(True))
    assert (item.status, item.attempts) == ("queued", 0)
    assert after(Open(), Cancel(), Retry(False))[0].status == "waiting"


EVENTS = st.sampled_from([
    Open(), Claim("a", 5), Claim("b", 5), Beat("a", 5), Finish("a", "x"), Finish("b", "x"), Fail("a", "x", True),
    Fail("b", "x", False), Wait("a"), Refuse("b", "x"), Expire(), Expire(True), Invalidate("x"), Cancel(), Retry(True),
    Retry(False),
])  # fmt: skip


@given(st.lists(st.tuples(EVENTS, st.floats(0, 10)), max_size=40))
def test_no_order_of_events_breaks_an_item(events):
    item, now = ITEM, 0.0
    for event, later in events:
        now += later
        try:
            moved, commands = move_item(item, event, now, 3)
        except (IllegalMove, LeaseLost):
            continue
        assert 0 <= moved.attempts <= 3
        assert moved.renders in (item.renders, item.renders + 1)
        assert (moved.status == "running") == bool(moved.owner)
        assert bool(moved.sha256) == (moved.status == "done")
        assert all(command.item == moved for command in commands)
        is_told = any(isinstance(command, Publish) for command in commands)
        assert not is_told or moved.status == "queued"
        assert is_told or moved.status != "queued" or item.status == "queued"
        item = moved


def counts(**stages):
    return {stage: dict.fromkeys(statuses.split(), 1) for stage, statuses in stages.items()}


def test_a_stage_opens_when_all_before_it_is_done():
    assert stage_to_open(counts(analyse="done", join="waiting", render="waiting", merge="waiting")) == "join"
    assert stage_to_open(counts(analyse="done queued", join="waiting")) is None
    assert stage_to_open(counts(analyse="done", join="done", render="done", merge="done")) is None
    assert stage_to_open(counts(analyse="done", join="done", render="queued done", merge="waiting")) is None


def test_the_status_of_a_job_is_that_of_its_items():
    assert job_status(counts(analyse="queued", join="waiting")) == "queued"
    assert job_status(counts(analyse="running done", join="waiting")) == "running"
    assert job_status(counts(analyse="done", join="failed", render="waiting")) == "failed"
    assert job_status(counts(analyse="done", join="cancelled")) == "cancelled"
    assert job_status(counts(analyse="done", join="done", render="done", merge="done")) == "done"


def test_an_illegal_move_names_item_state_and_event():
    with pytest.raises(IllegalMove, match="render 3 of job j is waiting: no Claim is possible"):
        move_item(replace(ITEM), Claim("a", 1), 0, 3)


def test_a_wait_that_is_longer_than_any_wait_is_over():
    item, _ = after(Open(), now=1000.0)
    failed, _ = after(Claim("a", 10), Fail("a", "x", True), item=item, now=1000.0)
    assert not is_due(failed, 1000.5)
    assert is_due(failed, 1001.0)
    assert is_due(failed, 1000.0 - 86400)  # the clock was set back by a day
    assert after(Claim("b", 10), item=failed, now=1000.0 - 86400)[0].status == "running"


def test_a_lease_that_ends_later_than_any_lease_has_run_out():
    item, _ = after(Open(), Claim("a", 10), now=1000.0)
    assert not is_expired(item, 1009.0)
    assert is_expired(item, 1010.0)
    assert is_expired(item, 1000.0 - 86400)
    assert after(Expire(), item=item, now=1000.0 - 86400)[0].status == "queued"
    with pytest.raises(IllegalMove):
        after(Expire(), item=item, now=1009.0)
    endless, _ = after(Claim("a", 1e9), item=replace(item, status="queued"), now=0.0 + 1000.0)
    assert not is_expired(endless, 1001.0)


def test_the_end_of_a_process_is_kept_with_its_item():
    item, _ = after(Open(), Claim("a", 10), Fail("a", "an older reason", True))
    item, _ = after(Claim("b", 10), Expire(is_known_dead=True, how="was killed (SIGSEGV)"), item=item, now=100.0)
    assert item.error == "its worker was lost: it was killed (SIGSEGV)"
