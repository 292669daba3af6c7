"""Has the clock of this process, and of those that it spawns, jump back and forth, as the number in TEST_CLOCK says."""

import os
import random
import time

_rng = random.Random(f"{os.environ['TEST_CLOCK']} {os.getpid()}")
_real, _steady = time.time, time.monotonic
_began = _steady()
_jumps = [(_rng.uniform(0, 20), _rng.choice([-1, 1]) * _rng.choice([5, 600, 86_400])) for _ in range(4)]


def _jumping():
    return _real() + sum(seconds for at, seconds in _jumps if _steady() - _began > at)


time.time = _jumping
