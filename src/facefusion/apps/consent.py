"""``facefusion consent`` and ``facefusion blocklist``: print what the service tells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from facefusion.apps.console import shown
from facefusion.apps.show import Show
from facefusion.errors import RecipeError
from facefusion.policy.site import SitePolicy
from facefusion.service import consent
from facefusion.service.consent import BlockedView, ConsentView, PhotoChecked
from facefusion.wording import counted


def run_consent(words: Mapping[str, Any], site: SitePolicy, show: Show) -> int:
    """Do what is said.

    Raises
    ------
    FaceFusionError
    """
    action, names = words["action"], list(words["names"])
    if action == "list":
        if names:
            raise RecipeError(f"'{names[0]}' means nothing to consent list.", "See facefusion consent --help.")
        found = consent.list_consents(site)
        show.answer("consents", found, "\n".join(map(_line, found.consents)) or "No consents.")
        return 0
    if not names:
        raise RecipeError(f"What is to be told '{action}'?", "See facefusion consent --help.")
    if action == "add":
        photos = [Path(name) for name in names[1:]]
        scope = {
            "person": words["person"], "processors": tuple(words["for_processors"]), "tenants": tuple(words["tenants"]),
            "models": tuple(words["models"]), "note": words["note"],
            "valid_from": _day(words["valid_from"], "--from"), "valid_until": _day(words["valid_until"], "--until"),
            **({"uses": tuple(words["uses"])} if words["uses"] else {}),
        }  # fmt: skip
        made = consent.add_consent(site, names[0], photos, **scope)
        show.answer("consent", made, f"Entered: {_line(made)}")
    elif action == "check":
        for checked in consent.check_photos(site, [Path(name) for name in names]):
            show.answer("checked", checked, _text_of_check(checked))
    else:
        for name in names:
            view = consent.show_consent(site, name) if action == "show" else consent.revoke_consent(site, name)
            show.answer("consent", view, _text(view) if action == "show" else f"Revoked: {_line(view)}")
    return 0


def run_blocklist(words: Mapping[str, Any], site: SitePolicy, show: Show) -> int:
    """Do what is said.

    Raises
    ------
    FaceFusionError
    """
    action, names = words["action"], list(words["names"])
    if action == "list":
        if names:
            raise RecipeError(f"'{names[0]}' means nothing to blocklist list.", "See facefusion blocklist --help.")
        found = consent.list_blocked(site)
        show.answer("blocklist", found, "\n".join(map(_blocked, found.people)) or "Nobody.")
    elif action == "add":
        made = consent.block(site, [Path(name) for name in names], words["note"])
        show.answer("blocked", made, f"Put on the blocklist: {_blocked(made)}")
        if made.faces > len(names):
            show.note(
                f"{counted(len(names), 'photo')} {'shows' if len(names) == 1 else 'show'} "
                f"{counted(made.faces, 'face')}; everybody in them is blocked."
            )
    else:
        if not names:
            raise RecipeError("Who is to be taken off the blocklist?", "See 'facefusion blocklist list'.")
        gone = consent.unblock(site, names)
        show.answer("unblocked", gone, "\n".join(f"Taken off: {_blocked(one)}" for one in gone.people))
    return 0


def _day(text: str, flag: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise RecipeError(f"{flag} {text} is no day.", "Write it as 2026-01-31.") from error


def _line(view: ConsentView) -> str:
    until = f"until {view.valid_until}" if view.valid_until else "without an end"
    used = "" if view.photos_usable is None else f" ({view.photos_usable} usable)"
    photos = counted(view.photos, "photo") + used
    return f"{view.ref:<20} {view.state:<14} {until:<18} {photos}  {shown(view.person)}".rstrip()


def _text(view: ConsentView) -> str:
    lines = [_line(view), f"  for {' and '.join(view.uses)}"]
    lines.append(f"  by {', '.join(view.processors) or 'any processor'}, for {', '.join(view.tenants) or 'anybody'}")
    lines += [f"  models: {', '.join(view.models)}"] if view.models else []
    lines += [f"  from {view.valid_from}"] if view.valid_from else []
    lines += [f"  {shown(view.note)}"] if view.note else []
    return "\n".join(
        [*lines, f"  entered {view.added_at}", *([f"  revoked {view.revoked_at}"] if view.revoked_at else [])]
    )


def _text_of_check(checked: PhotoChecked) -> str:
    several = len(checked.faces) > 1
    state = "on the blocklist" if checked.is_blocked else "not on the blocklist"
    who = (
        ""
        if not several
        else f"{counted(len(checked.faces), 'face')}, " + ("somebody " if checked.is_blocked else "all ")
    )
    lines = [f"{shown(checked.photo)}: {who}{state}"]
    for number, face in enumerate(checked.faces):
        if several:
            size = " (the largest: who is used of a source)" if not number else ""
            lines.append(f"  face {number + 1}{size}: {'on' if face.is_blocked else 'not on'} the blocklist")
        lines += [f"  {_line(view)}" for view in face.consents] or ["  no consent of this person is here"]
    return "\n".join(lines)


def _blocked(view: BlockedView) -> str:
    return f"{view.id}  {view.added_at[:10]}  {counted(view.faces, 'face')}  {shown(view.note)}".rstrip()
