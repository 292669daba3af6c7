// What went wrong, and what is good to know: never a code alone, always what to do next.

import { h, iconButton, icon } from "./dom.js";
import { has, t } from "./i18n.js";

/** What it is about in the reader's language, where there is a text for it, and what the service says of it in its own. */
function sentences(problem) {
  const known = has(`problem.${problem.code}`);
  const said = problem.detail || problem.message || problem.title;
  const language = known ? { lang: "en" } : {};
  return [known ? h("p", {}, t(`problem.${problem.code}`)) : null, said ? h("p", known ? { class: "hint", ...language } : {}, said) : null, problem.hint ? h("p", { class: "hint", ...language }, problem.hint) : null];
}

export function notice(problem, { retry, close, kind = "error" } = {}) {
  return h("div", { class: `notice is-${kind}`, role: kind === "error" ? "alert" : "note" },
    icon("warning"),
    h("div", { class: "notice-text" },
      sentences(problem),
      problem.errors?.length ? h("ul", {}, problem.errors.map((each) => h("li", {}, `${each.where}: ${each.message}`))) : null,
      problem.requestId && problem.status >= 500 ? h("p", { class: "hint" }, t("error.request", { id: problem.requestId })) : null),
    retry ? h("button", { type: "button", class: "quiet", onclick: retry }, t("again")) : null,
    close ? iconButton("close", t("close"), close) : null);
}

export function toast(content, { kind = "good", action, seconds = 6 } = {}) {
  const place = document.getElementById("toasts");
  const text = content instanceof Error || content.detail ? sentences(content) : h("p", {}, content);
  const box = h("div", { class: `toast is-${kind}` }, h("div", { class: "notice-text" }, text), action ?? null, iconButton("close", t("close"), () => box.remove()));
  place.append(box);
  while (place.children.length > 4) place.firstElementChild.remove();
  if (kind !== "error") setTimeout(() => box.remove(), seconds * 1000);
}

export function announce(text) {
  const log = document.getElementById("announcer");
  log.append(h("p", {}, text));
  while (log.children.length > 5) log.firstElementChild.remove();
}
