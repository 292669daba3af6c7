"""Faces are found ahead while nobody waits for a picture, and for whoever asked last."""

from __future__ import annotations

import threading

from tests.patience import PATIENCE_S, wait_until

from facefusion.errors import RecipeError
from facefusion.pipeline.progress import Progress
from facefusion.service.ahead import Ahead

STEPS = 5


class FakePreviews:
    """Learns a word in five steps."""

    def __init__(self):
        self.known, self.steps, self.begun = [], [], threading.Event()

    def faces_of(self, word):
        if word == "refused":
            raise RecipeError("No.", "Never.")
        return word, word in self.known

    def learn(self, word, on_progress):
        self.begun.set()
        if word == "broken":
            raise OSError("gone")
        for step in range(STEPS):
            on_progress(Progress("analyse", step, STEPS))
            self.steps.append(word)
        self.known.append(word)


def test_nothing_is_learned_while_somebody_waits_for_a_picture():
    previews = FakePreviews()
    ahead = Ahead(previews)
    with ahead.aside():
        ahead.want("a")
        assert not previews.begun.wait(0.2)
    wait_until(lambda: previews.known == ["a"])


def test_who_begins_to_wait_meanwhile_is_served_first():
    previews = FakePreviews()
    ahead = Ahead(previews)
    inside, go_on = threading.Event(), threading.Event()
    learn = previews.learn

    def slowly(word, on_progress):
        def told(progress):
            inside.set()
            assert go_on.wait(PATIENCE_S)
            on_progress(progress)

        learn(word, told)

    previews.learn = slowly
    ahead.want("a")
    assert inside.wait(PATIENCE_S)
    with ahead.aside():
        go_on.set()
        assert previews.steps == []
    wait_until(lambda: previews.known == ["a"])


def test_what_was_wanted_last_comes_first_and_nothing_is_forgotten():
    previews = FakePreviews()
    ahead = Ahead(previews)
    with ahead.aside():
        for word in ("a", "b", "c"):
            ahead.want(word)
    wait_until(lambda: len(previews.known) == 3)
    assert previews.known == ["c", "b", "a"]


def test_what_cannot_be_learned_is_in_nobodys_way():
    previews = FakePreviews()
    ahead = Ahead(previews)
    ahead.want("refused")
    ahead.want("broken")
    assert previews.begun.wait(PATIENCE_S)
    ahead.want("a")
    wait_until(lambda: previews.known == ["a"])


def test_what_is_known_is_not_learned_again():
    previews = FakePreviews()
    ahead = Ahead(previews)
    previews.known.append("a")
    ahead.want("a")
    ahead.want("b")
    wait_until(lambda: "b" in previews.known)
    assert set(previews.steps) == {"b"}
