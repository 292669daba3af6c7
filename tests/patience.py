"""How long tests wait for what must come. A busy machine takes long; only what never comes may fail."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 600.0
"""No test is about how long something takes, so this is far more than any machine needs."""


def wait_until(is_so: Callable[[], object], explain: Callable[[], str] = str, patience_s: float = PATIENCE_S) -> None:
    """Return as soon as something is so.

    Parameters
    ----------
    is_so
        Asked ten times a second.
    explain
        Called when it never was; says what is the case instead.
    """
    until = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > until:
            raise AssertionError(f"it did not come within {patience_s:.0f} s: {explain()}")
        time.sleep(0.1)
