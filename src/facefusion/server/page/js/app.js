// The beginning: who asks, what can be asked for, which view.

import { Problem, ask, events, send } from "./api.js";
import * as bin from "./bin.js";
import { dialog, fill, h, icon, set } from "./dom.js";
import { LANGUAGES, preferredLanguage, t, useLanguage } from "./i18n.js";
import * as jobs from "./jobs.js";
import * as look from "./look.js";
import { notice, toast } from "./notices.js";
import * as stage from "./stage.js";
import { on, recallWord, rememberWord, setTarget, state, tellAll } from "./store.js";
import * as timeline from "./timeline.js";
import { stillThere } from "./upload.js";

const $ = (id) => document.getElementById(id);

// ---- words and light ----

const THEMES = ["auto", "light", "dark"];
function drawTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  const label = t("theme.now", { now: t(`theme.${now}`), next: t(`theme.${next}`) });
  set($("theme"), { "aria-label": label, title: label, onclick: () => {
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    rememberWord("theme", next === "auto" ? "" : next);
    drawTheme();
  } });
  $("theme").replaceChildren(icon(now));
}

function drawLanguages() {
  const select = $("language");
  fill(select, Object.entries(LANGUAGES).map(([name, label]) => h("option", { value: name, lang: name === "zh" ? "zh-Hans" : name }, label)));
  select.value = document.documentElement.lang.slice(0, 2);
  select.onchange = async () => {
    rememberWord("language", select.value);
    await useLanguage(select.value);
    everything();
  };
}

function everything() {
  drawTheme();
  look.redraw();
  timeline.redraw();
  stage.redraw();
  for (const list of ["sources", "people"]) $(list).replaceChildren();
  bin.drawTarget();
  bin.drawSources();
  bin.drawPeople();
  jobs.redraw();
}

// ---- who asks ----

let signingIn = null;
function signIn() {
  signingIn ??= dialog(t("session.heading"), (close) => {
    const input = h("input", { type: "password", id: "key", autocomplete: "current-password", required: true, spellcheck: "false" });
    const trouble = h("div", { "aria-live": "polite" });
    return h("form", { onsubmit: async (event) => {
      event.preventDefault();
      try {
        await send("POST", "/v1/session", { json: { key: input.value.trim() }, mayRenew: false });
        close(true);
      } catch (error) { fill(trouble, notice(error.status === 401 ? new Problem({ detail: t("session.refused"), hint: t("session.refused.hint") }) : error)); }
    } }, h("p", {}, t("session.text")), h("input", { type: "text", autocomplete: "username", value: "FaceFusion", hidden: true }), h("label", { for: "key" }, t("session.key")), input, trouble, h("div", { class: "dialog-end" }, h("button", { type: "submit", class: "primary" }, t("session.enter"))));
  }).finally(() => { signingIn = null; });
  return signingIn;
}

async function enter() {
  for (;;) {
    try { state.session = await ask("/v1/session"); break; } catch (error) {
      if (error.status !== 401) throw error;
      await signIn();
    }
  }
  $("sign-out").hidden = !state.session.is_page || state.session.who === "page";
  $("sign-out").onclick = async () => { try { await send("DELETE", "/v1/session"); } finally { location.reload(); } };
}

// ---- views ----

function route() {
  const [, view = "", id = ""] = location.hash.slice(1).split("?")[0].split("/");
  const name = view === "jobs" ? "jobs" : "studio";
  const before = document.documentElement.dataset.view;
  document.documentElement.dataset.view = name;
  $("studio").hidden = name !== "studio";
  $("jobs").hidden = name !== "jobs";
  for (const link of document.querySelectorAll(".tabs a")) set(link, { "aria-current": link.dataset.view === name ? "page" : null });
  document.title = `${t(`nav.${name}`)} · FaceFusion`;
  $("heading").textContent = document.title;
  if (name === "jobs") { stage.video()?.pause(); jobs.show(id || null); } else { jobs.show(null); tellAll("view"); }
  if (name === "studio") keepTarget();
  if (before !== name) $("content").focus({ preventScroll: true });
}

/** The address of the studio names its target, so that it can be kept and sent. */
function keepTarget() {
  if (document.documentElement.dataset.view === "studio") history.replaceState(null, "", state.draft.target ? `#/?target=${state.draft.target.id}` : "#/");
}

/** What a link or the last visit says is there may have expired meanwhile. */
async function checkDraft() {
  const { draft } = state;
  const wanted = new URLSearchParams(location.hash.split("?")[1] ?? "");
  try {
    const linked = wanted.get("target");
    const id = linked ?? draft.target?.id;
    const target = id ? await stillThere(id) : null;
    if (id && !target) toast(t("target.expired"), { kind: "warning" });
    if (linked && linked !== draft.target?.id) setTarget(target);
    else draft.target = target;
    const sources = await Promise.all(draft.sources.map((each) => stillThere(each.id)));
    const gone = sources.filter((each) => each === null).length;
    if (gone) toast(t("sources.expired", { n: gone }), { kind: "warning" });
    draft.sources = sources.map((each, place) => each && { ...each, faces: draft.sources[place].faces, order: draft.sources[place].order }).filter(Boolean);
    for (const choice of Object.values(draft.people)) choice.sources = choice.sources.filter((each) => draft.sources.some((source) => source.id === each));
  } catch (error) { toast(error, { kind: "error" }); }
}

async function begin() {
  await useLanguage(preferredLanguage(recallWord("language")));
  drawLanguages();
  for (const module of [bin, stage, timeline, look]) module.listen();
  // Without the service nothing can be done; what there is to see is there before it answers.
  bin.drawSources();
  drawTheme();
  look.drawActions();
  stage.drawStage();
  bin.drawTarget();
  bin.drawPeople();
  bin.listenForFiles();
  let isAway = false;
  events.addEventListener("unreachable", () => { if (!isAway) { isAway = true; document.body.classList.add("is-away"); toast(new Problem({ detail: t("error.unreachable"), hint: t("error.unreachable.hint") }), { kind: "warning" }); } });
  events.addEventListener("reached", () => { if (isAway) { isAway = false; document.body.classList.remove("is-away"); toast(t("error.reached")); } });
  events.addEventListener("unknown", () => signIn().then((done) => done && location.reload()));
  try {
    await enter();
    state.capabilities = await ask("/v1/capabilities");
  } catch (error) {
    fill($("cards"), h("li", {}, notice(error, { retry: () => location.reload() })));
    toast(error, { kind: "error" });
    return;
  }
  await checkDraft();
  tellAll("capabilities", "sources", "target", "chain", "options", "people", "at");
  addEventListener("hashchange", route);
  route();
  if (document.documentElement.dataset.view !== "jobs") jobs.load();
  on("target", keepTarget);
  bin.resumeUploads();
  document.documentElement.dataset.ready = "true";
}

begin();
