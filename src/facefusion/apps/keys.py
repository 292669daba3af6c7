"""``facefusion keys``: make, list, replace and end the keys of a service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from facefusion.apps.backends import backend_of
from facefusion.apps.console import shown
from facefusion.apps.show import Show
from facefusion.errors import ExtraMissing, RecipeError
from facefusion.settings import JobSettings

if TYPE_CHECKING:
    from facefusion.jobs.ledger import Key

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0}
LONGEST_S = 100 * 365 * 86400.0
_LAST_DAY_S = 253_402_214_400.0
"""31 December 9999; there is no calendar behind it."""
_LONGEST_NOTE = 200


def read_duration(text: str, flag: str) -> float | None:
    """Seconds of a text such as ``90d``; None for an empty one.

    Raises
    ------
    RecipeError
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhdwy])", text.strip())
    if match is None or not int(match[1]):
        raise RecipeError(f"{flag} {text} is no duration.", "Write 90d, 12h or 30m.")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > LONGEST_S:
        raise RecipeError(f"{flag} {text} is more than a hundred years.", f"Leave {flag} out for no end, or say less.")
    return seconds


def run_keys(words: Mapping[str, Any], settings: JobSettings, show: Show) -> int:
    """Do what is said.

    Raises
    ------
    ExtraMissing, RecipeError, NotThere
    """
    try:
        from facefusion.server import access
        from facefusion.server.config import ServerConfig
    except ModuleNotFoundError as error:
        raise ExtraMissing.of("The service", str(error.name), "server") from error
    from facefusion.jobs.ledger import Ledger

    ledger = Ledger(ServerConfig(backend_of(settings)).store_url)
    try:
        action, names = words["action"], list(words["names"])
        if names and action in ("create", "list"):
            raise RecipeError(f"'{names[0]}' means nothing to keys {action}.", "See facefusion keys --help.")
        if action == "create":
            if len(words["note"]) > _LONGEST_NOTE:
                raise RecipeError(f"The note has {len(words['note'])} characters.", f"Up to {_LONGEST_NOTE} are kept.")
            if not words["tenant"]:
                raise RecipeError("Whose key is it to be?", "Add --tenant NAME.")
            scopes = [scope for scope in re.split(r"[,\s]+", words["scopes"]) if scope]
            expires_s = read_duration(words["expires"], "--expires")
            _tell_new(*access.create_key(ledger, words["tenant"], scopes, expires_s, words["note"]), ledger.now(), show)
        elif action == "list":
            _list(ledger.list_keys(words["tenant"]), ledger.now(), show)
        elif not names:
            raise RecipeError(f"Which key is to be told '{action}'?", "See 'facefusion keys list'.")
        for name in names if action in ("rotate", "revoke") else ():
            key = access.find_key(ledger, name)
            if action == "rotate":
                grace_s = read_duration(words["grace"], "--grace") or 0.0
                _tell_new(*access.rotate_key(ledger, key.id, grace_s), ledger.now(), show)
            else:
                ledger.change_key(key.id, revoked_at=ledger.now())
                ended = access.KeyView.of(access.find_key(ledger, key.id), ledger.now())
                show.answer("key", ended, f"Key {key.id} opens nothing any more.")
    finally:
        ledger.close()
    return 0


def _tell_new(key: Key, secret: str, now: float, show: Show) -> None:
    from facefusion.server.access import KeyView

    text = f"{secret}\nThis is the only time that it is shown. It opens {key.tenant} for {', '.join(key.scopes)}"
    text += f", until {_moment(key.expires_at)}." if key.expires_at else "."
    show.answer("key", KeyView.of(key, now, secret), text)


def _list(keys: list[Key], now: float, show: Show) -> None:
    from facefusion.server.access import KeyList, KeyView

    found = KeyList(tuple(KeyView.of(key, now) for key in keys))
    lines = [
        f"{key.id}  {key.tenant:<16} {key.status:<9} until {_moment(key.expires_at):<22}"
        f"last used {_day(key.used_at):<11}"
        f"{','.join(key.scopes)}  {shown(key.note)}".rstrip()
        for key in found.keys
    ]
    show.answer("keys", found, "\n".join(lines) or "No keys.")


def _moment(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(min(at, _LAST_DAY_S), UTC).strftime("%Y-%m-%d %H:%M UTC")


def _day(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(min(at, _LAST_DAY_S), UTC).strftime("%Y-%m-%d")
