// Sources, the target and the people in it: what comes in, and who gets whose face.

import { Problem, asset, askUntilKnown, problemOf, remove } from "./api.js";
import { carry } from "./drag.js";
import { dialog, fill, h, icon, iconButton, keyed, popover, set } from "./dom.js";
import { bytes, duration, moment, percent, t, timecode } from "./i18n.js";
import { announce, notice, toast } from "./notices.js";
import { needsPhoto } from "./recipe.js";
import { addSource, assignFirst, change, choiceOf, choose, on, people, removeSource, setTarget, state, tellAll, toggleSource } from "./store.js";
import { Upload, cutOff } from "./upload.js";

const PHOTOS = "image/*,.heic,.heif,.avif";
const MEDIA = `${PHOTOS},video/*,.mkv,.mov,.avi`;
const $ = (id) => document.getElementById(id);

// ---- bringing files in ----

function picker(accept, role, { capture, many = false } = {}) {
  const input = h("input", { type: "file", accept, multiple: many, capture, class: "visually-hidden", tabindex: "-1", "aria-hidden": "true", "data-role": role, data: { role } });
  input.onchange = () => { take([...input.files], role); input.value = ""; };
  return input;
}
const inputs = {};
export function choose_(role, { capture } = {}) {
  const name = `${role}${capture ?? ""}`;
  if (!inputs[name]) {
    inputs[name] = picker(capture === "user" ? "image/*" : role === "source" ? PHOTOS : MEDIA, role, { capture, many: role === "source" && !capture });
    inputs[name].id = `file-${name}`;
    document.body.append(inputs[name]);
  }
  inputs[name].click();
}

/** Files were dropped, pasted or chosen. */
export function take(files, role) {
  for (const file of role === "target" ? files.slice(0, 1) : files) {
    const waiting = state.uploads.find((upload) => upload.state === "paused" && upload.name === file.name && upload.size === file.size);
    if (waiting) { waiting.file = file; start(waiting); continue; }
    if (role === "target") for (const other of state.uploads.filter((upload) => upload.role === "target")) drop(other);
    start(new Upload(file, role));
  }
}

function drop(upload) {
  upload.stop();
  state.uploads = state.uploads.filter((each) => each !== upload);
  tellAll("uploads");
}

let count = 0;

async function start(upload) {
  upload.order ??= Date.now() + (count += 1) / 1000; // sources stand as they were chosen, whichever is there first
  if (!state.uploads.includes(upload)) state.uploads.push(upload);
  let last = "";
  upload.onchange = () => {
    const now = `${upload.state} ${percent(upload.share)}`;
    if (now !== last) { last = now; tellAll("uploads"); }
  };
  tellAll("uploads");
  const made = await upload.run();
  if (!made) { tellAll("uploads"); return; }
  state.uploads = state.uploads.filter((each) => each !== upload);
  const flaw = upload.role === "source" && made.kind !== "photo" && made.kind !== "sound" ? "sources.not_photo" : upload.role === "target" && made.kind === "sound" ? "target.not_picture" : null;
  if (flaw) toast(new Problem({ detail: t(flaw, { name: made.name }), hint: t(`${flaw}.hint`) }), { kind: "error" });
  else if (upload.role === "source") {
    made.order = upload.order;
    addSource(made);
    announce(t("sources.added", { name: made.name }));
    checkSource(made);
  }
  else { const before = state.draft.target; setTarget(made); discard(before); announce(t("target.added", { name: made.name })); }
  tellAll("uploads");
}

/** What nobody needs any more goes from the service, with what was made of it; where a job was made of it, it is said that it stays. */
async function discard(file) {
  if (!file?.id || [state.draft.target, ...state.draft.sources].some((each) => each?.id === file.id)) return;
  if (!state.session?.scopes.includes("assets:write")) return;
  try { await remove(`/v1/assets/${file.id}?unused=true`); } catch (error) {
    if (error.status === 409) toast(file.expires_at ? t("file.stays", { name: file.name, time: moment(file.expires_at) }) : t("file.stays_long", { name: file.name }));
    else if (error.status !== 404) toast(error, { kind: "error" });
  }
}

/** Delete the target from the service, whichever jobs were made of it. */
async function deleteTarget() {
  const { target } = state.draft;
  const isSure = await dialog(t("target.delete.ask", { name: target.name }), (close) => h("form", { onsubmit: (event) => { event.preventDefault(); close(true); } },
    h("p", {}, t("target.delete.text")),
    h("div", { class: "dialog-end" }, h("button", { type: "button", class: "quiet", autofocus: true, onclick: () => close() }, t("cancel")), h("button", { type: "submit", class: "primary", id: "delete-target-now" }, t("delete")))));
  if (!isSure) return;
  try { await remove(`/v1/assets/${target.id}`); } catch (error) { if (error.status !== 404) { toast(error, { kind: "error" }); return; } }
  if (state.draft.target?.id === target.id) setTarget(null);
  announce(t("target.deleted", { name: target.name }));
}

/** A photo without a face cannot be a source; it is said at once, not when the job is made. */
async function checkSource(source) {
  if (source.kind !== "photo") return;
  try {
    const found = await (await askUntilKnown(`/v1/assets/${source.id}/faces`)).json();
    const kept = state.draft.sources.find((each) => each.id === source.id); // a reload makes others of them
    if (kept) kept.faces = found.people?.length ?? null;
    tellAll("sources");
  } catch { /* the service says so when the source is used */ }
}

export async function resumeUploads() {
  for (const upload of await cutOff()) start(upload);
}

export async function trySamples() {
  try {
    const [source, target] = await Promise.all(["source.jpg", "target.mp4"].map(async (name) => {
      const answer = await fetch(new URL(`../samples/${name}`, import.meta.url));
      if (!answer.ok) throw await problemOf(answer);
      return new File([await answer.blob()], name, { lastModified: 0 });
    }));
    take([target], "target");
    take([source], "source");
  } catch (error) { toast(error, { kind: "error" }); }
}

// ---- dropping and pasting ----

export function listenForFiles() {
  const overlay = $("drop-overlay");
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const end = () => { depth = 0; overlay.hidden = true; };
  addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth += 1; overlay.hidden = false; event.preventDefault(); } });
  addEventListener("dragleave", (event) => { if (hasFiles(event)) { depth -= 1; if (depth <= 0) end(); } });
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    for (const zone of overlay.children) zone.classList.toggle("is-over", zone.contains(event.target));
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    end();
    const files = [...event.dataTransfer.files];
    const role = event.target.closest("[data-drop]")?.dataset.drop ?? guess(files);
    if (location.hash.startsWith("#/jobs")) location.hash = "#/";
    take(files, role);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || event.target.closest("input, textarea")) return;
    event.preventDefault();
    take(files, guess(files));
  });
}
const guess = (files) => (state.draft.mode === "anonymise" || files.some((file) => file.type.startsWith("video/")) || !state.draft.target ? "target" : "source");

// ---- the target ----

export function drawTarget() {
  const place = $("target-head");
  const { target } = state.draft;
  const upload = state.uploads.find((each) => each.role === "target");
  const parts = [];
  fill($("target-notice"), upload?.problem && upload.state === "failed" ? notice(upload.problem, { close: () => drop(upload) }) : null);
  if (upload) parts.push(uploadLine(upload, true));
  else if (target) {
    const size = target.width ? `${target.width} × ${target.height}` : "";
    const length = target.duration_s ? duration(target.duration_s) : "";
    const rate = target.frame_rate ? t("target.rate", { rate: Math.round(rateOf(target) * 100) / 100 + "" }) : "";
    parts.push(h("span", { class: "target-name", title: target.name }, icon(target.kind === "clip" ? "film" : "picture"), h("span", {}, target.name)),
      h("span", { class: "target-facts" }, [size, length, rate, bytes(target.bytes), target.expires_at ? t("file.until", { time: moment(target.expires_at) }) : ""].filter(Boolean).join(" · ")));
  } else parts.push(h("span", { class: "target-facts" }, t("target.none")));
  parts.push(h("button", { type: "button", class: "quiet", data: { focus: "target-choose" }, onclick: () => choose_("target") }, t(target || upload ? "target.replace" : "target.choose")));
  if (target && !upload && state.session?.scopes.includes("assets:write")) parts.push(iconButton("trash", t("target.delete", { name: target.name }), deleteTarget, { id: "delete-target", data: { focus: "target-delete" } }));
  fill(place, parts);
}

export const rateOf = (target) => {
  const text = String(target?.frame_rate ?? "");
  const [over, under = 1] = text.split("/").map(Number);
  return over / under || 25;
};

/** How far a file is: a card, or one line where there is no room for it to grow. */
function uploadLine(upload, isLine = false) {
  const words = { waiting: "upload.waiting", sending: "upload.sending", retrying: "upload.retrying", paused: "upload.paused", failed: "upload.failed" };
  return h("div", { class: `upload is-${upload.state}${isLine ? " is-line" : ""}`, data: { upload: upload.name } },
    h("div", { class: "upload-line" }, h("span", { class: "upload-name", title: upload.name }, upload.name), h("span", { class: "upload-state" }, t(words[upload.state] ?? "upload.sending", { share: percent(upload.share) }))),
    h("progress", { max: "1", value: upload.share, "aria-label": t("upload.progress", { name: upload.name }) }),
    !isLine && upload.problem && upload.state === "failed" ? notice(upload.problem) : null,
    h("div", { class: "upload-actions" },
      upload.state === "failed" && upload.file ? h("button", { type: "button", class: "quiet", data: { focus: "upload-again" }, onclick: () => { upload.become("waiting"); start(upload); } }, t("again")) : null,
      upload.state === "paused" ? h("button", { type: "button", class: "quiet", data: { focus: "upload-choose" }, onclick: () => choose_(upload.role) }, t("upload.choose_again")) : null,
      h("button", { type: "button", class: "quiet", data: { focus: "upload-drop" }, onclick: () => drop(upload) }, t(upload.isActive ? "cancel" : "remove"))));
}

// ---- sources ----

const nameOf = (id) => state.draft.sources.find((each) => each.id === id)?.name ?? "";

function pick(id) {
  state.picked = state.picked === id ? null : id;
  tellAll("picked");
  announce(state.picked ? t("sources.picked", { name: nameOf(id) }) : t("sources.put_back"));
}

function sourceTile(source) {
  const button = h("button", { type: "button", class: "tile-face", "aria-pressed": "false", onclick: () => pick(source.id) },
    h("img", { src: asset.thumbnail(source.id, 160), alt: "", width: 76, height: 76, draggable: "false" }));
  carry(button, {
    carried: source.id,
    picture: asset.thumbnail(source.id, 160),
    onlift: (id) => { state.picked = id; tellAll("picked"); },
    ondrop: (id, over) => give(over.dataset.face, id, true),
    onend: () => { state.picked = null; tellAll("picked"); },
  });
  return h("li", { class: "tile" }, button, h("span", { class: "tile-name" }),
    h("span", { class: "tile-flaw", hidden: true }, icon("warning", 14)),
    iconButton("close", t("sources.remove", { name: source.name }), () => { removeSource(source.id); discard(source); }, { class: "icon-button tile-remove" }));
}

export function drawSources() {
  $("sources-section").hidden = state.draft.mode === "anonymise"; // nobody's face is used
  $("drop-overlay").querySelector("[data-drop=source]").hidden = state.draft.mode === "anonymise";
  const uploads = state.uploads.filter((each) => each.role === "source");
  keyed($("sources"), [...state.draft.sources, ...uploads, { id: "add" }], (each) => each.id ?? `upload ${each.key}`,
    (each) => (each.id === "add" ? h("li", { class: "tile tile-add" }) : each.key ? h("li", { class: "tile-upload" }) : sourceTile(each)),
    (element, each) => {
      if (each.id === "add") {
        fill(element, h("button", { type: "button", class: "tile-face", data: { focus: "add" }, "aria-label": t("sources.add"), title: t("sources.add"), onclick: () => choose_("source") }, icon("plus", 26)), h("span", { class: "tile-name" }, t("sources.add_short")));
      } else if (each.key) fill(element, uploadLine(each));
      else {
        const face = element.querySelector(".tile-face");
        const isPicked = state.picked === each.id;
        set(face, { "aria-pressed": String(isPicked), "aria-label": t("sources.tile", { name: each.name }), title: each.name });
        element.querySelector(".tile-name").textContent = each.name;
        const flaw = element.querySelector(".tile-flaw");
        flaw.hidden = each.faces !== 0;
        if (each.faces === 0) set(flaw, { role: "img", "aria-label": t("sources.no_face", { name: each.name }), title: t("sources.no_face", { name: each.name }) });
        set(element.querySelector(".tile-remove"), { "aria-label": t("sources.remove", { name: each.name }), title: t("sources.remove", { name: each.name }) });
      }
    });
  fill($("sources-actions"), h("button", { type: "button", class: "icon-button touch-only", data: { focus: "camera" }, "aria-label": t("sources.camera"), title: t("sources.camera"), onclick: () => choose_("source", { capture: "user" }) }, icon("camera")));
  document.body.classList.toggle("has-picked", state.picked !== null);
}

// ---- people ----

let finding = null;

/** Ask who is in the target; the first question begins the search. */
export async function findPeople() {
  finding?.abort();
  const { target } = state.draft;
  if (!target) { state.faces = null; tellAll("people"); return; }
  finding = new AbortController();
  const { signal } = finding;
  state.faces = { state: "finding", people: [] };
  state.facesProblem = null;
  tellAll("people");
  try {
    const answer = await askUntilKnown(`/v1/assets/${target.id}/faces`, { signal, onwait: (body) => { state.faces = { ...state.faces, ...body, people: body.people ?? [] }; tellAll("people"); } });
    if (signal.aborted) return;
    state.faces = await answer.json();
    if (state.faces.state === "failed") state.facesProblem = new Problem({ ...(state.faces.error ?? {}), detail: state.faces.error?.message ?? state.faces.error?.detail ?? t("people.failed") });
    else announce(t("people.found", { n: people().length }));
    assignFirst();
  } catch (error) {
    if (signal.aborted) return;
    state.faces = { state: "failed", people: [] };
    state.facesProblem = error;
  }
  tellAll("people", "look", "faces");
  if (target.kind === "clip" && state.faces.state === "known") findShots(target, signal);
}

/** Where shots begin is good to see, and nothing waits for it. */
async function findShots(target, signal) {
  try {
    const found = await (await askUntilKnown(`/v1/assets/${target.id}/shots`, { signal })).json();
    if (signal.aborted) return;
    state.faces = { ...state.faces, shots: found.shots };
    tellAll("faces");
  } catch { /* the timeline does without */ }
}

function give(face, id, always = false) {
  const name = personName(face);
  if (always && choiceOf(face).sources.includes(id)) return;
  const isGiven = toggleSource(face, id);
  announce(t(isGiven ? "people.given" : "people.taken", { source: nameOf(id), person: name }));
}
/** As everywhere else (--faces, the sheet of people, REST) they are counted from 0. */
export const personName = (face) => t("people.name", { n: face });

function openChoice(button, person) {
  popover(button, (close) => {
    const choice = choiceOf(person.face);
    return [
      h("p", { class: "popover-title" }, personName(person.face)),
      state.draft.sources.length ? null : h("p", { class: "hint" }, t("people.no_sources")),
      state.draft.sources.map((source) => h("label", { class: "check" },
        h("input", { type: "checkbox", checked: choice.sources.includes(source.id), onchange: () => give(person.face, source.id) }),
        h("img", { src: asset.thumbnail(source.id, 64), alt: "", width: 32, height: 32 }), h("span", {}, source.name))),
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: choice.hide, onchange: (event) => choose(person.face, { hide: event.target.checked, leave: false, sources: event.target.checked ? [] : choiceOf(person.face).sources }) }), icon("hide"), h("span", {}, t("people.hide"))),
      needsPhoto() ? null : h("label", { class: "check" }, h("input", { type: "checkbox", checked: choice.leave, onchange: (event) => choose(person.face, { leave: event.target.checked, hide: false }) }), h("span", {}, t("people.leave"))),
      h("div", { class: "popover-end" }, h("button", { type: "button", class: "quiet", onclick: () => close() }, t("done"))),
    ];
  }, { label: personName(person.face) });
}

export const goTo = { time: () => {} };

function personRow(person) {
  const main = h("button", { type: "button", class: "person-main", onclick: () => {
    if (state.picked) { give(person.face, state.picked); return; }
    if (state.draft.mode === "swap") openChoice(main, person);
    else goTo.time(person.best_s);
  } }, h("img", { src: person.picture, alt: "", width: 52, height: 52, draggable: "false" }), h("span", { class: "person-text" }, h("span", { class: "person-name" }), h("span", { class: "person-fate" }), h("span", { class: "person-span" })));
  main.addEventListener("pointerenter", () => tellAll("people-hover"));
  return h("li", { class: "person", data: { face: person.face } }, main, h("span", { class: "person-chips" }));
}

/** What becomes of a person, in words. */
export function fateOf(person) {
  const { draft } = state;
  const choice = choiceOf(person.face);
  if (draft.mode === "anonymise" || choice.hide) return "hidden";
  if (choice.sources.length) return "swapped";
  return needsPhoto() || choice.leave ? "left" : "changed";
}

export function drawPeople() {
  const { target } = state.draft;
  const found = people();
  const note = $("people-note");
  const kind = state.faces?.state;
  if (!target) fill(note, t("people.none_yet"));
  else if (state.facesProblem) fill(note, notice(state.facesProblem, { retry: findPeople }));
  else if (kind === "finding") fill(note, h("span", { class: "busy" }, t("people.finding")));
  else if (!found.length) fill(note, t("people.nobody"));
  else fill(note, t(state.draft.mode === "anonymise" ? "people.all_hidden" : state.picked ? "people.give_hint" : "people.hint"));
  const isClip = target?.kind === "clip";
  keyed($("people"), kind === "finding" && !found.length ? [{ face: "wait-1", wait: true }, { face: "wait-2", wait: true }] : found, (person) => `${target?.id} ${person.face}`,
    (person) => (person.wait ? h("li", { class: "person is-waiting", "aria-hidden": "true" }) : personRow(person)),
    (element, person) => {
      if (person.wait) return;
      const choice = choiceOf(person.face);
      const fate = fateOf(person);
      element.dataset.fate = fate;
      element.querySelector(".person-name").textContent = personName(person.face);
      const span = isClip ? `${timecode(person.first_s)} – ${timecode(person.last_s)}` : "";
      element.querySelector(".person-fate").textContent = t(`people.${fate}`);
      element.querySelector(".person-span").textContent = span;
      const names = choice.sources.map(nameOf).join(", ");
      set(element.querySelector(".person-main"), { "aria-label": state.picked ? t("people.give_to", { source: nameOf(state.picked), person: personName(person.face) }) : `${personName(person.face)}: ${span ? `${span}, ` : ""}${t(`people.${fate}`)}${fate === "swapped" ? `: ${names}` : ""}` });
      keyed(element.querySelector(".person-chips"), fate === "swapped" ? choice.sources : [], (id) => id,
        (id) => h("button", { type: "button", class: "chip", "aria-label": t("people.take", { source: nameOf(id), person: personName(person.face) }), title: t("people.take", { source: nameOf(id), person: personName(person.face) }), onclick: () => give(person.face, id) },
          h("img", { src: asset.thumbnail(id, 64), alt: "", width: 34, height: 34 }), icon("close", 12)));
    });
  const actions = [];
  if (found.length > 1 && state.draft.mode === "swap" && state.draft.sources.length) {
    const id = state.picked ?? state.draft.sources[0].id;
    if (state.picked || state.draft.sources.length === 1) actions.push(h("button", { type: "button", class: "quiet", data: { focus: "everyone" }, onclick: () => { for (const person of found) if (!choiceOf(person.face).sources.includes(id)) toggleSource(person.face, id); } }, t("people.everyone")));
    if (Object.values(state.draft.people).some((choice) => choice.sources.length || choice.hide)) actions.push(h("button", { type: "button", class: "quiet", data: { focus: "clear" }, onclick: () => change({ people: {} }, "people", "look") }, t("people.clear")));
  }
  fill($("people-actions"), actions);
}

export function listen() {
  on("uploads target", drawTarget);
  on("uploads sources picked chain", drawSources);
  on("people picked sources look", drawPeople);
  on("target", findPeople);
}
