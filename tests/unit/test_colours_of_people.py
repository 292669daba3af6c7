"""Everybody on a sheet of people has a colour of their own, which is seen on white."""

from itertools import combinations

import numpy as np

from facefusion.media.sheet import PAPER, colour_of


def test_nobody_has_the_colour_of_another():
    colours = [np.array(colour_of(number), float) for number in range(24)]
    assert min(float(np.abs(a - b).max()) for a, b in combinations(colours, 2)) >= 16
    assert len({colour_of(number) for number in range(200)}) == 200
    for number in range(200):
        assert float(np.abs(np.array(PAPER, float) - colour_of(number)).max()) > 90
