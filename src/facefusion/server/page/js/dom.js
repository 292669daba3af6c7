// Elements, made in one line. Text is always text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** Set attributes, properties (`value`, `checked`, …), listeners (`onclick`) and, by the style object, styles. */
export function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "data") for (const [key, word] of Object.entries(value)) element.dataset[key] = word;
    else if (name === "style") for (const [key, word] of Object.entries(value)) element.style.setProperty(key, word);
    else if (["value", "checked", "disabled", "hidden", "indeterminate", "selected", "muted", "open"].includes(name)) element[name] = value;
    else if (value === false || value === null) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

/** What is to be put in, without what is left out (`null`, `false`). */
const real = (children) => [children].flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

export function h(tag, props = {}, ...children) {
  const element = set(document.createElement(tag), props);
  element.append(...real(children));
  return element;
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  left: "M15 5l-7 7 7 7",
  close: "M6 6l12 12M18 6L6 18",
  up: "M6 15l6-6 6 6",
  down: "M6 9l6 6 6-6",
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8 5v14M16 5v14",
  back: "M17 6l-8 6 8 6zM7 6v12",
  forward: "M7 6l8 6-8 6zM17 6v12",
  camera: "M4 8h3.5l1.5-2.5h6L16.5 8H20v11H4zM12 16.5a3.2 3.2 0 100-6.4 3.2 3.2 0 000 6.4z",
  hide: "M4 4l16 16M9.9 5.3A9.5 9.5 0 0112 5c5.5 0 9 7 9 7a16 16 0 01-2.8 3.6M6.3 7.3A15.5 15.5 0 003 12s3.5 7 9 7c1.6 0 3-.6 4.2-1.3M10 10.2a2.8 2.8 0 003.9 3.9",
  help: "M12 17.5v.01M9.2 9.2a2.9 2.9 0 115.2 1.7c-.9 1-2.4 1.5-2.4 3.1M12 21a9 9 0 100-18 9 9 0 000 18z",
  light: "M12 16a4 4 0 100-8 4 4 0 000 8zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6L7 7M17 17l1.4 1.4M5.6 18.4L7 17M17 7l1.4-1.4",
  dark: "M20 14.5A8.5 8.5 0 019.5 4a8.5 8.5 0 1010.5 10.5z",
  auto: "M12 21a9 9 0 100-18 9 9 0 000 18zM12 3v18M12 7.5h5.5M12 12h9M12 16.5h5.5",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  retry: "M19 12a7 7 0 11-2-5M19 4v4h-4",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13",
  film: "M4 5h16v14H4zM8 5v14M16 5v14M4 9.5h4M4 14.5h4M16 9.5h4M16 14.5h4",
  picture: "M4 5h16v14H4zM4 16l4.5-4.5 4 4 2.5-2.5 5 5M15.5 9.5v.01",
  link: "M10 14a4 4 0 005.7 0l3-3a4 4 0 00-5.7-5.7L11.5 6.8M14 10a4 4 0 00-5.7 0l-3 3a4 4 0 005.7 5.7l1.5-1.5",
  grip: "M9 6v.01M15 6v.01M9 12v.01M15 12v.01M9 18v.01M15 18v.01",
  check: "M5 12.5l4.5 4.5L19 7.5",
  start: "M15 5h-7v14h7",
  end: "M9 5h7v14H9",
  warning: "M12 9v5M12 17.5v.01M12 3.5L2.5 20h19z",
  settings: "M4 7h10M18 7h2M16 9a2 2 0 100-4 2 2 0 000 4zM4 17h2M10 17h10M8 19a2 2 0 100-4 2 2 0 000 4z",
};

/** A picture of a word; the word itself stands beside it or in the button's label. */
export function icon(name, size = 18) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true", class: "icon" })) svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

export function iconButton(name, label, onclick, props = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...props }, icon(name));
}

/**
 * Bring a list of elements in line with a list of things: those that stay keep their element, and so their focus,
 * their pictures and what is being typed.
 */
export function keyed(parent, things, key, create, update = () => {}) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const active = parent.contains(document.activeElement) ? document.activeElement : null;
  // First goes what is gone: whatever is moved loses the focus, and the press that is on it.
  const staying = new Set(things.map((thing) => String(key(thing))));
  let heir = null;
  for (const [name, element] of old) {
    if (staying.has(name)) continue;
    if (element.contains(active)) heir = element.nextElementSibling ?? element.previousElementSibling;
    element.remove();
    old.delete(name);
  }
  let before = parent.firstElementChild;
  for (const thing of things) {
    const name = String(key(thing));
    let element = old.get(name);
    if (element === undefined) {
      element = create(thing);
      element.dataset.key = name;
    }
    update(element, thing);
    if (element === before) before = before.nextElementSibling;
    else parent.insertBefore(element, before);
  }
  if (active?.isConnected && document.activeElement !== active) active.focus({ preventScroll: true });
  else if (heir?.isConnected && document.activeElement === document.body) focusIn(heir);
}

const CONTROLS = "button, a[href], input, select, textarea, summary";
function focusIn(place) {
  const stops = [...place.querySelectorAll(CONTROLS)].filter((each) => !each.disabled && !each.hidden && each.tabIndex >= 0);
  stops[0]?.focus({ preventScroll: true });
}

/** What a pointer or the space bar is down on. A click needs press and release on the same element, so it stays. */
let pressed = null;
const held = new Map();
function release() {
  const mine = pressed;
  if (!mine) return;
  setTimeout(() => { // after the click, which touch brings a little later
    if (pressed === mine) pressed = null;
    const due = [...held];
    held.clear();
    for (const [parent, children] of due) fill(parent, ...children);
  }, 50);
}
addEventListener("pointerdown", (event) => { release(); if (event.button === 0) pressed = event.target.closest?.(`${CONTROLS}, label`) ?? null; }, true);
addEventListener("keydown", (event) => { if (event.key === " ") pressed = event.target.closest?.("button, summary, input") ?? null; }, true);
for (const end of ["pointerup", "pointercancel", "keyup", "dragend"]) addEventListener(end, release, true);
addEventListener("blur", release); // of the window

/** Replace what is in an element; the focus stays on what has the same `data-focus`. While something in it is pressed it waits. */
export function fill(parent, ...children) {
  if (pressed && parent !== pressed && parent.contains(pressed)) { held.set(parent, children); return; }
  held.delete(parent);
  const active = parent.contains(document.activeElement) ? document.activeElement : null;
  const name = active?.dataset.focus;
  parent.replaceChildren(...real(children));
  if (name !== undefined) parent.querySelector(`[data-focus="${CSS.escape(name)}"]`)?.focus({ preventScroll: true });
  if (active && document.activeElement === document.body) focusIn(parent);
}

/** A small window beside a button; closes by Escape, by a click elsewhere, and hands the focus back. */
export function popover(button, build, { label } = {}) {
  document.querySelector(".popover")?.close?.();
  const panel = h("div", { class: "popover", role: "dialog", "aria-label": label ?? button.getAttribute("aria-label") ?? button.textContent, tabindex: "-1" });
  const close = (giveBack = true) => {
    if (!panel.isConnected) return;
    panel.remove();
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    window.removeEventListener("resize", away);
    if (giveBack) button.focus();
  };
  const away = () => close(false);
  const outside = (event) => { if (!panel.contains(event.target) && !button.contains(event.target)) close(false); };
  panel.close = close;
  panel.append(...real(build(close)));
  panel.onkeydown = (event) => {
    if (event.key === "Escape") { event.stopPropagation(); close(); }
    if (event.key === "Tab") {
      const stops = [...panel.querySelectorAll("button, input, select, textarea, a[href]")].filter((stop) => !stop.disabled);
      const edge = event.shiftKey ? stops[0] : stops.at(-1);
      if (document.activeElement === edge || document.activeElement === panel) { event.preventDefault(); (event.shiftKey ? stops.at(-1) : stops[0])?.focus(); }
    }
  };
  document.body.append(panel);
  const place = button.getBoundingClientRect();
  const size = panel.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.left, innerWidth - size.width - 8));
  const below = place.bottom + 6 + size.height <= innerHeight;
  const top = below ? place.bottom + 6 : Math.max(8, place.top - size.height - 6);
  set(panel, { style: { left: `${left}px`, top: `${top}px` } });
  button.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", outside, true);
  window.addEventListener("resize", away);
  (panel.querySelector("[autofocus], button, input, select") ?? panel).focus();
  return panel;
}

/** A dialog of the browser; resolves with what `close(value)` is given, or null. */
export function dialog(title, build) {
  return new Promise((resolve) => {
    const box = h("dialog", { class: "dialog", "aria-label": title });
    let answer = null;
    const close = (value = null) => { answer = value; box.close(); };
    box.append(h("h2", {}, title), ...real(build(close)));
    box.onclose = () => { box.remove(); resolve(answer); };
    document.body.append(box);
    box.showModal();
  });
}

export function debounced(action, wait) {
  let timer;
  const later = (...words) => { clearTimeout(timer); timer = setTimeout(() => action(...words), wait); };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/** Save a text or blob as a file of the user's. */
export function saveAs(content, name, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
