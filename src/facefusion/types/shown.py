"""How values with arrays in them are shown: by what the arrays are, not by what is in them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from facefusion.wording import counted

LONGEST = 60
"""Characters of one value."""


def shown(value: Any) -> str:
    """A dataclass in a short line, to be its ``__repr__``: what arrays are, nothing of what is missing."""
    seen = [(field.name, getattr(value, field.name)) for field in fields(value) if field.repr]
    told = [f"{name}={_one(one)}" for name, one in seen if not (one is None or (isinstance(one, tuple) and not one))]
    return f"{type(value).__name__}({', '.join(told)})"


def _one(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{' x '.join(map(str, value.shape))}]"
    if isinstance(value, bytes):
        return f"<{counted(len(value), 'byte')}>"
    if is_dataclass(value) and not isinstance(value, type):
        return _short(repr(value) if type(value).__repr__ is shown else shown(value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (tuple, list, dict)) and len(value) > 4:
        return f"<{len(value)} of them>"
    if isinstance(value, (tuple, list)) and value:
        inner = ", ".join(map(_one, value))
        return _short(f"({inner})")
    return _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
