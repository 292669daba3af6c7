"""One page for all files of a batch: what came of each, whether anyone may be missed in it, and the way to its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from facefusion.wording import agreed, counted

FORMAT = "facefusion-batch-report-1"


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """A run of a batch, as the page tells it.

    Attributes
    ----------
    target, output
        Files as they are told.
    status
        ``done``, ``skipped`` (it was there already), ``failed`` or ``left`` (not tried).
    page
        Reference to its own page, from where the summary is; empty where there is none.
    is_clear
        Whether nobody is known to be missed; None where nobody was hidden, or that is not known.
    said
        The verdict of its review, or why it failed.
    sure, doubtful, left, exempt, openings
        Finds that are hidden beyond doubt, those in doubt that nobody has decided on, those left alone, those left on
        purpose, and times at which somebody is lost or found in the picture.
    target_sha256, output_sha256
        Of the files; empty where they are not known.
    """

    target: str
    output: str
    status: str
    page: str = ""
    is_clear: bool | None = None
    said: str = ""
    sure: int = 0
    doubtful: int = 0
    left: int = 0
    exempt: int = 0
    openings: int = 0
    target_sha256: str = ""
    output_sha256: str = ""

    @property
    def rank(self) -> int:
        """What has to be looked at comes first."""
        if self.status in ("failed", "left"):
            return 0
        return {False: 1, None: 2, True: 3}[self.is_clear]


def entry_of(values: Mapping[str, Any], **known: Any) -> BatchEntry:
    """An entry from the JSON of a run's own report.

    Parameters
    ----------
    values
        What `facefusion.metrics.report.write_report` wrote.
    known
        Fields of the entry that it does not tell.
    """
    review = values.get("review")
    if not isinstance(review, dict):
        return BatchEntry(**known)
    areas, evidence = review.get("areas", []), review.get("evidence", {})
    hidden = [area for area in areas if area["what"] == "hidden"]
    is_open = [area for area in hidden if area["certainty"] == "unsure" and not area["decision"]]
    return BatchEntry(
        **known,
        is_clear=bool(review["nobody_known_to_be_missed"]),
        said=str(review["verdict"]),
        sure=sum(area["certainty"] == "sure" for area in hidden),
        doubtful=len(is_open),
        left=sum(area["what"] == "left" for area in areas),
        exempt=sum(area["what"] == "exempt" for area in areas),
        openings=len(review.get("openings", [])),
        target_sha256=str(evidence.get("target_sha256", "")),
        output_sha256=str(evidence.get("output_sha256", "")),
    )


def verdict_of_batch(entries: Sequence[BatchEntry]) -> tuple[bool, str]:
    """Whether nothing is left to be looked at, and the answer in words."""
    failed = sum(one.status == "failed" for one in entries)
    left = sum(one.status == "left" for one in entries)
    told = [one for one in entries if one.status in ("done", "skipped")]
    marked = sum(one.is_clear is False for one in told)
    clear, unknown = sum(one.is_clear is True for one in told), sum(one.is_clear is None for one in told)
    questions = []
    if marked:
        questions.append(f"in {counted(marked, 'file')} somebody may be missed")
    if failed:
        questions.append(f"{counted(failed, 'file')} failed")
    if left:
        questions.append(f"{counted(left, 'file')} {agreed(left, 'was', 'were')} not tried")
    if unknown and (clear or marked):
        questions.append(f"of {counted(unknown, 'file')} nothing is known")
    if clear or marked:
        opening = f"Nobody is known to be missed in {clear} of {counted(len(entries), 'file')}."
    else:
        opening = f"{len(told)} of {counted(len(entries), 'file')} {agreed(len(told), 'is', 'are')} there."
    is_clear = not questions
    return is_clear, opening if is_clear else f"{opening} Look at what is marked: {'; '.join(questions)}."


def batch_values(entries: Sequence[BatchEntry]) -> dict[str, Any]:
    """The same for programs."""
    is_clear, said = verdict_of_batch(entries)
    return {
        "format": FORMAT,
        "verdict": said,
        "nobody_known_to_be_missed": is_clear,
        "files": [asdict(one) for one in entries],
    }


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
 body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; color: #1c2330; }
 h1 { font-size: 1.4rem; margin: .2rem 0 .6rem; } .note, small { color: #5b6577; }
 .verdict { border-left: .5rem solid #b45309; background: #fff7ed; padding: .8rem 1rem; font-size: 1.05rem; }
 .verdict.clear { border-color: #15803d; background: #f0fdf4; }
 table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .7rem .35rem .5rem;
  vertical-align: top; font-size: .9rem; overflow-wrap: anywhere; } td.n, th.n { text-align: right; }
 th { overflow-wrap: normal; }
 tr { border-bottom: 1px solid #dfe4ec; } td:first-child { border-left: .35rem solid #6b7280; }
 tr.r0 td:first-child { border-color: #b91c1c; } tr.r1 td:first-child { border-color: #b45309; }
 tr.r3 td:first-child { border-color: #15803d; }
</style></head><body>
<h1>{{ title }}</h1>
<p class="verdict {{ 'clear' if is_clear }}" id="verdict">{{ said }}</p>
<table><thead><tr><th>file</th><th>what came of it</th>{% if is_review %}<th class="n">hidden</th>
<th class="n">in doubt</th><th class="n">lost or found</th><th class="n">left alone</th>
<th class="n">exempt</th>{% endif %}
<th>output</th></tr></thead><tbody>
{% for one in entries %}<tr class="r{{ one.rank }}"><td>{% if one.page %}<a href="{{ one.page }}">{{ one.target }}</a>{%
else %}{{ one.target }}{% endif %}</td><td>{{ words[one.status] }}{% if one.said %}<br><small>{{ one.said }}</small>{%
endif %}</td>{% if is_review %}
{% for n in (one.sure, one.doubtful, one.openings, one.left, one.exempt) %}<td class="n">{{
n if one.is_clear is not none else "" }}</td>{% endfor %}{% endif %}<td>{{ one.output }}{% if one.output_sha256 %}<br>
<small>SHA-256 {{ one.output_sha256 }}</small>{% endif %}</td></tr>
{% endfor %}</tbody></table>
<p class="note">Files that have to be looked at come first. Each name leads to the file's own page{% if is_review %}, on
which finds are confirmed; those pages show bare faces{% endif %}. The JSON file beside this one holds the same.</p>
</body></html>
"""
_WORDS = {"done": "done", "skipped": "was there already", "failed": "failed", "left": "not tried"}


def render_batch(entries: Sequence[BatchEntry]) -> str:
    """The whole page."""
    from jinja2 import Environment

    is_clear, said = verdict_of_batch(entries)
    is_review = any(one.is_clear is not None for one in entries)
    return (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            entries=sorted(entries, key=lambda one: one.rank), is_clear=is_clear, said=said, is_review=is_review,
            title="All files: was anyone missed?" if is_review else "All files", words=_WORDS,
        )
    )  # fmt: skip
