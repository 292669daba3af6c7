"""A small part of benchmarks/fuzz.py, with a seed of its own: no reader may crash, hang, or raise what is not ours."""

from __future__ import annotations

import pytest
from benchmarks.fuzz import SEEDS, fuzz, show


@pytest.mark.parametrize("kind", list(SEEDS))
def test_damaged_files_are_read_or_refused_in_our_words(kind, tmp_path):
    tallies = fuzz([kind], 24, seed=7, folder=tmp_path / "fuzz")
    assert tallies[kind].is_clean, show(tallies)
    assert tallies[kind].outcomes["read"]  # the intact ones at least
