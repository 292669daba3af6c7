"""How far what photos show of a face can be trusted, and what to add."""

from __future__ import annotations

from typing import Literal

from facefusion.types.crop import Flaw, Inspection

GOOD, FAIR = 0.75, 0.5
"""Shares of a face that photos must show so that it is the person, and so that it is somebody like them."""
TOLD = 0.7
"""The same, below which the part that is seen least is named though each is seen."""
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
FLAWS: dict[Flaw, str] = {
    "below": "The face is seen from far below, and what is flat there is likely, not known. "
    "Use a photo from the height of the eyes.",
    "above": "The face is seen from far above, and what is flat there is likely, not known. "
    "Use a photo from the height of the eyes.",
    "turned": "The face is turned far aside, and its other half is likely, not known. Add a photo from the front.",
    "light": "The face is in hard light, or lit from one side, and some of its shade stays in the new face. "
    "Use a photo that is evenly lit.",
    "burnt": "Part of the face is burnt out and shows no skin. Use a photo that is less bright.",
    "frown": "The brows are drawn together, and something of that stays in the new face. Use a photo with a calm face.",
}
"""What is said of flaws of a photo that shows enough of a face."""
Verdict = Literal["good", "fair", "poor"]
MEANING: dict[Verdict, str] = {
    "good": "good",
    "fair": "fair; what is completed is likely, not known",
    "poor": "poor; much of it is a guess",
}


def verdict_of(found: Inspection) -> Verdict:
    """How far a face can be trusted: what is shown is no good likeness where it is seen as nobody usually is."""
    share = found.shares["face"]
    if share >= GOOD and not found.flaws:
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
    elif found.shares["face"] < TOLD and not (found.flaws or found.has_glasses):
        least = min(ADVICE, key=lambda name: found.shares[name])
        told.append(f"Not all is seen of: {PARTS.get(least, least)}. A photo {ADVICE[least]} shows more.")
    told += [FLAWS[flaw] for flaw in found.flaws]
    if found.has_glasses:
        told.append("Glasses are left out, and what they hide is completed. A photo without them shows more.")
    if found.is_colourless:
        told.append(
            "The photos have no colours, so the face gets those that most have. A photo in colour shows its own."
        )
    return told
