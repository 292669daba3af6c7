"""What was found out about whether a request may be done, as it is stored with its job and written into manifests.

A verdict says who decided by what, how many people were looked for and how many had agreed. It holds no face, no
likeness, no name of a file and no name of a person: of consents only their references.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

Mode = Literal["off", "record", "require"]
"""Not looked for; looked for and noted; and refused where it is missing."""
Content = Literal["unchecked", "clear", "flagged"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""From the most lenient to the strictest."""


def strictest(modes: Iterable[Mode]) -> Mode:
    """The strictest of some modes; off where there is none."""
    return max(modes, key=MODES.index, default="off")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks of one request came to.

    Attributes
    ----------
    consent_mode, content_mode
        What was in force.
    asked
        References of consents that the request named.
    used
        References of consents that cover somebody.
    sources, sources_covered
        Photos and one-person models whose face is put on, and those of people who have agreed.
    targets, targets_covered
        People of the target who are changed, and those who have agreed. Who could not be recognised has not.
    has_blocklist
        Whether there was a list of people who must never take part; nobody of it does, or there would be no output.
    content
        What the check of the content said; ``unchecked`` where nothing could look, or nobody asked.
    content_models
        Who looked: id, version and licence.
    frames_checked
        Frames that were looked at for their content.
    notes
        Sentences on what is missing, for people.
    """

    consent_mode: Mode = "off"
    content_mode: Mode = "off"
    asked: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    sources: int = 0
    sources_covered: int = 0
    targets: int = 0
    targets_covered: int = 0
    has_blocklist: bool = False
    content: Content = "unchecked"
    content_models: tuple[str, ...] = ()
    frames_checked: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_covered(self) -> bool:
        """Whether everybody who was looked for has agreed."""
        return (self.sources, self.targets) == (self.sources_covered, self.targets_covered)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was looked for and nothing was said."""
        return self == Verdict()

    def joined(self, later: Verdict) -> Verdict:
        """This verdict with what was found out later about other people and frames of the same request."""
        contents: tuple[Content, ...] = ("unchecked", "clear", "flagged")
        return replace(
            self,
            consent_mode=strictest([self.consent_mode, later.consent_mode]),
            content_mode=strictest([self.content_mode, later.content_mode]),
            asked=_each_once(self.asked, later.asked),
            used=tuple(sorted({*self.used, *later.used})),
            sources=self.sources + later.sources,
            sources_covered=self.sources_covered + later.sources_covered,
            targets=self.targets + later.targets,
            targets_covered=self.targets_covered + later.targets_covered,
            has_blocklist=self.has_blocklist or later.has_blocklist,
            content=max(self.content, later.content, key=contents.index),
            content_models=_each_once(self.content_models, later.content_models),
            frames_checked=self.frames_checked + later.frames_checked,
            notes=_each_once(self.notes, later.notes),
        )

    def as_dict(self) -> dict[str, Any]:
        """For the store, for manifests and for JSON."""
        return {
            "consent": {
                "mode": self.consent_mode, "asked": list(self.asked), "used": list(self.used),
                "sources": self.sources, "sources_covered": self.sources_covered,
                "targets": self.targets, "targets_covered": self.targets_covered, "is_covered": self.is_covered,
            },
            "blocklist": {"is_checked": self.has_blocklist},
            "content": {
                "mode": self.content_mode, "found": self.content, "models": list(self.content_models),
                "frames": self.frames_checked,
            },
            "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `as_dict` gave.

        Raises
        ------
        ValueError, TypeError, KeyError
            When it is none.
        """
        consent, content = values["consent"], values["content"]
        sources, sources_covered, targets, targets_covered = (
            int(consent[name]) for name in ("sources", "sources_covered", "targets", "targets_covered")
        )
        return cls(
            consent_mode=_one_of(consent["mode"], MODES),
            content_mode=_one_of(content["mode"], MODES),
            asked=_texts(consent["asked"]),
            used=_texts(consent["used"]),
            sources=sources,
            sources_covered=sources_covered,
            targets=targets,
            targets_covered=targets_covered,
            has_blocklist=bool(values["blocklist"]["is_checked"]),
            content=_one_of(content["found"], get_args(Content)),
            content_models=_texts(content["models"]),
            frames_checked=int(content["frames"]),
            notes=_texts(values["notes"]),
        )


def _each_once(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"{values!r} is no list")
    return tuple(str(value) for value in values)


def _one_of(value: Any, known: Any) -> Any:
    if value not in known:
        raise ValueError(f"{value!r} is none of {known}")
    return value
