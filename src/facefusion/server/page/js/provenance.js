// What an output says of how it was made, and what the policy of the site said of its job.

import { ask } from "./api.js";
import { h, icon } from "./dom.js";
import { bytes, duration, has, moment, number, t } from "./i18n.js";
import { notice } from "./notices.js";

const found = new Map(); // by output: null while it is asked for, what it says, or {problem}
const folded = new Map(); // groups that somebody opened or closed, by job

/** Ask once what an output says; `then` is called when it is known. */
function lookInto(id, then) {
  if (found.has(id)) return found.get(id);
  found.set(id, null);
  ask(`/v1/assets/${id}/provenance`).then((told) => found.set(id, told), (problem) => found.set(id, { problem })).then(then);
  return null;
}

const GOOD = ["trusted", "valid"];

/** Whether what it says can be believed: a word with a sign, never colour alone. */
function stateOf(told) {
  const isGood = GOOD.includes(told.state);
  const key = told.state === "valid" && told.is_own ? "own" : told.state;
  return h("span", { class: `verdict ${isGood ? "is-good" : told.state === "tampered" ? "is-bad" : "is-open"}`, data: { provenance: told.state } }, icon(isGood ? "check" : "warning", 15), h("span", {}, t(`provenance.state.${key}`)));
}

const nameOf = ({ organisation, name }) => [organisation, name].filter(Boolean).join(", ");
const wordOf = (prefix, name) => { const last = name.split(".").at(-1); return has(`${prefix}.${last}`) ? t(`${prefix}.${last}`) : last; };
const each = (lines) => lines.filter(Boolean).join("\n");

/** What was made of what: hashes, in a line of their own. */
function ingredientsOf(told) {
  return told.ingredients.map((one) => h("span", { class: "ingredient" }, h("span", {}, t(one.role === "parentOf" ? "provenance.target" : "provenance.source")), " ",
    h("span", { class: "mono" }, one.sha256 || t("provenance.not_told"))));
}

function linesOf(job, told) {
  const { output } = job;
  const models = told?.models?.length ? told.models.map((model) => `${model.id} · ${model.licence}`) : (job.models ?? []).map((model) => (typeof model === "string" ? model : [model.id, model.version, model.licence].filter(Boolean).join(" ")));
  const isSigned = Boolean(told?.signature);
  const flaws = (told?.problems ?? []).filter((code) => !(GOOD.includes(told.state) && code === "signingCredential.untrusted")); // what "valid" says
  return [
    told ? ["provenance.state", stateOf(told)] : null,
    flaws.length ? ["provenance.problems", h("span", { lang: "en" }, flaws.join("\n"))] : null,
    isSigned ? ["provenance.by", each([nameOf(told.signature), told.is_own ? t("provenance.own") : ""])] : null,
    told?.when || isSigned ? ["provenance.when", each([told.signature?.at ? `${moment(told.signature.at)} · ${t("provenance.by_authority")}` : told.when ? `${moment(told.when)} · ${t("provenance.by_clock")}` : ""])] : null,
    told?.actions?.length ? ["provenance.done", told.actions.map((action) => wordOf("action", action)).join(", ")] : null,
    told?.digital_source_type ? ["provenance.kind", wordOf("digital", told.digital_source_type)] : null,
    told?.software ? ["provenance.software", `${told.software} ${told.version}`] : null,
    models.length ? ["jobs.fact.models", models.join("\n")] : null,
    told?.ingredients?.length ? ["provenance.made_of", ingredientsOf(told)] : null,
    told ? ["provenance.mark", told.watermark ? h("span", { class: "mono" }, told.watermark) : t("provenance.no_mark")] : null,
    told?.is_beside ? ["provenance.manifest", h("a", { href: `/v1/assets/${output.id}/provenance/manifest`, download: `${output.name}.c2pa`, data: { focus: "manifest" } }, t("provenance.beside", { name: `${output.name}.c2pa` }))] : isSigned ? ["provenance.manifest", t("provenance.inside")] : null,
  ].filter((line) => line && line[1] && line[1].length !== 0);
}

/** A group that stays as its reader left it, however often it is drawn. */
function group(job, name, title, isOpen, ...content) {
  const key = `${job.id} ${name}`;
  return h("details", { class: "group", id: `job-${name}`, open: folded.get(key) ?? isOpen }, h("summary", { data: { focus: name }, onclick: (event) => folded.set(key, !event.currentTarget.parentElement.open) }, title), ...content);
}

const table = (lines) => h("dl", {}, lines.map(([key, value, kind]) => [h("dt", {}, t(key)), h("dd", { class: kind ?? "" }, value)]));

/** How an output came about: what the service knows of the job, and what the file says of itself. */
export function provenanceGroup(job, chain, redraw) {
  const { output } = job;
  const told = output && job.status === "done" ? lookInto(output.id, redraw) : undefined;
  const isKnown = Boolean(told && !told.problem);
  const facts = [
    chain ? ["jobs.fact.steps", chain] : null,
    ...linesOf(job, isKnown ? told : null),
    output ? ["jobs.fact.output", `${output.name} · ${output.width} × ${output.height}${output.duration_s ? ` · ${duration(output.duration_s)}` : ""} · ${bytes(output.bytes)}`] : null,
    output ? ["jobs.fact.hash", output.sha256, "mono"] : null,
    ["jobs.fact.id", job.id, "mono"],
  ].filter(Boolean);
  return group(job, "provenance", t("jobs.provenance"), job.status === "done",
    told === null ? h("p", { class: "hint", role: "status" }, t("provenance.looking")) : null,
    told?.problem ? notice(told.problem, { kind: "warning", retry: () => { found.delete(output.id); redraw(); } }) : null,
    table(facts));
}

const shareOf = (key, covered, all) => (all ? t(key, { covered, n: all }) : null);

/** What the site looked for before and after the work: consents, people who must never take part, content. */
export function checksGroup(job) {
  const { policy } = job;
  if (!policy) return null;
  const { consent, blocklist, content } = policy;
  const isIdle = consent.mode === "off" && content.mode === "off" && !blocklist.is_checked;
  const counted = [shareOf("checks.sources", consent.sources_covered, consent.sources), shareOf("checks.targets", consent.targets_covered, consent.targets)];
  const isAnybody = consent.sources + consent.targets > 0;
  const sign = (isGood, text) => h("span", { class: `verdict ${isGood ? "is-good" : "is-open"}` }, icon(isGood ? "check" : "warning", 15), h("span", {}, text));
  const people = consent.mode === "off" ? t("checks.off") : !isAnybody ? t("checks.nobody") : sign(consent.is_covered, t(consent.is_covered ? "checks.covered" : "checks.uncovered"));
  const shown = content.found === "unchecked" ? t(content.mode === "off" ? "checks.off" : "checks.unchecked") : sign(content.found === "clear", t(`checks.content.${content.found}`));
  const lines = [
    ["checks.consent", people],
    consent.mode !== "off" && isAnybody ? ["checks.people", each(counted)] : null,
    consent.asked.length ? ["checks.asked", consent.asked.join("\n"), "mono"] : null,
    consent.used.length ? ["checks.used", consent.used.join("\n"), "mono"] : null,
    ["checks.blocklist", blocklist.is_checked ? sign(true, t("checks.blocked_nobody")) : t("checks.off")],
    ["checks.content", shown],
    content.models.length ? ["checks.looked", `${content.models.join("\n")} · ${t("checks.frames", { n: content.frames })}`] : null,
  ].filter(Boolean);
  const isAtRisk = !consent.is_covered || content.found === "flagged";
  return group(job, "checks", t("checks.heading"), isAtRisk || job.status === "failed",
    isIdle ? h("p", { class: "hint" }, t("checks.idle")) : null,
    isIdle && !consent.asked.length ? null : table(lines),
    policy.notes.map((note) => h("p", { class: "note", lang: "en" }, note)));
}
