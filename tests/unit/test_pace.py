"""How many requests somebody may send in a minute."""

import pytest

from facefusion.errors import LimitReached, RecipeError
from facefusion.server import pace
from facefusion.server.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(pace.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_minute_later_as_many_requests_are_allowed_again(clock):
    counter = Pace()
    for _ in range(3):
        counter.hit(3, "tenant", "anna")
        clock.now += 10
    with pytest.raises(LimitReached) as refused:
        counter.hit(3, "tenant", "anna")
    assert refused.value.retry_after_s == 30  # the first of them is 30 s old
    counter.hit(3, "tenant", "ben")
    clock.now += 30
    counter.hit(3, "tenant", "anna")
    with pytest.raises(LimitReached):  # the second one still counts
        counter.hit(3, "tenant", "anna")


def test_refused_requests_do_not_count(clock):
    counter = Pace()
    counter.hit(1, "tenant", "anna")
    for _ in range(100):
        clock.now += 0.5
        with pytest.raises(LimitReached):
            counter.hit(1, "tenant", "anna")
    clock.now += 10
    counter.hit(1, "tenant", "anna")


def test_nobody_is_allowed_where_none_are(clock):
    with pytest.raises(LimitReached):
        Pace().hit(0, "tenant", "anna")


def test_names_of_whom_nothing_comes_are_forgotten(clock, monkeypatch):
    monkeypatch.setattr(pace, "_NAMES", 50)
    counter = Pace()
    for number in range(500):
        clock.now += 2
        counter.hit(5, "address", f"10.0.0.{number}")
    assert len(counter._times) <= 60  # those of the last minute are 30


def test_what_counts_nowhere_is_refused_when_it_begins():
    with pytest.raises(RecipeError, match=r"cannot be counted at redos://user:\*\*\*@nowhere") as refused:
        Pace("redos://user:word@nowhere")
    assert "word" not in str(refused.value)
