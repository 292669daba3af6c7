"""Timecodes of cameras and editors: read, and moved by frames.

References
----------
SMPTE ST 12-1 (drop frame: two numbers a minute are left out, four at 60 frames a second, but for every tenth minute).
"""

from __future__ import annotations

import re
from fractions import Fraction

_PATTERN = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})([:;.])(\d{2,3})")


def move_timecode(timecode: str, frames: int, frame_rate: Fraction) -> str | None:
    """The timecode some frames later.

    Parameters
    ----------
    timecode
        Such as ``01:02:03:04``, or ``01:02:03;04`` with drop frame.
    frames
        How much later, 0 or more.
    frame_rate
        Frames per second; rounded it is what the timecode counts.

    Returns
    -------
    It, or None where the text is no timecode of this frame rate.
    """
    found = _PATTERN.fullmatch(timecode.strip())
    count = round(frame_rate)
    if found is None or count < 1:
        return None
    hours, minutes, seconds, number = (int(found[place]) for place in (1, 2, 3, 5))
    is_dropping = found[4] != ":"
    if minutes > 59 or seconds > 59 or number >= count or (is_dropping and count % 30):
        return None
    dropped = count // 15 if is_dropping else 0
    total_minutes = hours * 60 + minutes
    at = (total_minutes * 60 + seconds) * count + number - dropped * (total_minutes - total_minutes // 10) + frames
    per_minute, per_ten = count * 60 - dropped, count * 600 - dropped * 9
    at %= per_ten * 144  # a day
    tens, rest = divmod(at, per_ten)
    # The first of ten minutes is whole.
    skipped = 0 if rest < count * 60 else 1 + (rest - count * 60) // per_minute
    at += dropped * (tens * 9 + skipped)
    seconds, number = divmod(at, count)
    separator = ";" if is_dropping else ":"
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{separator}{number:02d}"
