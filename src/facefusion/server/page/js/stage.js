// The picture: the target as it is and as it will be, with a line between them, at any time of the clip.

import { asset, askUntilKnown } from "./api.js";
import { choose_, goTo, personName, rateOf, trySamples } from "./bin.js";
import { debounced, fill, h, icon, set } from "./dom.js";
import { percent, t } from "./i18n.js";
import { notice } from "./notices.js";
import { buildRecipe, lacking } from "./recipe.js";
import { on, people, recall, remember, state, tellAll, toggleSource } from "./store.js";

const $ = (id) => document.getElementById(id);
const SIZES = [320, 480, 640, 960, 1280, 1920];
let frame = null; // the elements of the target that is shown
let shown = ""; // id of that target
let line = recall("line", 50);
let asking = null;
let originals = new Map(); // a few pictures of the target as it is
let lastAsked = "";

export const isClip = () => state.draft.target?.kind === "clip";
export const lengthS = () => (isClip() ? state.draft.target.duration_s ?? 0 : 0);
export const video = () => frame?.video ?? null;

/** The time of the frame that is shown at a moment. */
export function snapped(at) {
  const rate = rateOf(state.draft.target);
  const last = Math.max(0, lengthS() - 1 / rate);
  return Math.max(0, Math.min(Math.floor(at * rate + 1e-3) / rate, Math.floor(last * rate + 1e-3) / rate));
}

export function seek(at, { isScrub = false } = {}) {
  if (!isClip()) return;
  state.at = snapped(at);
  if (!isScrub) remember("at", state.at);
  else rememberLater();
  if (frame?.video) {
    frame.video.pause();
    frame.video.currentTime = state.at + 0.5 / rateOf(state.draft.target); // the middle: never the frame before
  }
  staleStills();
  tellAll("at");
  askLater();
}
const rememberLater = debounced(() => remember("at", state.at), 400);
goTo.time = (at) => seek(at);

export const isPlaying = () => Boolean(frame?.video && !frame.video.paused);
export function play() {
  const film = frame?.video;
  if (!film || frame.unplayable) return;
  if (!film.paused) { film.pause(); return; }
  const { start, end } = state.draft;
  if (state.at >= (end ?? lengthS()) - 1.5 / rateOf(state.draft.target)) film.currentTime = start ?? 0;
  asking?.abort();
  staleStills();
  film.play().catch(() => {});
}

// ---- stills ----

function staleStills() {
  if (!frame) return;
  frame.box.classList.toggle("has-after", false);
  if (isClip()) frame.before.hidden = !frame.unplayable;
}

function sizeWanted() {
  const { width, height } = state.draft.target;
  const box = frame.box.getBoundingClientRect();
  const wanted = Math.max(box.width, box.height) * Math.min(2, devicePixelRatio || 1);
  const size = SIZES.find((each) => each >= wanted) ?? SIZES.at(-1);
  return Math.max(64, Math.min(size, Math.max(width ?? size, height ?? size)));
}

async function still(recipe, show, signal) {
  const body = JSON.stringify({ recipe, at_s: state.at, size: sizeWanted(), show });
  const answer = await askUntilKnown("/v1/previews", {
    method: "POST", body, headers: { "Content-Type": "application/json", Accept: "image/webp, image/jpeg;q=0.9, application/problem+json" }, signal,
    onwait: () => frame?.box.classList.add("is-finding"),
  });
  return URL.createObjectURL(await answer.blob());
}

/** Show a picture once it is decoded, so that nothing blinks. */
async function put(image, url) {
  const probe = new Image();
  probe.src = url;
  await probe.decode().catch(() => {});
  const old = image.dataset.url;
  image.src = url;
  image.dataset.url = url;
  image.hidden = false;
  if (old && old !== url && ![...originals.values()].includes(old)) URL.revokeObjectURL(old);
}

/** One question at a time, and then the newest: a service that is busy is not asked for what nobody waits for. */
let isAsking = false;
let isStale = false;
async function askNow() {
  isStale = isAsking;
  if (isAsking) return;
  isAsking = true;
  try {
    do {
      isStale = false;
      await askOnce();
    } while (isStale);
  } finally { isAsking = false; }
}

async function askOnce() {
  const { target } = state.draft;
  if (!frame || !target || isPlaying() || document.documentElement.dataset.view === "jobs" || frame.box.clientWidth === 0) return;
  const lacks = lacking();
  drawCaption(lacks);
  const key = `${target.id} ${state.at} ${sizeWanted()}`;
  const recipe = lacks ? null : buildRecipe({ isWhole: true }); // times are the target's
  const question = `${key} ${JSON.stringify(recipe)}`;
  if (question === lastAsked && (lacks || frame.box.classList.contains("has-after"))) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  const { signal } = mine;
  lastAsked = question;
  fill($("preview-notice"));
  frame.box.classList.add("is-asking");
  frame.box.setAttribute("aria-busy", "true");
  const here = frame;
  try {
    if (!originals.has(key) && (!isClip() || recipe || frame.unplayable)) {
      const url = await still({ target: target.id }, "before", signal).catch((error) => { if (signal.aborted) throw error; return null; });
      if (url) {
        originals.set(key, url);
        if (originals.size > 24) { const [[oldest, gone]] = originals; originals.delete(oldest); if (gone.startsWith("blob:")) URL.revokeObjectURL(gone); }
      }
    }
    if (signal.aborted || isStale) return;
    if (recipe) {
      const url = await still(recipe, "after", signal);
      if (signal.aborted || isStale) { URL.revokeObjectURL(url); return; }
      if (originals.has(key)) await put(here.before, originals.get(key));
      await put(here.after, url);
      if (signal.aborted) return;
      here.box.classList.add("has-after");
    } else {
      if (originals.has(key)) await put(here.before, originals.get(key));
      here.box.classList.remove("has-after");
    }
    fill($("preview-notice"));
  } catch (error) {
    if (signal.aborted || isStale) return;
    lastAsked = "";
    here.box.classList.remove("has-after");
    if (originals.has(key)) await put(here.before, originals.get(key));
    fill($("preview-notice"), notice(error, { retry: () => { fill($("preview-notice")); askNow(); }, close: () => fill($("preview-notice")) }));
  } finally {
    if (asking === mine) {
      here.box.classList.remove("is-asking", "is-finding");
      here.box.removeAttribute("aria-busy");
    }
  }
}
const askLater = debounced(askNow, 160);

// ---- the frame ----

function setLine(value) {
  line = Math.max(0, Math.min(100, value));
  remember("line", line);
  if (!frame) return;
  set(frame.box, { style: { "--line": `${line}%` } });
  frame.range.value = line;
  frame.range.setAttribute("aria-valuetext", t("stage.line_value", { share: percent(1 - line / 100) }));
}

function fit() {
  if (!frame) return;
  const { width = 16, height = 9 } = state.draft.target;
  const room = $("viewer").getBoundingClientRect();
  if (!room.width) return;
  const scale = Math.min(room.width / width, room.height / height);
  set(frame.box, { style: { width: `${Math.floor(width * scale)}px`, height: `${Math.floor(height * scale)}px` } });
  askLater();
}

function build() {
  const { target } = state.draft;
  const before = h("img", { class: "layer before", alt: t("stage.before_of", { name: target.name }), hidden: true });
  const after = h("img", { class: "layer after", alt: t("stage.after_of", { name: target.name }), hidden: true });
  const range = h("input", { type: "range", class: "line-range", min: "0", max: "100", step: "1", "aria-label": t("stage.line"), oninput: (event) => setLine(Number(event.target.value)) });
  const knob = h("span", { class: "line", "aria-hidden": "true" }, h("span", { class: "line-knob" }));
  const faces = h("div", { class: "faces" });
  const poster = asset.thumbnail(target.id, 1024);
  const film = isClip() ? h("video", { class: "layer", src: asset.url(target.id), poster, preload: "auto", playsinline: true, "aria-label": t("stage.before_of", { name: target.name }), tabindex: "-1" }) : h("img", { class: "layer", src: poster, alt: "" });
  const box = h("div", { class: "frame", id: "frame" }, film, before, after, faces, h("span", { class: "corner is-before", "aria-hidden": "true" }, t("stage.before")), h("span", { class: "corner is-after", "aria-hidden": "true" }, t("stage.after")), knob, range, h("span", { class: "asking", role: "status" }, h("span", { class: "visually-hidden" }, "")), h("p", { class: "caption", hidden: true }));
  frame = { box, before, after, range, knob, faces, video: isClip() ? film : null, unplayable: false };
  box.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button") || event.button !== 0 || !box.classList.contains("has-after")) return;
    const at = (now) => { const place = box.getBoundingClientRect(); setLine(((now.clientX - place.left) / place.width) * 100); };
    at(event);
    const stop = () => { removeEventListener("pointermove", at); removeEventListener("pointerup", stop); removeEventListener("pointercancel", stop); };
    addEventListener("pointermove", at);
    addEventListener("pointerup", stop);
    addEventListener("pointercancel", stop);
    range.focus({ preventScroll: true });
    event.preventDefault();
  });
  if (frame.video) {
    film.addEventListener("error", () => { frame.unplayable = true; tellAll("at"); askLater(); });
    film.addEventListener("loadedmetadata", () => { if (!film.videoWidth) { frame.unplayable = true; } film.currentTime = state.at + 0.5 / rateOf(target); tellAll("at"); });
    film.addEventListener("play", () => { staleStills(); box.classList.add("is-playing"); tick(); });
    film.addEventListener("pause", () => {
      box.classList.remove("is-playing");
      state.at = snapped(film.currentTime);
      remember("at", state.at);
      tellAll("at");
      askLater();
    });
  }
  // Who chose the target here by keyboard goes on at the button that chooses another one.
  const hadFocus = $("viewer").contains(document.activeElement);
  $("viewer").replaceChildren(box);
  if (hadFocus) document.querySelector("#target-head [data-focus=target-choose]")?.focus({ preventScroll: true });
  setLine(line);
  fit();
}

function tick() {
  const film = frame?.video;
  if (!film || film.paused) return;
  const end = state.draft.end;
  if (end !== null && film.currentTime >= end) { film.pause(); return; }
  state.at = snapped(film.currentTime);
  tellAll("at");
  requestAnimationFrame(tick);
}

function drawCaption(key) {
  const caption = frame.box.querySelector(".caption");
  caption.hidden = !key;
  if (key) caption.textContent = t(key);
}

/** Marks on faces, where the picture shows them: a place to drop a source on. */
function drawFaces() {
  if (!frame) return;
  const near = 0.6 / rateOf(state.draft.target);
  const here = people().filter((person) => person.box && (!isClip() || Math.abs(person.best_s - state.at) < near));
  fill(frame.faces, here.map((person) => {
    const [left, top, right, bottom] = person.box.map((side) => Math.max(0, Math.min(1, side)) * 100);
    return h("button", { type: "button", class: "face-mark", data: { face: person.face, focus: `mark ${person.face}` }, "aria-label": personName(person.face), title: personName(person.face),
      style: { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` },
      onclick: () => { if (state.picked) toggleSource(person.face, state.picked); else document.querySelector(`.person[data-face="${CSS.escape(person.face)}"] .person-main`)?.click(); } },
      h("span", {}, person.face));
  }));
}

export function drawStage() {
  const { target } = state.draft;
  if (!target) {
    frame = null;
    shown = "";
    fill($("preview-notice"));
    fill($("viewer"), h("div", { class: "viewer-empty", id: "viewer-empty" },
      h("p", { class: "empty-title" }, t("stage.empty")),
      h("p", { class: "hint" }, t("stage.empty.hint")),
      h("div", { class: "empty-actions" },
        h("button", { type: "button", class: "primary", data: { focus: "empty-choose" }, onclick: () => choose_("target") }, t("stage.choose")),
        h("button", { type: "button", class: "quiet touch-only", onclick: () => choose_("target", { capture: "environment" }) }, icon("camera"), t("stage.camera")),
        h("button", { type: "button", class: "quiet", id: "try-samples", onclick: trySamples }, t("stage.samples")))));
    return;
  }
  if (shown !== target.id) {
    shown = target.id;
    asking?.abort();
    originals.forEach((url) => { if (url.startsWith("blob:")) URL.revokeObjectURL(url); });
    originals = new Map();
    lastAsked = "";
    fill($("preview-notice"));
    build();
  }
  drawFaces();
}

export function listen() {
  on("target language", () => { if (state.draft.target === null || shown !== state.draft.target.id) drawStage(); });
  on("people at", drawFaces);
  on("look people view", askLater);
  new ResizeObserver(fit).observe($("viewer"));
}
export function redraw() { shown = ""; drawStage(); }
