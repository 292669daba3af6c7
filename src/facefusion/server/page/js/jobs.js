// Jobs: how far they are, what came of them, and the result beside the original.

import { Problem, ask, asset, remove, tell } from "./api.js";
import { rateOf } from "./bin.js";
import { dialog, fill, h, icon, iconButton, keyed, set } from "./dom.js";
import { duration, moment, number, percent, t, timecode } from "./i18n.js";
import { processorName } from "./look.js";
import { announce, notice, toast } from "./notices.js";
import { checksGroup, provenanceGroup } from "./provenance.js";
import { canReport, hidesPeople, newStep, processor } from "./recipe.js";
import { removeSource, setTarget, state, tellAll } from "./store.js";
import { stillThere } from "./upload.js";

const $ = (id) => document.getElementById(id);
const jobs = new Map();
let cursor = "";
let open = null; // id of the job that is looked at
let listening = null; // {id, source}
let timer = null;
let problem = null;
let known = false;
const assets = new Map(); // what is told of targets, by id: asset or null
const segments = new Map();
const isOver = (job) => ["done", "failed", "cancelled"].includes(job.status);
const inOrder = () => [...jobs.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));

async function describe(id) {
  if (!id || assets.has(id)) return;
  assets.set(id, undefined);
  try { assets.set(id, await stillThere(id)); } catch { assets.delete(id); return; }
  draw();
}

export async function load({ more = false } = {}) {
  try {
    const page = await ask(`/v1/jobs?limit=30${more && cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    if (!more) {
      const listed = new Set(page.items.map((job) => job.id));
      const oldest = page.items.at(-1)?.created_at ?? "";
      for (const job of jobs.values()) if (!listed.has(job.id) && (job.created_at >= oldest || !page.cursor)) { if (job.id === open) refresh(job.id).catch(() => {}); else jobs.delete(job.id); }
    }
    for (const job of page.items) receive(job);
    if (more || !known) cursor = page.cursor;
    known = true;
    problem = null;
  } catch (error) { problem = error; }
  draw();
  plan();
}

function receive(job) {
  const before = jobs.get(job.id);
  jobs.set(job.id, { ...before, ...job });
  if (before && !isOver(before) && isOver(job)) {
    const text = t(`jobs.over.${job.status}`, { name: job.label || t("jobs.unnamed") });
    announce(text);
    if (document.documentElement.dataset.view !== "jobs" || open !== job.id) toast(text, { kind: job.status === "done" ? "good" : "warning", action: h("a", { class: "quiet", href: `#/jobs/${job.id}` }, t("jobs.look")) });
    segments.delete(job.id);
    if (open === job.id) lookAt(job.id);
  }
}

/** Ask again while something goes on; the job that is looked at is listened to instead. */
function plan() {
  clearTimeout(timer);
  const active = [...jobs.values()].some((job) => !isOver(job));
  if (document.hidden) return;
  if (active || problem) timer = setTimeout(load, problem ? 5000 : 2500);
  else if (open) timer = setTimeout(() => refresh(open).catch(() => {}).then(plan), 5000); // somebody else may delete it
}
/** Other tabs of this browser are told at once what is no longer there. */
const tabs = globalThis.BroadcastChannel ? new BroadcastChannel("facefusion") : null;
if (tabs) tabs.onmessage = (event) => forget(event.data.job, event.data.assets);

/** A job is no longer there, and neither is some of what it was made of. */
async function forget(id, ids) {
  jobs.delete(id);
  draw();
  const { draft } = state;
  for (const each of ids) {
    assets.delete(each);
    if (![draft.target?.id, ...draft.sources.map((source) => source.id)].includes(each)) continue;
    if (await stillThere(each).catch(() => true)) continue;
    if (draft.target?.id === each) setTarget(null);
    removeSource(each);
  }
  draw();
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) { load(); if (open) lookAt(open); } });

async function refresh(id) {
  try {
    const job = await ask(`/v1/jobs/${id}`);
    receive(job);
    if (!isOver(job)) segments.set(id, (await ask(`/v1/jobs/${id}/segments`).catch(() => ({ parts: [] }))).parts);
    return job;
  } catch (error) {
    if ([404, 410].includes(error.status)) { jobs.delete(id); return null; }
    throw error;
  } finally { draw(); }
}

/** Server-sent events: the browser takes them up again by itself, with the last id it saw. */
function listenTo(id) {
  if (listening?.id === id && listening.source.readyState !== 2) return;
  listening?.source.close();
  listening = null;
  const job = jobs.get(id);
  if (!id || !job || isOver(job)) return;
  const source = new EventSource(`/v1/jobs/${id}/events`);
  listening = { id, source };
  let asked = 0;
  const soon = (least) => { const now = Date.now(); if (now - asked > least) { asked = now; refresh(id).catch(() => {}); } };
  source.addEventListener("progress", (event) => {
    const now = JSON.parse(event.data);
    const there = jobs.get(id);
    if (!there) return;
    if (there.status === "queued") there.status = "running"; // whatever gets on is not waiting
    there.progress = { ...there.progress, share: now.share ?? there.progress?.share, stage: now.stage, frames_per_s: now.frames_per_s, time_left_s: now.time_left_s };
    draw();
    soon(3000);
  });
  source.addEventListener("history", () => soon(700));
  source.addEventListener("status", async (event) => {
    const { status } = JSON.parse(event.data);
    if (["done", "failed", "cancelled", "deleted"].includes(status)) { source.close(); if (listening?.source === source) listening = null; }
    await refresh(id).catch(() => {});
  });
  source.onerror = () => { if (source.readyState === 2) { listening = null; setTimeout(() => { if (open === id) refresh(id).then(() => listenTo(id)).catch(() => {}); }, 3000); } };
}

async function lookAt(id) {
  try {
    const job = await refresh(id);
    if (open !== id) return;
    if (job) { describe(job.recipe?.target); listenTo(id); plan(); }
    draw();
  } catch (error) { problem = error; draw(); }
}

/** Show the list, and one job of it. */
export function show(id) {
  if (open !== id) shownPlayer = "";
  open = id;
  if (id) lookAt(id); else { listening?.source.close(); listening = null; }
  draw();
  load();
}

// ---- what can be done ----

async function act(job, path, done) {
  try { receive(await tell(`/v1/jobs/${job.id}/${path}`)); announce(done); await lookAt(job.id); plan(); } catch (error) { toast(error, { kind: "error" }); }
  draw();
}

const inputsOf = (recipe) => [...new Set([recipe?.target, ...(recipe?.sources ?? []), ...(recipe?.people ?? []).flatMap((person) => person.sources ?? [])])].filter(Boolean);

/** Ask before something goes for good: what goes, and until when the rest stays. Resolves with "alone", "all" or null. */
async function askToDrop(job) {
  const there = state.session?.scopes.includes("assets:write") ? (await Promise.all(inputsOf(job.recipe).map((id) => stillThere(id).catch(() => null)))).filter((each) => each?.role === "upload") : [];
  const until = there.map((each) => each.expires_at).filter(Boolean).sort().at(-1);
  return dialog(t("jobs.remove.ask", { name: job.label || t("jobs.unnamed") }), (close) => {
    const box = h("input", { type: "checkbox", id: "remove-inputs", checked: true });
    return h("form", { onsubmit: (event) => { event.preventDefault(); close(there.length && box.checked ? "all" : "alone"); } },
      h("p", {}, t("jobs.remove.text")),
      there.length ? h("label", { class: "check" }, box, h("span", {}, t("jobs.remove.inputs", { names: there.map((each) => each.name).join(", ") }))) : null,
      there.length ? h("p", { class: "hint" }, until ? t("jobs.remove.stays", { time: moment(until) }) : t("jobs.remove.stays_long")) : null,
      h("div", { class: "dialog-end" }, h("button", { type: "button", class: "quiet", autofocus: true, onclick: () => close() }, t("cancel")), h("button", { type: "submit", class: "primary", id: "remove-job" }, t("delete"))));
  });
}

async function drop(job) {
  const how = await askToDrop(job);
  if (!how) return;
  try {
    await remove(`/v1/jobs/${job.id}${how === "all" ? "?inputs=true" : ""}`);
    const ids = how === "all" ? inputsOf(job.recipe) : [];
    tabs?.postMessage({ job: job.id, assets: ids });
    await forget(job.id, ids);
    announce(t("jobs.removed"));
    if (open === job.id) location.hash = "#/jobs";
  } catch (error) { toast(error, { kind: "error" }); }
  draw();
}

const protects = (name) => Boolean(processor(name)?.is_protective);

/** Bring a job's recipe back into the studio. */
async function again(job) {
  try {
    const { recipe } = job;
    const target = await stillThere(recipe.target);
    const ids = [...new Set([...(recipe.sources ?? []), ...(recipe.people ?? []).flatMap((person) => person.sources ?? [])])];
    const sources = (await Promise.all(ids.map(stillThere))).filter(Boolean);
    if (!target || sources.length < ids.length) toast(t("jobs.inputs_gone"), { kind: "warning" });
    const { target: _, sources: __, steps = [], people = [], start_s = null, end_s = null, faces, ...options } = recipe;
    const own = ({ seed, ...rest }, isHiding) => (isHiding || seed === undefined ? rest : { seed, ...rest }); // each job has new faces
    const isHiding = steps.length > 0 && steps.every((step) => protects(step.processor));
    const mode = isHiding && !people.length ? "anonymise" : "swap";
    const choices = {};
    for (const person of people) choices[person.face] = { sources: person.sources ?? [], hide: Boolean(person.steps?.length) && person.steps.every((step) => protects(step.processor)), leave: false };
    Object.assign(state.draft, { target, sources, mode, options, start: start_s, end: end_s, people: choices, reports: job.has_report ? { ...state.draft.reports, [mode]: true } : state.draft.reports, label: "" });
    if (steps.length) state.draft.chains[mode] = steps.map((step) => newStep(step.processor, own(step.options ?? {}, protects(step.processor))));
    state.faces = null;
    state.wanted = people.length || mode === "anonymise" ? null : { sources: recipe.sources ?? [], faces };
    tellAll("target", "sources", "chain", "options", "people", "trim", "look");
    location.hash = "#/";
  } catch (error) { toast(error, { kind: "error" }); }
}

// ---- drawing ----

const stageWord = (job) => (job.status === "running" && job.progress?.stage ? t(`stage.${job.progress.stage}`) : t(`status.${job.status}`));

function meter(job) {
  const share = job.status === "done" ? 1 : (job.progress?.share ?? 0);
  return h("div", { class: "meter", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(share * 100)), "aria-label": t("jobs.progress", { name: job.label || t("jobs.unnamed") }) }, h("span", { style: { width: `${share * 100}%` } }));
}

/** What may be shown of a job: the result where people are hidden, and nothing before there is one. */
const pictured = (job) => (hidesPeople(job.recipe) ? job.output?.id : job.recipe?.target);

function row(job) {
  return h("li", { class: "job-row" }, h("a", { href: `#/jobs/${job.id}` },
    h("span", { class: "job-picture" }, h("img", { alt: "", width: 88, height: 56, loading: "lazy", hidden: true, onload: (event) => { event.target.hidden = false; }, onerror: (event) => { event.target.hidden = true; } })),
    h("span", { class: "job-text" }, h("span", { class: "job-label" }), h("span", { class: "job-facts" }), h("span", { class: "job-meter" }))));
}

function draw() {
  const list = inOrder();
  const active = list.filter((job) => !isOver(job));
  const count = $("jobs-count");
  count.hidden = active.length === 0;
  count.textContent = active.length ? number(active.length) : "";
  set(count, { "aria-label": t("jobs.active", { n: active.length }) });
  if (document.documentElement.dataset.view !== "jobs") return;
  keyed($("job-list"), list, (job) => job.id, row, (element, job) => {
    element.dataset.status = job.status;
    const link = element.firstElementChild;
    set(link, { "aria-current": open === job.id ? "true" : null });
    const picture = element.querySelector("img");
    const id = pictured(job);
    if (picture.dataset.asset !== String(id)) { picture.dataset.asset = String(id); picture.hidden = !id; if (id) { picture.loading = "eager"; picture.src = asset.thumbnail(id, 160); } else picture.removeAttribute("src"); }
    element.querySelector(".job-label").textContent = job.label || t("jobs.unnamed");
    const left = job.status === "running" && job.progress?.time_left_s ? ` · ${t("jobs.left", { time: duration(job.progress.time_left_s) })}` : "";
    element.querySelector(".job-facts").textContent = `${stageWord(job)}${job.status === "running" ? ` ${percent(job.progress?.share ?? 0)}` : ` · ${moment(job.created_at)}`}${left}`;
    fill(element.querySelector(".job-meter"), isOver(job) ? null : meter(job));
  });
  fill($("jobs-actions"), h("a", { class: "quiet", href: "#/", data: { focus: "new" } }, t("jobs.new")));
  const empty = known && !list.length && !problem;
  fill($("jobs-more"), problem ? notice(problem, { retry: () => load() }) : empty ? h("div", { class: "empty" }, h("p", { class: "empty-title" }, t("jobs.empty")), h("p", { class: "hint" }, t("jobs.empty.hint"))) : cursor ? h("button", { type: "button", class: "quiet", data: { focus: "more" }, onclick: () => load({ more: true }) }, t("jobs.more")) : null);
  $("jobs").classList.toggle("has-open", Boolean(open));
  drawDetail();
}

let shownPlayer = "";

function drawDetail() {
  const place = $("job-detail");
  const heading = $("job-detail-heading");
  const job = open ? jobs.get(open) : null;
  if (!job) {
    shownPlayer = "";
    place.replaceChildren(heading, open && known ? h("div", { class: "empty" }, h("p", { class: "empty-title" }, t("jobs.gone")), h("p", { class: "hint" }, t("jobs.gone.hint"))) : h("div", { class: "empty" }, h("p", { class: "hint" }, t("jobs.pick"))));
    return;
  }
  let top = place.querySelector(".job-top");
  if (!top || top.dataset.job !== job.id) {
    top = h("div", { class: "job-top", data: { job: job.id } });
    place.replaceChildren(heading, top, h("div", { class: "job-player" }), h("div", { class: "job-state" }), h("div", { class: "job-facts-table" }));
    shownPlayer = "";
  }
  const [player, now, facts] = [".job-player", ".job-state", ".job-facts-table"].map((name) => place.querySelector(name));
  const { output } = job;
  drawTop(top, job);

  const wanted = `${job.id} ${output?.id} ${assets.get(job.recipe?.target)?.id}`;
  describe(job.recipe?.target);
  if (wanted !== shownPlayer) {
    shownPlayer = wanted;
    fill(player, output ? build(job, output, assets.get(job.recipe.target)) : h("div", { class: "job-poster" }, pictured(job) ? h("img", { src: asset.thumbnail(pictured(job), 640), alt: "", onerror: (event) => { event.target.hidden = true; } }) : null));
  }

  const running = job.progress ?? {};
  fill(now,
    job.error ? notice(new Problem({ ...job.error, detail: job.error.message ?? job.error.detail })) : null,
    isOver(job) ? null : [
      h("div", { class: "job-numbers" },
        h("span", { class: "big" }, percent(running.share ?? 0)),
        h("span", {}, stageWord(job)),
        running.frames_per_s ? h("span", { class: "hint" }, t("jobs.speed", { rate: number(running.frames_per_s, 1) })) : null,
        running.time_left_s ? h("span", { class: "hint" }, t("jobs.left", { time: duration(running.time_left_s) })) : null),
      meter(job)],
    isOver(job) ? null : stageLines(job),
    (job.notes ?? []).map((note) => h("p", { class: "note" }, note)));

  const report = job.has_report && job.status === "done" ? h("a", { class: "quiet", href: `/v1/jobs/${job.id}/report?format=${canReport() ? "html" : "json"}`, target: "_blank", rel: "noopener", data: { focus: "report" } }, t("jobs.report")) : null;
  fill(facts, checksGroup(job), provenanceGroup(job, chainsOf(job.recipe), draw), report);
}

/** The job's line of buttons. It is told of several times a second, so elements stay, and only words change. */
function drawTop(top, job) {
  const { id, output } = job;
  const now = () => jobs.get(id) ?? job;
  const made = {
    back: () => h("a", { class: "icon-button phone-only", href: "#/jobs", "aria-label": t("jobs.back") }, icon("left")),
    title: () => h("div", { class: "job-title" }, h("h3", {}), h("p", { class: "hint" })),
    status: () => h("span", {}),
    spring: () => h("span", { class: "spring" }),
    cancel: isOver(job) ? null : () => h("button", { type: "button", class: "quiet", id: "cancel-job", onclick: () => act(now(), "cancel", t("jobs.cancelled")) }, t("jobs.cancel")),
    retry: ["failed", "cancelled"].includes(job.status) ? () => h("button", { type: "button", class: "primary", id: "retry-job", onclick: () => act(now(), "retry", t("jobs.retried")) }, icon("retry"), t("jobs.retry")) : null,
    download: output ? () => h("a", { class: "primary", id: "download" }, icon("download"), t("jobs.download")) : null,
    again: () => h("button", { type: "button", class: "quiet", onclick: () => again(now()) }, t("jobs.again")),
    remove: () => iconButton("trash", t("jobs.remove"), () => drop(now())),
  };
  const update = {
    title: (element) => { element.firstElementChild.textContent = job.label || t("jobs.unnamed"); element.lastElementChild.textContent = moment(job.created_at); },
    status: (element) => { set(element, { class: `status is-${job.status}`, data: { status: job.status } }); element.textContent = stageWord(job); },
    download: (element) => set(element, { href: asset.download(output.id), download: output.name }),
  };
  keyed(top, Object.keys(made).filter((name) => made[name]), (name) => name, (name) => made[name](), (element, name) => update[name]?.(element));
}

/** What is done, in order; people may have chains of their own. */
function chainsOf(recipe) {
  const told = (steps) => steps.map((step) => processorName(step.processor)).join(" → ");
  const own = (recipe?.people ?? []).filter((person) => person.steps?.length).map((person) => told(person.steps));
  return [...new Set(own.length ? own : [told(recipe?.steps ?? [])])].join("\n");
}

/** Stages, and a cell for every part of them. */
function stageLines(job) {
  const stages = Object.entries(job.progress?.stages ?? {});
  const parts = segments.get(job.id) ?? [];
  return h("ol", { class: "stages" }, stages.map(([name, stage]) => {
    const cells = parts.filter((part) => part.stage === name).slice(0, 120);
    return h("li", { class: stage.parts_done >= stage.parts ? "is-done" : "" },
      h("span", { class: "stage-name" }, t(`stage.${name}`)),
      h("span", { class: "cells", "aria-hidden": "true" }, (cells.length ? cells : Array.from({ length: Math.min(60, stage.parts) }, (_, k) => ({ status: k < stage.parts_done ? "done" : "queued" }))).map((part) => h("span", { class: `cell is-${part.status}`, title: part.number === undefined ? "" : `${part.number}${part.tries > 1 ? ` · ${t("jobs.tries", { n: part.tries })}` : ""}` }))),
      h("span", { class: "hint" }, t("jobs.parts", { done: stage.parts_done, n: stage.parts })));
  }));
}

// ---- the result beside the original ----

/** Where people are hidden the original is shown only to who asks for it. */
function build(job, output, original) {
  if (original && hidesPeople(job.recipe)) {
    const bare = beside(job, output, null);
    bare.querySelector(".player-bar").append(h("button", { type: "button", class: "quiet", id: "show-original", onclick: () => bare.replaceWith(beside(job, output, original)) }, t("player.compare")));
    return bare;
  }
  return beside(job, output, original);
}

function beside(job, output, original) {
  if (output.kind === "photo") return compare(original ? h("img", { class: "layer", src: asset.thumbnail(original.id, 1024), alt: t("player.original") }) : null, h("img", { class: "layer", src: asset.thumbnail(output.id, 1024), alt: t("player.result") }), output, null);
  const offset = job.recipe.start_s ?? 0;
  const film = (id, label, isMuted) => { const made = h("video", { class: "layer", src: asset.url(id), poster: asset.thumbnail(id, 1024), preload: "auto", playsinline: true, "aria-label": label, tabindex: "-1" }); made.muted = isMuted; return made; };
  const after = film(output.id, t("player.result"), false);
  const before = original ? film(original.id, t("player.original"), true) : null;
  return compare(before, after, output, { offset, rate: rateOf(output) });
}

function compare(before, after, output, clip) {
  let mode = before ? "wipe" : "result";
  const range = h("input", { type: "range", class: "line-range", min: "0", max: "100", value: "50", "aria-label": t("stage.line"), oninput: () => setLine(Number(range.value)) });
  const setLine = (value) => { set(box, { style: { "--line": `${Math.max(0, Math.min(100, value))}%` } }); range.value = value; };
  const box = h("div", { class: "player-box", style: { "aspect-ratio": `${output.width} / ${output.height}`, "--ratio": String(output.width / output.height), "--line": "50%" } },
    before ? h("div", { class: "pane is-before" }, before, h("span", { class: "corner is-before", "aria-hidden": "true" }, t("player.original"))) : null,
    h("div", { class: "pane is-after" }, after, h("span", { class: "corner is-after", "aria-hidden": "true" }, t("player.result"))),
    h("span", { class: "line", "aria-hidden": "true" }, h("span", { class: "line-knob" })), before ? range : null);
  box.addEventListener("pointerdown", (event) => {
    if (mode !== "wipe" || event.button !== 0) return;
    const at = (now) => { const place = box.getBoundingClientRect(); setLine(((now.clientX - place.left) / place.width) * 100); };
    at(event);
    const stop = () => { removeEventListener("pointermove", at); removeEventListener("pointerup", stop); removeEventListener("pointercancel", stop); };
    addEventListener("pointermove", at); addEventListener("pointerup", stop); addEventListener("pointercancel", stop);
    range.focus({ preventScroll: true });
    event.preventDefault();
  });
  const name = `view-${Math.random().toString(36).slice(2)}`;
  const modes = h("div", { class: "segments is-small", role: "radiogroup", "aria-label": t("player.view") }, (before ? ["wipe", "beside", "result"] : ["result"]).map((each) => h("label", {}, h("input", { type: "radio", name, value: each, checked: each === mode, onchange: () => { mode = each; frame.dataset.mode = mode; } }), h("span", {}, t(`player.${each}`)))));
  const frame = h("div", { class: "player", data: { mode } }, box, h("div", { class: "player-bar" }, clip ? controls(before, after, clip) : h("span", { class: "spring" }), modes));
  setLine(50);
  return frame;
}

/** One set of controls for both; the original follows the result, whose beginning may be later in it. */
function controls(before, after, { offset, rate }) {
  const time = h("output", { class: "time", "aria-live": "off" });
  const bar = h("input", { type: "range", class: "seek", min: "0", max: "1", step: "any", value: "0", "aria-label": t("timeline.playhead"), oninput: () => { after.pause(); after.currentTime = Number(bar.value); follow(true); show(); } });
  const button = iconButton("play", t("timeline.play"), () => (after.paused ? after.play().catch(() => {}) : after.pause()), { class: "icon-button is-strong", id: "play-result" });
  const follow = (isExact) => {
    if (!before) return;
    const to = after.currentTime + offset;
    if (isExact || Math.abs(before.currentTime - to) > 1.5 / rate) before.currentTime = Math.min(to, before.duration || to);
  };
  const show = () => {
    const length = after.duration || 0;
    bar.max = String(length || 1);
    bar.value = String(after.currentTime);
    set(bar, { "aria-valuetext": timecode(after.currentTime, rate), style: { "--filled": `${length ? (after.currentTime / length) * 100 : 0}%` } });
    time.replaceChildren(timecode(after.currentTime, rate), h("span", { class: "time-total" }, ` / ${timecode(length, rate)}`));
  };
  const tick = () => { if (!after.isConnected || after.paused) return; follow(false); show(); requestAnimationFrame(tick); };
  const paint = () => { const label = t(after.paused ? "timeline.play" : "timeline.pause"); set(button, { "aria-label": label, title: label }); button.replaceChildren(icon(after.paused ? "play" : "pause")); };
  after.addEventListener("play", () => { follow(true); before?.play().catch(() => {}); paint(); tick(); });
  after.addEventListener("pause", () => { before?.pause(); follow(true); paint(); show(); });
  after.addEventListener("loadedmetadata", () => { follow(true); show(); });
  after.addEventListener("waiting", () => before?.pause());
  after.addEventListener("playing", () => before?.play().catch(() => {}));
  after.addEventListener("ended", () => before?.pause());
  const failed = h("p", { class: "hint", hidden: true }, t("player.unplayable"));
  after.addEventListener("error", () => { failed.hidden = false; button.disabled = true; });
  show();
  return [button, bar, time, failed];
}

export function redraw() {
  $("job-list").replaceChildren();
  shownPlayer = "";
  $("job-detail").querySelector(".job-top")?.remove();
  draw();
}
