"""A number and a word as one word that others keep for us: where a page ended, until when a session is good.

It comes back from strangers, so `unpack` takes nothing that `pack` does not make.
"""

from __future__ import annotations

import base64
import json
import math

LONGEST = 1000
"""Characters of a packed word; ours have less than 200."""
_MOST = 1e12


def pack(number: float, word: str) -> str:
    """Both as URL-safe base64."""
    return base64.urlsafe_b64encode(json.dumps([number, word]).encode()).decode().rstrip("=")


def unpack(text: str) -> tuple[float, str]:
    """What was packed.

    Raises
    ------
    ValueError
        For everything else, whatever it is: too long, nested, no finite number, a word that is no text.
    """
    if len(text) > LONGEST or not text.isascii():
        raise ValueError("not packed by us")
    try:
        number, word = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (TypeError, RecursionError) as error:
        raise ValueError("not packed by us") from error
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not isinstance(word, str) or not word.isprintable():
        raise ValueError("not packed by us")
    if not (math.isfinite(number) and abs(number) < _MOST):
        raise ValueError("not packed by us")
    return float(number), word
