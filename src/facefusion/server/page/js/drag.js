// A source is carried to a person by mouse, pen or a long touch. Keyboard and short touches go by picking and giving.

import { h, set } from "./dom.js";

const FAR_PX = 6;
const LONG_MS = 350;
const EDGE_PX = 130;

/** What scrolls around an element: a column, or on phones the page. */
function scroller(element) {
  for (let each = element.parentElement; each; each = each.parentElement) if (each.scrollHeight > each.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(each).overflowY)) return each;
  return document.scrollingElement;
}

/**
 * @param handle what is taken hold of
 * @param carried what is carried: an id
 * @param picture address of what is shown at the pointer
 * @param drop called with the element that has `data-face` under the pointer
 */
export function carry(handle, { carried, picture, onlift, ondrop, onend }) {
  handle.addEventListener("dragstart", (event) => event.preventDefault());
  handle.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("[data-no-carry]")) return;
    const begin = { x: event.clientX, y: event.clientY };
    let ghost = null;
    let over = null;
    let timer = null;

    let last = begin;
    // What is out of sight comes near when the source is held at the edge.
    const creep = () => {
      if (!ghost) return;
      const below = last.y > innerHeight - EDGE_PX;
      if (below || last.y < EDGE_PX / 2) {
        scroller(handle).scrollBy(0, below ? 8 : -8);
        place(last.x, last.y);
      }
      requestAnimationFrame(creep);
    };

    const lift = () => {
      ghost = h("img", { class: "ghost", src: picture, alt: "" });
      document.body.append(ghost);
      document.body.classList.add("is-carrying");
      onlift(carried);
      place(begin.x, begin.y);
      creep();
    };
    const place = (x, y) => {
      last = { x, y };
      set(ghost, { style: { transform: `translate(${x - 32}px, ${y - 32}px)` } });
      const found = document.elementFromPoint(x, y)?.closest("[data-face]") ?? null;
      if (found !== over) {
        over?.classList.remove("is-over");
        found?.classList.add("is-over");
        over = found;
      }
    };
    const move = (now) => {
      if (now.pointerId !== event.pointerId) return;
      const far = Math.hypot(now.clientX - begin.x, now.clientY - begin.y);
      if (!ghost) {
        if (event.pointerType === "touch") { if (far > FAR_PX) finish(); return; }
        if (far < FAR_PX) return;
        lift();
      }
      now.preventDefault();
      place(now.clientX, now.clientY);
    };
    const hold = (now) => { if (ghost) now.preventDefault(); };
    const finish = (now) => {
      clearTimeout(timer);
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", finish);
      removeEventListener("pointercancel", finish);
      removeEventListener("keydown", escape);
      handle.removeEventListener("touchmove", hold);
      if (!ghost) return;
      ghost.remove();
      ghost = null;
      document.body.classList.remove("is-carrying");
      over?.classList.remove("is-over");
      // The click that follows belongs to the drag.
      addEventListener("click", swallow, { capture: true, once: true });
      setTimeout(() => removeEventListener("click", swallow, { capture: true }), 50);
      if (now?.type === "pointerup" && over) ondrop(carried, over);
      onend(carried);
    };
    const escape = (key) => { if (key.key === "Escape") finish(); };
    if (event.pointerType === "touch") timer = setTimeout(lift, LONG_MS);
    addEventListener("pointermove", move, { passive: false });
    addEventListener("pointerup", finish);
    addEventListener("pointercancel", finish);
    addEventListener("keydown", escape);
    handle.addEventListener("touchmove", hold, { passive: false });
  });
  handle.addEventListener("contextmenu", (event) => { if (document.body.classList.contains("is-carrying")) event.preventDefault(); });
}

function swallow(event) {
  event.stopPropagation();
  event.preventDefault();
}
