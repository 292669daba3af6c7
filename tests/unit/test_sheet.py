"""Sheets of people: nothing is cut off."""

import numpy as np
import pytest

from facefusion.media.sheet import PAD, WIDTH, draw_sheet


@pytest.mark.parametrize("size", [(720, 1280), (1280, 720), (400, 2400), (480, 480)])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_all_of_every_overview_is_on_the_sheet(size, count):
    frames = [np.full((*size, 3), (200, 20 * k, 0), np.uint8) for k in range(count)]
    alone = draw_sheet("title", "subtitle", [(frames[0], "", ())], [])
    area = int((alone == (200, 0, 0)).all(axis=2).sum())
    sheet = draw_sheet("title", "subtitle", [(frame, "", ()) for frame in frames], [])
    assert sheet.shape[1] == WIDTH
    for k in range(count):
        assert (sheet == (200, 20 * k, 0)).all(axis=2).sum() == area
    assert (sheet[:, WIDTH - PAD :] == 255).all()
