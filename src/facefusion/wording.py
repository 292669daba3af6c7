"""Numbers in sentences."""

from __future__ import annotations


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
