"""Numbers and addresses in sentences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

T = TypeVar("T")
HIDDEN = "***"
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*)://([^\s'\"<>]*)")
_PARAMETER = re.compile(
    r"([?&;](?:[\w.-]*(?:passw(?:or)?d|pwd|secret|token|signature|credential|access_?key|api_?key|account_?key)[\w-]*"
    r"|sig|key)=)([^&;#\s'\"<>]+)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'([^'\n]+)'|\"([^\"\n]+)\"")


def without_secrets(text: str) -> str:
    """A text in which no address tells its password, nor a parameter that is one, such as ``sig=``.

    What else repeats them is hidden, too: libraries quote parts of an address that they could not read.

    Parameters
    ----------
    text
        A sentence, or an address alone. Of ``amqp://user:word@host`` it keeps ``amqp://user:***@host``.
    """
    if "://" not in text:
        return text
    found: list[str] = []

    def hide(match: re.Match[str]) -> str:
        scheme, rest = match[1], match[2]
        end = _end_of_user(scheme.lower(), rest)
        if end >= 0:
            name, has_word, word = rest[:end].partition(":")
            found.extend([word] if has_word else [name])
            rest = f"{name}:{HIDDEN}{rest[end:]}" if has_word else f"{HIDDEN}{rest[end:]}"
        return f"{scheme}://{_PARAMETER.sub(hide_parameter, rest)}"

    def hide_parameter(match: re.Match[str]) -> str:
        found.append(match[2])
        return f"{match[1]}{HIDDEN}"

    told = _URL.sub(hide, text)
    words = sorted({spelled for word in found for spelled in (word, unquote(word)) if spelled}, key=len, reverse=True)
    for word in words:
        if len(word) >= 4:
            told = told.replace(word, HIDDEN)

    def hide_quoted(match: re.Match[str]) -> str:
        inner = match[1] or match[2]
        return match[0].replace(inner, HIDDEN) if any(inner in word for word in words) else match[0]

    return _QUOTED.sub(hide_quoted, told) if words else told


def in_one_line(text: str) -> str:
    """What others have written, without what breaks lines, turns their direction or cannot be seen."""
    spaced = " ".join(text.split())
    return "".join(letter for letter in spaced if unicodedata.category(letter) not in _UNSEEN)


def plain_without_secrets(value: T) -> T:
    """The same for whatever JSON can hold, in every text of it."""
    held: Any = value
    if isinstance(held, str):
        held = without_secrets(held)
    elif isinstance(held, (list, tuple)):
        held = type(held)(plain_without_secrets(one) for one in held)
    elif isinstance(held, dict):
        held = {name: plain_without_secrets(one) for name, one in held.items()}
    return held  # type: ignore[no-any-return]


def _end_of_user(scheme: str, rest: str) -> int:
    """Where the @ behind user and password is, -1 where there are none. Passwords that hold a slash or an @ are
    wrong, and passwords all the same.
    """
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in place:
        return rest.rindex("@") if scheme not in ("http", "https") else place.rindex("@")
    _, has_colon, behind = place.partition(":")
    if has_colon and "@" in rest and (scheme not in ("http", "https") or not behind.isdigit()):
        return rest.rindex("@")
    return -1


def counted(count: int | str, one: str, many: str = "") -> str:
    """A number and what it counts, such as ``1 part`` and ``12 parts``.

    Parameters
    ----------
    count
        How many; a number that is written already, such as ``1,024``, is more than one thing unless it is ``1``.
    one
        The noun, and what agrees with it: ``part is``.
    many
        The same of none or several; without it an ``s`` is put behind.
    """
    return f"{count} {agreed(count, one, many)}"


def agreed(count: int | str, one: str, many: str = "") -> str:
    """`counted` without the number."""
    return one if str(count) == "1" else many or f"{one}s"


def lengths_of(seconds: Sequence[float], is_told: Callable[[Sequence[float]], bool]) -> list[str]:
    """Lengths of time, such as ``3.2 s`` and ``59 min 58 s``, as exact as is needed for what a sentence says of them.

    Parameters
    ----------
    seconds
        What they are.
    is_told
        Whether rounded ones still show what the sentence says: which is more, or that one is not nothing.
    """
    found = _exact_enough(seconds, is_told, range(1, 7), round)
    return [_length(one) for one in found]


def sizes_of(sizes: Sequence[float], is_told: Callable[[Sequence[float]], bool]) -> list[str]:
    """Sizes in bytes, such as ``3.2 MB``, as exact as is needed (`lengths_of`)."""
    found = _exact_enough(sizes, is_told, range(3, 16), lambda one, digits: float(f"{one:.{digits}g}"))
    return [_size(one) for one in found]


def _exact_enough(
    values: Sequence[float],
    is_told: Callable[[Sequence[float]], bool],
    places: range,
    shorten: Callable[[float, int], float],
) -> list[float]:
    rounded = list(values)
    for digits in places:
        rounded = [shorten(one, digits) for one in values]
        if is_told(rounded):
            break
    return rounded


def _length(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    parts = [f"{minutes:.0f} min"] if minutes else []
    return " ".join([*parts, f"{round(rest, 6):.9g} s"] if rest or not parts else parts)


def _size(count: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.15g} {name}"
    return counted(f"{count:.0f}", "byte")
