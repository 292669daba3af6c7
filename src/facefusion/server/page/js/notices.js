// What went wrong, and what is good to know: never a code alone, always what to do next.

import { h, iconButton, icon } from "./dom.js";
import { t } from "./i18n.js";

export function notice(problem, { retry, close, kind = "error" } = {}) {
  return h("div", { class: `notice is-${kind}`, role: kind === "error" ? "alert" : "note" },
    icon("warning"),
    h("div", { class: "notice-text" },
      h("p", {}, problem.detail || problem.message || problem.title),
      problem.hint ? h("p", { class: "hint" }, problem.hint) : null,
      problem.errors?.length ? h("ul", {}, problem.errors.map((each) => h("li", {}, `${each.where}: ${each.message}`))) : null,
      problem.requestId && problem.status >= 500 ? h("p", { class: "hint" }, t("error.request", { id: problem.requestId })) : null),
    retry ? h("button", { type: "button", class: "quiet", onclick: retry }, t("again")) : null,
    close ? iconButton("close", t("close"), close) : null);
}

export function toast(content, { kind = "good", action, seconds = 6 } = {}) {
  const place = document.getElementById("toasts");
  const text = content instanceof Error || content.detail ? [h("p", {}, content.detail || content.message), content.hint ? h("p", { class: "hint" }, content.hint) : null] : h("p", {}, content);
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
