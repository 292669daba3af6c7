// Time: shots, who is seen when and how well, what is kept.

import { asset } from "./api.js";
import { personName, rateOf, fateOf } from "./bin.js";
import { fill, h, icon, iconButton, keyed, set } from "./dom.js";
import { t, timecode } from "./i18n.js";
import { isClip, isPlaying, lengthS, play, seek, snapped, video } from "./stage.js";
import { change, on, people, state } from "./store.js";

const $ = (id) => document.getElementById(id);
let parts = null;
let stripOf = "";

const frameS = () => 1 / rateOf(state.draft.target);
const share = (seconds) => `${Math.max(0, Math.min(1, seconds / (lengthS() || 1))) * 100}%`;
const told = (seconds) => timecode(seconds, rateOf(state.draft.target));

function timeAt(event) {
  const place = parts.track.getBoundingClientRect();
  return Math.max(0, Math.min(1, (event.clientX - place.left) / place.width)) * lengthS();
}

function dragging(element, move, end = () => {}) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.stopPropagation();
    element.setPointerCapture(event.pointerId);
    move(timeAt(event), true);
    const go = (now) => move(timeAt(now), true);
    const stop = (now) => { element.removeEventListener("pointermove", go); element.removeEventListener("pointerup", stop); element.removeEventListener("pointercancel", stop); end(timeAt(now)); };
    element.addEventListener("pointermove", go);
    element.addEventListener("pointerup", stop);
    element.addEventListener("pointercancel", stop);
  });
}

function keys(element, value, move) {
  element.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : frameS();
    const to = { ArrowLeft: value() - step, ArrowDown: value() - step, ArrowRight: value() + step, ArrowUp: value() + step, Home: 0, End: lengthS(), PageUp: value() + 1, PageDown: value() - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    move(to);
  });
}

function trimStart(at) {
  const limit = (state.draft.end ?? lengthS()) - frameS();
  const start = snapped(Math.max(0, Math.min(at, limit)));
  change({ start: start <= 0 ? null : round(start) }, "trim", "look");
}
function trimEnd(at) {
  const end = Math.max(at, (state.draft.start ?? 0) + frameS());
  change({ end: end >= lengthS() - frameS() / 2 ? null : round(snapped(end)) }, "trim", "look");
}
const round = (seconds) => Math.round(seconds * 1e6) / 1e6;

function build() {
  const slider = h("div", { class: "playhead", role: "slider", tabindex: "0", "aria-label": t("timeline.playhead"), "aria-valuemin": "0" });
  const start = h("div", { class: "trim is-start", role: "slider", tabindex: "0", "aria-label": t("timeline.start"), "aria-valuemin": "0" }, h("span", {}));
  const end = h("div", { class: "trim is-end", role: "slider", tabindex: "0", "aria-label": t("timeline.end"), "aria-valuemin": "0" }, h("span", {}));
  const strip = h("canvas", { class: "strip", width: "1200", height: "88", "aria-hidden": "true" });
  const shots = h("div", { class: "shots", "aria-hidden": "true" });
  const lanes = h("ul", { class: "lanes", "aria-label": t("timeline.lanes") });
  const outside = [h("div", { class: "outside is-start" }), h("div", { class: "outside is-end" })];
  const track = h("div", { class: "track" }, strip, shots, ...outside, start, end);
  const body = h("div", { class: "track-body" }, track, lanes, h("div", { class: "playhead-room" }, slider));
  const time = h("output", { class: "time", "aria-live": "off" });
  const kept = h("span", { class: "kept" });
  const playButton = iconButton("play", t("timeline.play"), play, { id: "play", class: "icon-button is-strong" });
  fill($("timeline"),
    h("div", { class: "transport" },
      iconButton("back", t("timeline.back"), () => seek(state.at - frameS())), playButton, iconButton("forward", t("timeline.forward"), () => seek(state.at + frameS())), time,
      h("span", { class: "transport-end" }, kept, iconButton("start", t("timeline.set_start"), () => trimStart(state.at), { id: "set-start" }), iconButton("end", t("timeline.set_end"), () => trimEnd(state.at + frameS()), { id: "set-end" }), h("button", { type: "button", class: "quiet", id: "untrim", onclick: () => change({ start: null, end: null }, "trim", "look") }, t("timeline.all")))),
    body,
    h("p", { class: "legend", id: "legend" }));
  parts = { slider, start, end, strip, shots, lanes, outside, track, time, kept, playButton, body };
  dragging(track, (at) => seek(at, { isScrub: true }), seek);
  dragging(slider, (at) => seek(at, { isScrub: true }), seek);
  dragging(start, trimStart);
  dragging(end, trimEnd);
  keys(slider, () => state.at, (at) => seek(at));
  keys(start, () => state.draft.start ?? 0, trimStart);
  keys(end, () => state.draft.end ?? lengthS(), trimEnd);
  stripOf = "";
}

/** Pictures along the track, drawn from the clip itself where the browser can play it. */
async function drawStrip() {
  const { target } = state.draft;
  if (!target || stripOf === target.id) return;
  stripOf = target.id;
  const { strip } = parts;
  const pen = strip.getContext("2d");
  pen.clearRect(0, 0, strip.width, strip.height);
  const film = h("video", { src: asset.url(target.id), muted: true, preload: "auto", playsinline: true });
  film.muted = true;
  const once = (name) => new Promise((resolve, reject) => { film.addEventListener(name, resolve, { once: true }); film.addEventListener("error", reject, { once: true }); });
  try {
    await once("loadeddata");
    const wide = Math.max(40, (strip.height * film.videoWidth) / film.videoHeight);
    const count = Math.ceil(strip.width / wide);
    for (let place = 0; place < count && stripOf === target.id; place += 1) {
      const next = once("seeked");
      film.currentTime = Math.min(lengthS() - frameS() / 2, ((place + 0.5) / count) * lengthS());
      await next;
      pen.drawImage(film, place * wide, 0, wide, strip.height);
    }
  } catch { /* no pictures then: the track works without */ } finally { film.removeAttribute("src"); film.load(); }
}

/** [start, stop, quality] of where a person is seen. */
const spansOf = (person) => (person.seen?.length ? person.seen : [[person.first_s, person.last_s + frameS(), null]]);
const gradeOf = (quality) => (quality === null || quality === undefined ? "unknown" : quality >= 0.55 ? "good" : quality >= 0.3 ? "fair" : "poor");

function drawLanes() {
  if (!parts || !isClip()) return;
  fill(parts.shots, (state.faces?.shots ?? []).filter((at) => at > 0).map((at) => h("span", { style: { left: share(at) } })));
  const found = people();
  keyed(parts.lanes, found, (person) => `${state.draft.target.id} ${person.face}`, () => h("li", { class: "lane" }, h("span", { class: "lane-name" }), h("span", { class: "lane-spans" })), (lane, person) => {
    lane.dataset.fate = fateOf(person);
    lane.querySelector(".lane-name").textContent = person.face;
    const spans = spansOf(person);
    const worst = spans.filter(([, , quality]) => gradeOf(quality) === "poor").length;
    set(lane, { "aria-label": `${personName(person.face)}: ${timecode(person.first_s)} – ${timecode(person.last_s)}${worst ? `; ${t("timeline.poor_spans", { n: worst })}` : ""}` });
    fill(lane.querySelector(".lane-spans"), spans.map(([from, to, quality]) => h("span", { class: `span is-${gradeOf(quality)}`, style: { left: share(from), width: share(to - from) }, title: `${personName(person.face)} · ${timecode(from)} – ${timecode(to)} · ${t(`quality.${gradeOf(quality)}`)}` })));
  });
  const grades = new Set(found.flatMap((person) => spansOf(person).map(([, , quality]) => gradeOf(quality))));
  fill($("legend"), ["good", "fair", "poor"].filter((grade) => grades.has(grade)).map((grade) => h("span", { class: "legend-item" }, h("span", { class: `swatch is-${grade}` }), t(`quality.${grade}`))),
    (state.faces?.shots?.length ?? 0) > 1 ? h("span", { class: "legend-item" }, h("span", { class: "swatch is-shot" }), t("timeline.shots", { n: state.faces.shots.length })) : null);
}

function drawTime() {
  if (!parts || !isClip()) return;
  const length = lengthS();
  const start = state.draft.start ?? 0;
  const end = state.draft.end ?? length;
  set(parts.slider, { style: { left: share(state.at) }, "aria-valuemax": length.toFixed(3), "aria-valuenow": state.at.toFixed(3), "aria-valuetext": told(state.at) });
  set(parts.start, { style: { left: share(start) }, "aria-valuemax": length.toFixed(3), "aria-valuenow": start.toFixed(3), "aria-valuetext": told(start) });
  set(parts.end, { style: { left: share(end) }, "aria-valuemax": length.toFixed(3), "aria-valuenow": end.toFixed(3), "aria-valuetext": told(end) });
  set(parts.outside[0], { style: { width: share(start) } });
  set(parts.outside[1], { style: { width: share(length - end) } });
  parts.time.replaceChildren(told(state.at), h("span", { class: "time-total" }, ` / ${told(length)}`));
  const isTrimmed = state.draft.start !== null || state.draft.end !== null;
  parts.kept.textContent = isTrimmed ? t("timeline.kept", { length: told(end - start) }) : "";
  $("untrim").disabled = !isTrimmed;
  const playing = isPlaying();
  const label = t(playing ? "timeline.pause" : "timeline.play");
  if (parts.playButton.getAttribute("aria-label") !== label) {
    set(parts.playButton, { "aria-label": label, title: label });
    parts.playButton.replaceChildren(icon(playing ? "pause" : "play"));
  }
  parts.playButton.disabled = Boolean(video()?.error);
}

export function drawTimeline() {
  const place = $("timeline");
  place.classList.toggle("is-off", !isClip());
  if (!isClip()) { parts = null; stripOf = ""; fill(place, state.draft.target ? h("p", { class: "hint" }, t("timeline.photo")) : null); return; }
  if (!parts) build();
  drawLanes();
  drawTime();
  drawStrip();
}

export function listen() {
  on("target", drawTimeline);
  on("people faces", drawLanes);
  on("at trim", drawTime);
  addEventListener("keydown", (event) => {
    if (!isClip() || document.documentElement.dataset.view === "jobs" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, button, a, dialog, .popover, [role=slider]:not(.playhead)")) return;
    const action = { " ": play, k: play, j: () => seek(state.at - 1), l: () => seek(state.at + 1), i: () => trimStart(state.at), o: () => trimEnd(state.at + frameS()), ",": () => seek(state.at - frameS()), ".": () => seek(state.at + frameS()) }[event.key];
    if (action) { event.preventDefault(); action(); }
  });
}
export function redraw() { parts = null; drawTimeline(); }
