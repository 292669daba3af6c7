"""How far what photos show of a face can be trusted, and what to add."""

from __future__ import annotations

from typing import Literal

from facefusion.types.crop import Inspection

GOOD, FAIR = 0.75, 0.5
"""Shares of a face that photos must show so that it is the person, and so that it is somebody like them."""
LEAST = 0.45
"""Share of a part of the face below which a photo that shows it is asked for."""
MANY = 3
"""Parts that are not seen, of which more are no longer named one by one."""
ADVICE = {
    "left half": "from the side that is left in the picture",
    "right half": "from the side that is right in the picture",
    "forehead": "without hair or a hat over the forehead",
    "brows and eyes": "without glasses",
    "nose and cheeks": "with nothing before the cheeks",
    "mouth and chin": "with nothing before the mouth",
}
Verdict = Literal["good", "fair", "poor"]


def verdict_of(found: Inspection) -> Verdict:
    """How far a face can be trusted."""
    share = found.shares["face"]
    if share >= GOOD:
        return "good"
    return "fair" if share >= FAIR else "poor"


def advice(found: Inspection) -> list[str]:
    """What to add, in sentences; nothing where the photos show enough."""
    missing = [name for name in ADVICE if found.shares[name] < LEAST]
    if missing and len(missing) <= MANY:
        return [f"Little is seen of: {', '.join(missing)}. Add a photo {', or '.join(ADVICE[m] for m in missing)}."]
    if missing or found.shares["face"] < FAIR:
        return [
            "Little is seen of the face. Add a larger photo from the front, evenly lit, with nothing before the face."
        ]
    if not found.has_eyes:
        return ["No open, clear eyes are seen, so those of the target stay. Add a larger photo with open eyes."]
    return []
