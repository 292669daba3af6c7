"""A review as one HTML page: it needs no network, and saves the decisions that are made on it."""

from __future__ import annotations

import base64
import json

from facefusion.metrics.figures import LIMITS, Report
from facefusion.metrics.review import Review

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.title }}: was anyone missed?</title>
<style>
 :root { --doubt: #b45309; --sure: #15803d; --left: #6b7280; --open: #b91c1c; --exempt: #1d4ed8; }
 * { box-sizing: border-box; }
 body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; color: #1c2330; }
 h1 { font-size: 1.4rem; margin: .2rem 0 .6rem; } h2 { font-size: 1.1rem; margin: 1.8rem 0 .5rem; }
 .note, small { color: #5b6577; } .bad { color: #b3261e; font-weight: 600; }
 .verdict { border-left: .5rem solid var(--doubt); background: #fff7ed; padding: .8rem 1rem; font-size: 1.05rem; }
 .verdict.clear { border-color: var(--sure); background: #f0fdf4; }
 .bar { position: sticky; top: 0; background: #fff; padding: .5rem 0; border-bottom: 1px solid #dfe4ec; z-index: 2;
  display: flex; gap: .8rem; align-items: center; flex-wrap: wrap; }
 .bar button { font: inherit; padding: .35rem .9rem; border: 0; border-radius: .3rem; color: #fff;
  background: #1c2330; }
 .bar button:disabled { background: #aab2c0; }
 .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(14.6rem, 1fr)); gap: .6rem; }
 .card { border: 1px solid #dfe4ec; border-radius: .4rem; padding: .4rem; border-left: .35rem solid var(--left); }
 .card.unsure { border-left-color: var(--doubt); } .card.sure { border-left-color: var(--sure); }
 .card.exempt { border-left-color: var(--exempt); }
 .card img { width: 6.4rem; height: 6.4rem; border-radius: .25rem; vertical-align: top; background: #eef1f5; }
 .card p { margin: .3rem 0; font-size: .8rem; line-height: 1.3; }
 .card label { font-size: .8rem; margin-right: .5rem; white-space: nowrap; }
 .sheets { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(34rem, 100%), 1fr)); gap: .8rem; }
 figure { margin: 0; } figcaption { font-size: .8rem; color: #5b6577; } figure svg { width: 100%; height: auto; }
 svg rect { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
 .b-unsure { stroke: #f59e0b; fill: #f59e0b; } .b-sure { stroke: #22c55e; fill: #22c55e; }
 .b-open { stroke: #ef4444; fill: #ef4444; stroke-dasharray: 6 4; } .b-exempt { stroke: #3b82f6; fill: #3b82f6; }
 svg text { stroke: #000; paint-order: stroke; font-weight: 700; }
 table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem .8rem .2rem 0; font-size: .85rem;
  overflow-wrap: anywhere; vertical-align: top; }
 details > summary { cursor: pointer; font-size: 1.1rem; font-weight: 600; margin: 1.8rem 0 .5rem; }
</style></head><body>
<h1>{{ report.title }}: was anyone missed?</h1>
<p class="verdict {{ 'clear' if is_clear }}" id="verdict">{{ said }}</p>
{% for line in failures %}<p class="bad">Below the limit: {{ line }}.</p>{% endfor %}
{% for line in report.notes %}<p class="note">{{ line }}</p>{% endfor %}
<div class="bar"><button id="save" disabled>Save decisions</button><span id="count" role="status">Nothing is decided
yet.</span><span class="note">Then run the same command with <code>--review decisions.json</code>.</span></div>
{% macro card(a) %}<div class="card {{ 'exempt' if a.what == 'exempt' else a.certainty }}" data-area="{{ a.number }}">
{% if a.before %}<img alt="find {{ a.number }} before" src="data:image/jpeg;base64,{{ b64(a.before) }}"> {% endif -%}
{% if a.after %}<img alt="find {{ a.number }} after" src="data:image/jpeg;base64,{{ b64(a.after) }}">{% endif %}
<p><b>{{ a.number }}</b> {{ words[a.what][a.certainty] }}; {% if not review.is_photo %}{{
"%.2f" | format(a.start_s) }} to {{ "%.2f" | format(a.stop_s) }} s, seen in {{ a.seen }} of {{ a.frames }}, {%
endif %}{{ "%.0f" | format(a.size_px) }} px{%
if a.detector is not none %}, detector {{ "%.2f" | format(a.detector) }}{% endif %}{% if a.verifier is not none %},
verifier {{ "%.2f" | format(a.verifier) }}{% endif %}{% if a.decision %};
decided: {{ a.decision }}{% endif %}</p>
{% for verdict, text in verdicts %}<label><input type="radio" name="a{{ a.number }}" value="{{ verdict }}"
{{ 'checked' if a.decision == verdict }}> {{ text }}</label>{% endfor %}</div>{% endmacro %}
{% macro group(title, areas, is_open) %}{% if areas %}<details {{ 'open' if is_open }}><summary>{{ title }}
({{ areas | length }})</summary><div class="cards">{% for a in areas %}{{ card(a) }}{% endfor %}</div></details>{%
endif %}{% endmacro %}
{{ group("In doubt: hidden by squares. Is it a face?", doubtful, true) }}
{% if review.openings %}<h2>Lost or found in mid-picture or at the border ({{ review.openings | length }})</h2><table>
<tr><th>find</th><th>time</th><th>what</th></tr>{% for o in review.openings %}<tr><td>{{ o.number }}</td>
<td>{{ "%.2f" | format(o.start_s) }}{% if o.stop_s > o.start_s %} to {{ "%.2f" | format(o.stop_s) }}{% endif %} s</td>
<td>{{ o.reason }}</td></tr>{% endfor %}</table>{% endif %}
<h2>{{ "The output" if review.is_photo else "Whole frames of the output, those with doubts first" }}</h2>
<p class="note">Green: hidden, beyond doubt. Orange: hidden, in doubt. Blue: exempt. Red, dashed: a face was here a
frame before or after. Is there a face without a box?</p>
{% set wide = 1 if review.sheets | length == 1 else 1.4 %}
<div class="sheets">{% for s in review.sheets %}<figure><svg viewBox="0 0 {{ s.width }} {{ s.height }}" role="img"
aria-label="frame at {{ s.time_s }} s"><image width="{{ s.width }}" height="{{ s.height }}"
href="data:image/jpeg;base64,{{ b64(s.picture) }}"/>{%
set label = wide * s.label %}{% for number, kind, box in s.boxes %}<g class="b-{{ kind }}"><rect
x="{{ box[0] }}" y="{{ box[1] }}" width="{{ box[2] - box[0] }}" height="{{ box[3] - box[1] }}"/><text
x="{{ [[box[0], s.width - (0.65 * (number | string | length) + 0.2) * label] | min, 0.2 * label] | max }}"
y="{{ [box[1], label] | max }}"
style="font-size: {{ label }}px; stroke-width: {{ label / 6 }}px">{{ number }}</text></g>{%
endfor %}</svg>{%
if not review.is_photo %}<figcaption>{{ "%.2f" | format(s.time_s) }} s</figcaption>{% endif %}</figure>{%
endfor %}</div>
{{ group("Hidden, beyond doubt", sure, sure | length <= 24) }}
{{ group("Exempt", exempt, true) }}
{{ group("Taken for no face and left alone. Is there a face among them?", left, left | length <= 24) }}
<details><summary>Evidence</summary><table>{% for name, value in evidence %}<tr><th>{{ name }}</th><td>{{ value }}</td>
</tr>{% endfor %}</table></details>
<details><summary>Figures</summary><table>{% for name, (meaning, _) in limits.items() %}{% if overall[name] ==
overall[name] %}<tr><th>{{ name }}</th><td>{{ number(overall[name]) }}</td><td><small>{{ meaning }}</small></td></tr>{%
endif %}{% endfor %}</table></details>
<p class="note">This file shows bare faces: keep it as carefully as the clip, and delete it with it.</p>
<script id="finds" type="application/json">{{ finds }}</script>
<script>
const finds = JSON.parse(document.getElementById("finds").textContent);
const save = document.getElementById("save"), count = document.getElementById("count");
const chosen = () => [...document.querySelectorAll("input:checked")].map((input) => {
  const find = finds.areas[input.closest("[data-area]").dataset.area];
  return { ...find, verdict: input.value };
});
function tell() {
  const number = chosen().length;
  save.disabled = !number;
  const words = number === 1 ? " find is decided." : " finds are decided.";
  count.textContent = number ? number + words : "Nothing is decided yet.";
}
document.addEventListener("change", tell);
document.addEventListener("click", (event) => {
  const input = event.target;
  if (input.type !== "radio") return;
  if (input.dataset.was) { input.checked = false; delete input.dataset.was; tell(); return; }
  for (const other of document.getElementsByName(input.name)) delete other.dataset.was;
  input.dataset.was = "1";
});
for (const input of document.querySelectorAll("input:checked")) input.dataset.was = "1";
save.addEventListener("click", () => {
  const told = { format: finds.format, target_sha256: finds.target_sha256, decisions: chosen() };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(told, null, 1)], { type: "application/json" }));
  link.download = "decisions.json";
  link.click();
});
tell();
</script></body></html>
"""
_WORDS = {
    "hidden": {"sure": "hidden", "unsure": "hidden by squares, in doubt", "unlikely": "hidden, unlikely"},
    "left": {"sure": "left alone", "unsure": "left alone, in doubt", "unlikely": "left alone, taken for no face"},
    "exempt": {"sure": "exempt", "unsure": "exempt", "unlikely": "exempt"},
}
_VERDICTS = (("face", "face"), ("none", "no face"), ("exempt", "exempt"))
FORMAT = "facefusion-review-1"
"""Of the decisions; `facefusion.pipeline.review` reads them."""


def render_review(report: Report, review: Review, failures: tuple[str, ...] = ()) -> str:
    """The whole page."""
    from jinja2 import Environment
    from markupsafe import Markup

    is_clear, said = review.verdict
    areas = review.areas
    finds = {
        "format": FORMAT,
        "target_sha256": review.evidence.get("target_sha256", ""),
        "areas": {a.number: {"area": a.number, "at_s": a.at_s, "box": [round(v, 1) for v in a.box]} for a in areas},
    }
    plain = {k: v for k, v in review.evidence.items() if v not in ("", None, [])}
    evidence = [(k.replace("_", " "), v if isinstance(v, str) else json.dumps(v)) for k, v in plain.items()]
    return (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            report=report, review=review, failures=failures, is_clear=is_clear, said=said, words=_WORDS,
            verdicts=_VERDICTS, limits=LIMITS, overall=report.overall(), evidence=evidence,
            doubtful=[a for a in areas if a.is_open],
            sure=[a for a in areas if a.what == "hidden" and not a.is_open],
            exempt=[a for a in areas if a.what == "exempt"], left=[a for a in areas if a.what == "left"],
            number=lambda value: f"{value:.3f}",
            b64=lambda content: base64.b64encode(content).decode("ascii"),
            finds=Markup(json.dumps(finds).replace("<", "\\u003c")),
        )
    )  # fmt: skip
