// What is done: the chain of processors as cards, the other settings, presets, and the button that makes a job of it.

import { ask, tell, wait } from "./api.js";
import { debounced, dialog, fill, h, icon, iconButton, keyed, popover, saveAs } from "./dom.js";
import { control } from "./forms.js";
import { has, percent, t } from "./i18n.js";
import { announce, notice, toast } from "./notices.js";
import { buildJob, canReport, chain, forgetSeeds, formats, hider, hidesSomebody, missing, newStep, processor, wantsReport } from "./recipe.js";
import { change, on, recall, remember, state, tellAll } from "./store.js";

const $ = (id) => document.getElementById(id);
const opened = new Set(recall("opened", []));
const lookLater = debounced(() => tellAll("look"), 60);
const FIRST_OPTIONS = 4;

export const processorName = (name) => (has(`processor.${name}`) ? t(`processor.${name}`) : name.split("_").map((word) => word[0].toUpperCase() + word.slice(1)).join(" "));

// ---- licences ----

/** What the licence of the step's model allows, from the catalogue; engines that ship here allow everything. */
function licenceOf(step) {
  const known = processor(step.processor);
  const name = step.options.model ?? known?.options.properties.model?.default;
  const model = state.capabilities?.models.find((each) => each.id === name);
  return model ? { ...model, isEngine: false } : { licence: "", commercial: "yes", isEngine: true, is_allowed: true };
}

function licenceBadge(step) {
  const model = licenceOf(step);
  if (model.commercial === "yes") return model.isEngine ? null : h("span", { class: "badge" }, model.licence);
  const words = t(model.commercial === "no" ? "licence.no" : "licence.unclear");
  return h("p", { class: "licence" }, icon("warning", 16), h("span", {}, h("strong", {}, words), " ", t("licence.stated", { model: model.id, licence: model.licence || "–" }), model.is_allowed ? "" : ` ${t("licence.refused")}`));
}

/** A model that is not on the service can be fetched by whoever may; how far that is, and why it failed, stays on the card. */
function modelState(step, onhere) {
  const model = licenceOf(step);
  if (!["missing", "failed", "fetching"].includes(model.state) || model.isEngine) return null;
  const mayFetch = model.is_allowed && state.session?.scopes.includes("admin");
  const line = h("div", { class: "model-state", data: { model: model.id } });
  const begin = async () => {
    try { await follow(await tell(`/v1/models/${model.id}/fetch`)); } catch (error) { show({ ...model, state: "failed", error }); }
  };
  const show = (now) => {
    const known = state.capabilities.models.find((each) => each.id === model.id);
    if (known) Object.assign(known, now);
    line.dataset.state = now.state;
    if (now.state === "here") { toast(t("model.fetched", { model: model.id })); tellAll("look"); onhere(); return; }
    const share = now.total_bytes ? now.fetched_bytes / now.total_bytes : 0;
    const label = t("model.fetching", { model: model.id, share: percent(share) });
    const words = now.state === "failed" ? "model.again" : model.commercial === "yes" ? "model.fetch" : "model.accept";
    fill(line,
      now.state === "fetching"
        ? [h("span", {}, label), h("div", { class: "meter", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(share * 100)), "aria-label": label }, h("span", { style: { width: `${share * 100}%` } }))]
        : h("span", {}, t("model.missing", { model: model.id }), mayFetch || !model.is_allowed ? "" : ` ${t("model.ask")}`),
      now.state === "failed" && now.error ? notice({ ...now.error, detail: now.error.message ?? now.error.detail }) : null,
      now.state !== "fetching" && mayFetch ? h("button", { type: "button", class: "quiet", data: { focus: "fetch" }, onclick: begin }, t(words)) : null);
  };
  const follow = async (now) => {
    for (show(now); now.state === "fetching"; show(now)) {
      await wait(500);
      if (!line.isConnected) return;
      try { now = await ask(`/v1/models/${model.id}`); } catch (error) { if (error.status) throw error; } // it comes without us
    }
  };
  show(model);
  if (model.state === "fetching") setTimeout(() => follow(model).catch(() => {}));
  return line;
}

function modelChoices(name) {
  return processor(name).models.map((model) => {
    const line = state.capabilities.models.find((each) => each.id === model.name);
    const isAway = line ? ["missing", "failed", "fetching"].includes(line.state) : model.place === "not here";
    const notes = [model.commercial === "no" ? t("licence.short_no") : model.commercial === "unclear" ? t("licence.short_unclear") : "", isAway ? t("model.not_here") : ""];
    return { value: model.name, label: has(`model.${model.name}`) ? t(`model.${model.name}`) : model.name, note: notes.filter(Boolean).join(", ") };
  });
}

// ---- cards ----

function change_(mode, action, ...topics) {
  state.draft.chains[mode] = action(chain(mode));
  tellAll("chain", "look", ...topics);
}

function move(mode, step, by) {
  const list = [...chain(mode)];
  const from = list.findIndex((each) => each.id === step.id);
  const to = from + by;
  if (to < 0 || to >= list.length) return;
  list.splice(to, 0, ...list.splice(from, 1));
  change_(mode, () => list);
  announce(t("chain.moved", { name: processorName(step.processor), n: to + 1 }));
}

function dragCard(card, grip) {
  grip.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    grip.setPointerCapture(event.pointerId);
    card.classList.add("is-moving");
    const go = (now) => {
      const others = [...card.parentElement.querySelectorAll(":scope > .card")].filter((each) => each !== card && each.dataset.mode === card.dataset.mode);
      const next = others.find((each) => { const place = each.getBoundingClientRect(); return now.clientY < place.top + place.height / 2; });
      if (next) { if (card.nextElementSibling !== next) next.before(card); } else if (others.length) others.at(-1).after(card);
    };
    const stop = () => {
      grip.removeEventListener("pointermove", go);
      grip.removeEventListener("pointerup", stop);
      grip.removeEventListener("pointercancel", stop);
      card.classList.remove("is-moving");
      const order = [...card.parentElement.querySelectorAll(`:scope > .card[data-mode="${card.dataset.mode}"]`)].map((each) => each.dataset.step);
      change_(card.dataset.mode, (list) => order.map((id) => list.find((each) => each.id === id)).filter(Boolean));
    };
    grip.addEventListener("pointermove", go);
    grip.addEventListener("pointerup", stop);
    grip.addEventListener("pointercancel", stop);
  });
}

function card({ step, mode }) {
  const known = processor(step.processor);
  const name = processorName(step.processor);
  const grip = h("span", { class: "grip", "aria-hidden": "true", title: t("chain.drag") }, icon("grip", 16));
  const body = h("div", { class: "card-body" });
  const element = h("li", { class: "card", data: { step: step.id, mode, processor: step.processor } },
    h("div", { class: "card-head" }, grip,
      h("div", { class: "card-title" }, h("h3", {}, name), h("p", { class: "hint" }, has(`about.${step.processor}`) ? t(`about.${step.processor}`) : (known?.title ?? ""))),
      iconButton("up", t("chain.up", { name }), () => move(mode, step, -1), { class: "icon-button is-small card-up" }),
      iconButton("down", t("chain.down", { name }), () => move(mode, step, 1), { class: "icon-button is-small card-down" }),
      iconButton("close", t("chain.remove", { name }), () => { change_(mode, (list) => list.filter((each) => each.id !== step.id)); $("chain-add").querySelector("button")?.focus(); }, { class: "icon-button is-small card-remove" })),
    body);
  dragCard(element, grip);
  if (!known) {
    fill(body, notice({ detail: t("chain.unknown", { name: step.processor }), hint: t("chain.unknown.hint") }));
    return element;
  }
  const badge = h("div", { class: "card-licence" });
  const again = () => { const fresh = card({ step, mode }); fresh.dataset.key = element.dataset.key; element.replaceWith(fresh); drawChain(); };
  const showBadge = () => fill(badge, licenceBadge(step), modelState(step, again));
  showBadge();
  const entries = Object.entries(known.options.properties ?? {});
  const controls = entries.map(([option, schema]) => {
    return control({
      scope: step.processor, name: option, schema, value: step.options[option],
      choices: option === "model" && known.models.length ? modelChoices(step.processor) : null,
      onchange: (value) => {
        if (value === undefined) delete step.options[option];
        else step.options[option] = value;
        if (option === "model") showBadge();
        lookLater();
        remember("draft", state.draft);
      },
    });
  });
  const rest = controls.slice(FIRST_OPTIONS);
  const details = rest.length ? h("details", { class: "more", open: opened.has(step.processor), ontoggle: (event) => { opened[event.target.open ? "add" : "delete"](step.processor); remember("opened", [...opened]); } }, h("summary", {}, t("chain.more")), rest) : null;
  fill(body, badge, controls.slice(0, FIRST_OPTIONS), details);
  return element;
}

function drawMode() {
  const modes = [["swap", "mode.swap"], ["anonymise", "mode.anonymise"]].filter(([mode]) => mode === "swap" || hider());
  fill($("mode"), h("div", { class: "segments", role: "radiogroup", "aria-label": t("mode.label") }, modes.map(([mode, key]) =>
    h("label", {}, h("input", { type: "radio", name: "mode", value: mode, id: `mode-${mode}`, checked: state.draft.mode === mode, onchange: () => change({ mode }, "chain", "people", "look") }), h("span", {}, t(key))))));
}

export function drawChain() {
  if (!state.capabilities) return;
  const { mode } = state.draft;
  const steps = chain(mode).map((step) => ({ step, mode }));
  const hidden = hidesSomebody() ? chain("anonymise").map((step) => ({ step, mode: "anonymise", isExtra: true })) : [];
  keyed($("cards"), [...steps, ...hidden], ({ step, isExtra }) => `${step.id} ${Boolean(isExtra)}`, card, (element, { step, isExtra }) => {
    const place = steps.findIndex((each) => each.step.id === step.id);
    element.classList.toggle("is-extra", Boolean(isExtra));
    element.querySelector(".card-up").disabled = isExtra || place <= 0;
    element.querySelector(".card-down").disabled = isExtra || place === steps.length - 1;
    element.querySelector(".card-remove").hidden = Boolean(isExtra);
  });
  const button = h("button", { type: "button", class: "add-step", "aria-haspopup": "dialog", "aria-expanded": "false", data: { focus: "add-step" }, onclick: () => popover(button, (close) =>
    state.capabilities.processors.filter((each) => each.kind !== "source").map((each) => h("button", { type: "button", class: "menu-item", onclick: () => { close(); change_(mode, (list) => [...list, newStep(each.name)]); announce(t("chain.added", { name: processorName(each.name) })); } },
      h("span", {}, processorName(each.name)), h("span", { class: "hint" }, has(`about.${each.name}`) ? t(`about.${each.name}`) : each.title))), { label: t("chain.add") }) }, icon("plus"), t("chain.add"));
  fill($("chain-add"), button);
  drawMode();
}

// ---- the recipe's own options ----

const GROUPS = ["output", "masks", "processing", "selection", "analysis", "models", "execution"];
const SHOWN_ELSEWHERE = new Set(["start_s", "end_s", "processors", "target_path", "source_paths", "output_path", "target", "sources", "output", "steps", "people", "report_path", "face_map_path", "fail_under", "presets", "exempt_paths", "exempt", "reference_face_path", "reference_face"]);

export function drawOptions() {
  if (!state.capabilities) return;
  const properties = Object.entries(state.capabilities.options?.properties ?? {}).filter(([name]) => !SHOWN_ELSEWHERE.has(name));
  const kind = state.draft.target?.kind;
  const hidden = kind === "photo" ? /^output_(video|audio)|^drop_tracks|^segment|^motion|^face_tracker/ : kind === "clip" ? /^output_image/ : /^$/;
  const groups = GROUPS.map((group) => [group, properties.filter(([name, schema]) => (schema.group ?? "output") === group && !hidden.test(name))]).filter(([, list]) => list.length);
  fill($("options"), groups.map(([group, list]) => {
    const count = list.filter(([name]) => state.draft.options[name] !== undefined).length;
    const mark = h("span", { class: "group-count" }, count ? String(count) : "");
    return h("details", { class: "group", open: opened.has(`group ${group}`), ontoggle: (event) => { opened[event.target.open ? "add" : "delete"](`group ${group}`); remember("opened", [...opened]); } },
      h("summary", { data: { focus: `group ${group}` } }, h("span", {}, t(`group.${group}`)), mark),
      group === "output" && formats().length ? formatLine() : null,
      list.map(([name, schema]) => control({ scope: "recipe", name, schema, value: state.draft.options[name], onchange: (value) => {
        if (value === undefined) delete state.draft.options[name];
        else state.draft.options[name] = value;
        mark.textContent = String(list.filter(([each]) => state.draft.options[each] !== undefined).length || "");
        remember("draft", state.draft);
        lookLater();
      } })));
  }));
}

function formatLine() {
  const id = "output-format";
  return h("div", { class: "option is-choice" }, h("div", { class: "option-line" }, h("label", { class: "option-name", for: id }, t("option.format"))),
    h("select", { id, value: state.draft.format, onchange: (event) => change({ format: event.target.value }, "look") }, h("option", { value: "" }, t("option.format.auto")), formats().map((each) => h("option", { value: each, selected: state.draft.format === each }, each.toUpperCase()))));
}

// ---- presets ----

const toml = () => import("../vendor/smol-toml/index.js");

/** What a preset holds, as a configuration file of the command line: steps and options, no media. */
async function presetText() {
  const { stringify } = await toml();
  const table = { ...Object.fromEntries(Object.entries(state.draft.options).filter(([, value]) => value !== null)) };
  if (state.draft.mode === "anonymise" && table.faces === undefined) table.faces = "all";
  table.step = chain().map((step) => ({ processor: step.processor, ...Object.fromEntries(Object.entries(step.options).filter(([name, value]) => value !== null && name !== "seed")) }));
  return stringify(table);
}

export async function usePreset(text, name) {
  const { parse } = await toml();
  let table;
  try { table = parse(text); } catch (error) { throw Object.assign(new Error(), { detail: t("preset.unreadable", { name }), hint: String(error.message).split("\n")[0] }); }
  const steps = (table.step ?? table.steps ?? []).map(({ processor: which, options, ...beside }) => ({ which, options: { ...options, ...beside } }));
  for (const which of table.processors ?? []) steps.push({ which, options: {} });
  const options = {};
  const left = [];
  const known = state.capabilities.options?.properties ?? {};
  for (const [key, value] of Object.entries(table)) {
    if (["step", "steps", "processors"].includes(key)) continue;
    const owner = state.capabilities.processors.find((each) => key.startsWith(`${each.name}_`) && key.slice(each.name.length + 1) in (each.options.properties ?? {}));
    if (owner) for (const step of steps.filter((each) => each.which === owner.name)) step.options[key.slice(owner.name.length + 1)] ??= value;
    else if (key in known && !SHOWN_ELSEWHERE.has(key)) options[key] = value;
    else left.push(key);
  }
  for (const step of steps) {
    const properties = processor(step.which)?.options.properties;
    if (!properties) { left.push(step.which); continue; }
    for (const option of Object.keys(step.options)) if (!(option in properties)) { left.push(`${step.which}.${option}`); delete step.options[option]; }
  }
  const found = steps.filter((step) => processor(step.which));
  const mode = found.length && found.every((step) => processor(step.which).is_protective) ? "anonymise" : "swap";
  if (mode === "anonymise" && options.faces === "all") delete options.faces;
  if (found.length) state.draft.chains[mode] = found.map((step) => newStep(step.which, step.options));
  change({ options, ...(found.length ? { mode } : {}) }, "chain", "options", "people", "look");
  toast(left.length ? t("preset.used_partly", { name, left: left.join(", ") }) : t("preset.used", { name }), { kind: left.length ? "warning" : "good" });
}

function presets(button) {
  popover(button, (close) => {
    const kept = recall("presets", {});
    const file = h("input", { type: "file", accept: ".toml,application/toml,text/plain", class: "visually-hidden", tabindex: "-1", id: "preset-file", "aria-label": t("preset.open"), onchange: async () => {
      const [chosen] = file.files;
      if (!chosen) return;
      close();
      try { await usePreset((await chosen.text()).slice(0, 200_000), chosen.name); } catch (error) { toast(error, { kind: "error" }); }
    } });
    return [
      h("p", { class: "popover-title" }, t("preset.heading")),
      Object.keys(kept).length ? null : h("p", { class: "hint" }, t("preset.none")),
      Object.entries(kept).map(([name, text]) => h("div", { class: "menu-line" },
        h("button", { type: "button", class: "menu-item", onclick: async () => { close(); try { await usePreset(text, name); } catch (error) { toast(error, { kind: "error" }); } } }, name),
        iconButton("download", t("preset.save_file", { name }), () => saveAs(text, `${fileName(name)}.toml`, "application/toml"), { class: "icon-button is-small" }),
        iconButton("trash", t("preset.remove", { name }), () => { const now = recall("presets", {}); delete now[name]; remember("presets", now); close(); }, { class: "icon-button is-small" }))),
      h("hr", {}),
      h("button", { type: "button", class: "menu-item", id: "preset-keep", onclick: () => { close(); keepPreset(); } }, t("preset.keep")),
      h("button", { type: "button", class: "menu-item", id: "preset-download", onclick: async () => { const text = await presetText(); saveAs(text, "facefusion.toml", "application/toml"); close(); } }, t("preset.download")),
      h("button", { type: "button", class: "menu-item", id: "preset-open", onclick: () => file.click() }, t("preset.open")), file,
      h("p", { class: "hint" }, t("preset.hint")),
    ];
  }, { label: t("preset.heading") });
}
const fileName = (name) => name.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 60) || "preset";

async function keepPreset() {
  const name = await dialog(t("preset.keep"), (close) => {
    const input = h("input", { type: "text", maxlength: "60", id: "preset-name", autocomplete: "off", required: true });
    return h("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); if (input.value.trim()) close(input.value.trim()); } },
      h("label", { for: "preset-name" }, t("preset.name")), input,
      h("div", { class: "dialog-end" }, h("button", { type: "button", class: "quiet", onclick: () => close() }, t("cancel")), h("button", { type: "submit", class: "primary" }, t("save"))));
  });
  if (!name) return;
  remember("presets", { ...recall("presets", {}), [name]: await presetText() });
  toast(t("preset.kept", { name }));
}

// ---- the button ----

let sending = false;

export function drawRender() {
  const lacks = missing();
  const can = canReport();
  const report = h("label", { class: "check" },
    h("input", { type: "checkbox", id: "want-report", data: { focus: "report" }, checked: wantsReport(), disabled: !can, "aria-describedby": can ? null : "no-report", onchange: (event) => change({ reports: { ...state.draft.reports, [state.draft.mode]: event.target.checked } }, "report") }),
    h("span", {}, t("render.report")), can ? null : h("span", { class: "hint", id: "no-report" }, t("render.no_report")));
  const button = h("button", { type: "button", class: "primary is-wide", id: "render", data: { focus: "render" }, "aria-disabled": lacks || sending ? "true" : "false", "aria-describedby": "render-note", onclick: render }, t(state.draft.mode === "anonymise" ? "render.anonymise" : "render"));
  fill($("render-bar"), h("p", { class: "hint", id: "render-note", "aria-live": "polite" }, lacks ? t(lacks) : t(sending ? "render.sending" : "render.ready")), h("div", { class: "render-line" }, report, button));
}

async function render() {
  const lacks = missing();
  if (sending) return;
  if (lacks) { announce(t(lacks)); $("render-note").classList.add("is-asked"); setTimeout(() => $("render-note")?.classList.remove("is-asked"), 900); return; }
  sending = true;
  drawRender();
  const body = buildJob();
  // The same press sent twice by a bad line is one job; a second press is a second one.
  const key = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const job = await tellTwice("/v1/jobs", body, key);
    announce(t("render.begun"));
    forgetSeeds();
    tellAll("look");
    location.hash = `#/jobs/${job.id}`;
  } catch (error) {
    toast(error, { kind: "error" });
  } finally {
    sending = false;
    drawRender();
  }
}

async function tellTwice(path, body, key) {
  const options = { headers: { "Idempotency-Key": key } };
  try { return await tell(path, body, options); } catch (error) {
    if (error.status !== 0) throw error;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return tell(path, body, options);
  }
}

export function drawActions() {
  const button = h("button", { type: "button", class: "quiet", id: "presets", "aria-haspopup": "dialog", "aria-expanded": "false", data: { focus: "presets" }, onclick: () => presets(button) }, t("preset.heading"));
  fill($("chain-actions"), button);
}

export function listen() {
  on("capabilities chain people", drawChain);
  on("capabilities options target", drawOptions);
  on("capabilities look people target sources uploads", drawRender);
}
export function redraw() {
  $("cards").replaceChildren();
  drawActions();
  drawChain();
  drawOptions();
  drawRender();
}
