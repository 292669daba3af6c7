"""``facefusion verify``: prints what files say of how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facefusion.apps.console import shown
from facefusion.apps.show import Show
from facefusion.errors import RecipeError
from facefusion.policy.signing import LOCAL_NAME
from facefusion.policy.verdict import Verdict
from facefusion.policy.verifying import State
from facefusion.service.backend import Backend
from facefusion.service.jobs import Jobs
from facefusion.service.provenance import Verification, verify_files

EXIT_UNTRUSTED, EXIT_TAMPERED, EXIT_MARKED, EXIT_NONE = 10, 11, 12, 13
EXIT_TEXT = """exit codes of verify:
  0 trusted; without --trust also valid   10 valid, by nobody on the list of --trust
  11 tampered   12 marked-only   13 none   (of several files the worst: 11, 13, 12, 10)"""
_WORST = (EXIT_TAMPERED, EXIT_NONE, EXIT_MARKED, EXIT_UNTRUSTED, 0)
_MEANING: dict[State, str] = {
    "trusted": "intact, signed by somebody on the list",
    "valid": "intact, signed by somebody who is on no list that was given",
    "tampered": "changed since it was signed, or its signature is damaged",
    "marked-only": "not signed, or not any more, but it has the invisible mark of changed faces",
    "none": "says nothing of how it was made",
}
_DONE = {
    "c2pa.opened": "opened", "c2pa.edited": "edited", "c2pa.created": "created", "c2pa.transcoded": "transcoded",
    "c2pa.redacted": "pictures of the target's own manifest left out",
}  # fmt: skip


def run_verify(files: Sequence[Path], trust: Path | None, backend: Backend, show: Show) -> int:
    """Print what files say.

    Returns
    -------
    The exit code (`EXIT_TEXT`).

    Raises
    ------
    FaceFusionError
    """
    if not files:
        raise RecipeError("Which file is to be verified?", "Name one or more: facefusion verify FILE")
    codes = set()
    with Jobs(backend) as jobs:
        for found in verify_files(files, trust, backend.policy.signing, jobs.find_marked, jobs.marks):
            show.answer("provenance", found, _text(found))
            codes.add(_code(found, trust is not None))
    return next(code for code in _WORST if code in codes)


def _code(found: Verification, has_list: bool) -> int:
    codes = {"trusted": 0, "tampered": EXIT_TAMPERED, "marked-only": EXIT_MARKED, "none": EXIT_NONE}
    return codes.get(found.state, EXIT_UNTRUSTED if has_list else 0)


_ON_NO_LIST = "signingCredential.untrusted"
"""Says of a signature whose it is, and not that anything is wrong."""


def _text(found: Verification) -> str:
    lines = [f"{shown(found.file)}: {found.state}: {_MEANING[found.state]}"]
    if found.problems and found.state == "tampered":
        wrong = [code for code in found.problems if code != _ON_NO_LIST] or found.problems
        lines.append(f"  wrong     {shown(', '.join(wrong))}")
        lines += ["  what follows is what it says, which cannot be believed"] if found.signature else []
    elif found.problems and found.state == "valid":
        expired = [code for code in found.problems if code != _ON_NO_LIST]
        lines += [f"  note      {shown(', '.join(expired))}"] if expired else []
    if found.signature is not None:
        name = f"{found.signature.organisation}, {found.signature.name}".strip(", ")
        whose = ""
        if found.is_own:
            whose = " (yours, on no list)" if found.signature.organisation == LOCAL_NAME else " (yours)"
        elif found.signature.organisation == LOCAL_NAME:
            whose = " (made by a machine for itself, on no list)"
        lines.append(f"  by        {shown(name)}{whose}")
    if found.when:
        vouched = "" if found.signature and found.signature.at else ", by the clock of whoever signed"
        lines.append(f"  when      {shown(found.when)}{vouched}")
    if found.actions:
        done = ", ".join(_DONE.get(action, action) for action in found.actions)
        kind = f" ({found.digital_source_type})" if found.digital_source_type else ""
        lines.append(f"  done      {shown(done)}{shown(kind)}")
    if found.software:
        lines.append(f"  software  {shown(f'{found.software} {found.version}')}")
    for model in found.models:
        name, licence, sha256 = (model.get(key, "") for key in ("id", "licence", "sha256"))
        lines.append(f"  model     {shown(f'{name} ({licence}) {sha256[:16]}')}")
    for one in found.ingredients:
        what = {"parentOf": "target", "inputTo": "source"}.get(one.role, one.role)
        kept = ", with a manifest of its own" if one.manifest else ""
        lines.append(f"  {what:<9} {shown(one.sha256 or 'not told')}{kept}")
    lines += [f"  policy    {shown(_checks(found.policy))}"] if found.policy else []
    if found.watermark:
        whose = " (yours)" if found.is_own and found.state == "marked-only" else ""
        lines.append(f"  mark      {shown(found.watermark)}{whose}")
    lines += [f"  job       {shown(found.job)}"] if found.job else []
    return "\n".join(lines)


def _checks(policy: Mapping[str, Any]) -> str:
    """What the site checked, as another program may have written it."""
    try:
        verdict = Verdict.from_dict(policy)
    except (ValueError, TypeError, KeyError):
        return "told in a way that is not known here"
    people = f"consent {verdict.consent_mode}"
    if verdict.consent_mode != "off":
        people += ", everybody covered" if verdict.is_covered else ", not everybody covered"
    people += f" (by {', '.join(verdict.used)})" if verdict.used else ""
    blocklist = "blocklist looked through" if verdict.has_blocklist else "no blocklist"
    return f"{people}; {blocklist}; content {verdict.content}"
