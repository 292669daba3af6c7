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
    "left half": "in which the person's right cheek is seen",
    "right half": "in which the person's left cheek is seen",
    "forehead": "without hair or a hat over the forehead",
    "brows and eyes": "without glasses",
    "nose and cheeks": "with nothing before the cheeks",
    "mouth and chin": "with nothing before the mouth",
}
PARTS = {"left half": "right cheek", "right half": "left cheek"}
"""What parts are called where users are told: a person's own left and right cannot be mistaken."""
Verdict = Literal["good", "fair", "poor"]
MEANING: dict[Verdict, str] = {
    "good": "good",
    "fair": "fair; what is completed is likely, not known",
    "poor": "poor; much of it is a guess",
}


def verdict_of(found: Inspection) -> Verdict:
    """How far a face can be trusted."""
    share = found.shares["face"]
    if share >= GOOD:
        return "good"
    return "fair" if share >= FAIR else "poor"


def advice(found: Inspection) -> list[str]:
    """What to add, in sentences; nothing where the photos show enough."""
    missing = [name for name in ADVICE if found.shares[name] < LEAST]
    told = []
    if missing and len(missing) <= MANY:
        named = ", ".join(PARTS.get(name, name) for name in missing)
        wanted = ", or ".join(ADVICE[name] for name in missing)
        told.append(f"Little is seen of: {named}. Add a photo {wanted}.")
    elif missing or found.shares["face"] < FAIR:
        told.append(
            "Little is seen of the face. Add a larger photo from the front, evenly lit, with nothing before the face."
        )
    elif not found.has_eyes:
        told.append("No open, clear eyes are seen, so those of the target stay. Add a larger photo with open eyes.")
    if found.has_glasses:
        told.append("Glasses are left out, and what they hide is completed. A photo without them shows more.")
    if found.is_colourless:
        told.append(
            "The photos have no colours, so the face gets those that most have. A photo in colour shows its own."
        )
    return told
