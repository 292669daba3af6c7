"""A report as one HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import io
from importlib.util import find_spec

from facefusion.errors import ExtraMissing
from facefusion.metrics.figures import LIMITS, Report, Row

PACKAGES = ("jinja2", "matplotlib")
"""What a page is made with: the extra ``report``."""

_PLOTS = (
    ("similarity_source", "likeness to the source (cosine)"),
    ("similarity_target", "likeness to the target (cosine)"),
    ("pose_error_deg", "pose error, degrees"),
    ("border", "step across the outline, CIELAB"),
    ("covered", "covered share"),
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.title }}: report</title>
<style>
 body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2330; }
 h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } small, .note { color: #5b6577; }
 table { border-collapse: collapse; width: 100%; } th, td { text-align: right; padding: .3rem .55rem; }
 th:first-child, td:first-child { text-align: left; } tr { border-bottom: 1px solid #dfe4ec; }
 .bad { color: #b3261e; font-weight: 600; } figure { display: inline-block; margin: .4rem .6rem .8rem 0; }
 figcaption { max-width: 29rem; font-size: .85rem; color: #5b6577; } img.face { width: 14rem; border-radius: 4px; }
 svg { max-width: 100%; height: auto; } .plots { display: block; }
</style></head><body>
<h1>{{ report.title }}</h1>
<p class="note">{{ report.rows | length }} {{ "row" if report.rows | length == 1 else "rows" }}, one for every person in
every shot. {% if report.models %}Made with {{ report.models | join(", ") }}.{% endif %}</p>
{% for line in report.notes %}<p class="note">{{ line }}</p>{% endfor %}
{% for line in failures %}<p class="bad">Below the limit: {{ line }}.</p>{% endfor %}
<table><tr><th>measure</th><th>all</th>
{% for row in report.rows %}<th>shot {{ row.shot }}<br>person {{ row.person }}</th>{% endfor %}</tr>
<tr><td>time</td><td></td>{% for row in report.rows %}<td>{{ "%.1f" | format(row.start_s) }} to
{{ "%.1f" | format(row.stop_s) }} s</td>{% endfor %}</tr>
<tr><td>frames</td><td>{{ report.rows | sum(attribute="frames") }}</td>
{% for row in report.rows %}<td>{{ row.frames }}</td>{% endfor %}</tr>
{% for name, (meaning, _) in limits.items() if overall[name] == overall[name] %}<tr>
<td>{{ name }} <small>{{ meaning }}</small></td>
<td>{{ number(overall[name]) }}</td>{% for row in report.rows %}<td>{{ number(row.figures()[name]) }}</td>{% endfor %}
</tr>{% endfor %}</table>
{% for row, plot in rows %}<h2>Shot {{ row.shot }}, person {{ row.person }}</h2>
<div class="plots">{{ plot }}</div>
{% if row.pictures %}<p class="note">Frames to look at, the worst first. Left before, right after.</p>
{% for p in row.pictures %}<figure><img class="face" alt="before" src="data:image/jpeg;base64,{{ b64(p.before) }}">
<img class="face" alt="after" src="data:image/jpeg;base64,{{ b64(p.after) }}">
<figcaption>{{ "%.2f" | format(p.time_s) }} s: {{ p.reason }}</figcaption></figure>{% endfor %}{% endif %}{% endfor %}
<p class="note">Figures are measured by the embedded models; they are means over a few frames a second. Likeness is what
the embedded recogniser sees: another one, or a person, may see it otherwise. The pictures show faces: keep this file as
carefully as the clip.</p>
</body></html>
"""


def check_page() -> None:
    """Refuse to make a page without the packages that it is made with.

    Raises
    ------
    ExtraMissing
    """
    for package in _missing():
        raise ExtraMissing.of("A report (--report) as a page", package, "report")


def can_make_page() -> bool:
    """Whether the packages are here."""
    return not _missing()


def _missing() -> list[str]:
    return [package for package in PACKAGES if find_spec(package) is None]


def render_page(report: Report, failures: tuple[str, ...] = ()) -> str:
    """The whole page."""
    from jinja2 import Environment
    from markupsafe import Markup

    environment = Environment(autoescape=True)
    return environment.from_string(_PAGE).render(
        report=report,
        failures=failures,
        overall=report.overall(),
        limits=LIMITS,
        rows=[(row, Markup(_plot(row))) for row in report.rows],
        number=lambda value: "" if value != value else f"{value:.3f}",
        b64=lambda content: base64.b64encode(content).decode("ascii"),
    )


def _plot(row: Row) -> str:
    """Everything over time, as SVG."""
    from matplotlib.figure import Figure

    times = [sample.time_s for sample in row.samples]
    if len(times) < 2:
        return ""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True).ravel()
    measured = [
        (name, title) for name, title in _PLOTS if any(getattr(s, name) == getattr(s, name) for s in row.samples)
    ]
    for axis in axes[len(measured) : 5]:
        axis.set_axis_off()
    for axis, (name, title) in zip(axes, measured, strict=False):
        axis.plot(times, [getattr(sample, name) for sample in row.samples], color="#2457a6", linewidth=1.2)
        axis.set_title(title, fontsize=9)
    axes[5].plot(times, [s.flicker_target for s in row.samples], color="#8a93a3", linewidth=1.2, label="target")
    axes[5].plot(times, [s.flicker_output for s in row.samples], color="#b3541e", linewidth=1.2, label="output")
    axes[5].set_title("warping error", fontsize=9)
    axes[5].legend(fontsize=7, frameon=False)
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        axis.set_ylim(bottom=0)
    axes[4].set_xlabel("s", fontsize=8)
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    text = content.getvalue()
    return text[text.index("<svg") :]
