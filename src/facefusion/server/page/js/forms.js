// Controls that are made from JSON Schema. The words come from locales (`option.…`, `help.…`) or from the schema itself.

import { h, icon, set } from "./dom.js";
import { currentLanguage, has, number, t } from "./i18n.js";

const spaced = (name) => name.replace(/[_-]/g, " ").replace(/^./, (first) => first.toUpperCase());

/** Name and help of an option: scope is a processor or `recipe`. */
export function wordsOf(scope, name, schema) {
  const label = has(`option.${scope}.${name}`) ? t(`option.${scope}.${name}`) : has(`option.${name}`) ? t(`option.${name}`) : spaced(name.replace(/^(face|output)_(?=mask|detector|selector|video|image)/, ""));
  const own = schema.description ?? "";
  const help = has(`help.${scope}.${name}`) && (currentLanguage() !== "en" || !own) ? t(`help.${scope}.${name}`) : own.replace(/^./, (first) => first.toUpperCase());
  return { label, help };
}
export const choiceWord = (value) => (has(`choice.${value}`) ? t(`choice.${value}`) : spaced(String(value)));

/** A schema without the `null` that stands for "as it comes". */
export function essence(schema) {
  if (!schema.anyOf) return { schema, isOptional: false, choices: [] };
  const kinds = schema.anyOf.filter((each) => each.type !== "null");
  const isOptional = kinds.length < schema.anyOf.length;
  return { schema: { ...kinds[0], ...Object.fromEntries(Object.entries(schema).filter(([key]) => key !== "anyOf")) }, isOptional, others: kinds.slice(1) };
}

/** What kind of control fits. */
export function kindOf(raw) {
  const { schema } = essence(raw);
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return "switch";
  if (schema.type === "array") return schema.items?.enum ? "choices" : schema.items?.type === "integer" || schema.items?.type === "number" ? "numbers" : "words";
  if (schema.type === "integer" || schema.type === "number") {
    const low = schema.minimum ?? schema.exclusiveMinimum;
    const high = schema.maximum ?? schema.exclusiveMaximum;
    return low !== undefined && high !== undefined && high - low <= 10_000 ? "slider" : "number";
  }
  return "text";
}

let ids = 0;

/**
 * A line with a control.
 *
 * @param value what is chosen; undefined where nothing is
 * @param onchange called with the new value, or undefined for "as it comes"
 * @param choices for texts that are names of something: [{value, label, note, disabled}]
 */
export function control({ scope, name, schema: raw, value, onchange, choices = null }) {
  const { schema, isOptional } = essence(raw);
  const { label, help } = wordsOf(scope, name, raw);
  const kind = choices ? "choice" : kindOf(raw);
  const id = `option-${(ids += 1)}`;
  const otherwise = raw.default;
  const current = value === undefined ? otherwise : value;
  const helpText = h("p", { class: "option-help", id: `${id}-help`, hidden: true }, help);
  const reset = h("button", { type: "button", class: "option-reset", hidden: value === undefined, "aria-label": t("option.reset", { name: label }), title: t("option.reset", { name: label }), onclick: () => { onchange(undefined); show(otherwise); reset.hidden = true; input.focus?.(); } }, icon("retry", 13));
  const changed = (next) => {
    const isDefault = JSON.stringify(next) === JSON.stringify(otherwise);
    reset.hidden = isDefault;
    onchange(isDefault ? undefined : next);
  };
  const shared = { id, "aria-describedby": help ? `${id}-help` : undefined, data: { option: `${scope}.${name}` } };
  let input;
  let show;
  let output = null;
  if (kind === "slider") {
    const low = schema.minimum ?? schema.exclusiveMinimum;
    const high = schema.maximum ?? schema.exclusiveMaximum;
    const step = schema.type === "integer" ? 1 : high - low <= 2 ? 0.05 : high - low <= 20 ? 0.5 : 1;
    output = h("output", { for: id, class: "option-value" });
    const digits = step < 1 ? 2 : 0;
    show = (shown) => {
      input.value = shown ?? low;
      output.textContent = shown === null || shown === undefined ? t("option.auto") : number(shown, digits);
      set(input, { style: { "--filled": `${((Number(input.value) - low) / (high - low)) * 100}%` } });
    };
    input = h("input", { ...shared, type: "range", min: low, max: high, step, oninput: () => { const next = Number(input.value); show(next); changed(next); } });
  } else if (kind === "choice") {
    const list = choices ?? schema.enum.map((each) => ({ value: each, label: choiceWord(each) }));
    input = h("select", { ...shared, onchange: () => changed(input.value === "" && isOptional ? null : list.find((each) => String(each.value) === input.value)?.value ?? input.value) },
      isOptional ? h("option", { value: "" }, t("option.auto")) : null,
      list.map((each) => h("option", { value: String(each.value), disabled: each.disabled }, each.note ? `${each.label} · ${each.note}` : each.label)),
      choices && current && !list.some((each) => each.value === current) ? h("option", { value: current }, t("option.unknown", { name: current })) : null);
    show = (shown) => { input.value = shown === null || shown === undefined ? "" : String(shown); };
  } else if (kind === "switch") {
    input = h("input", { ...shared, type: "checkbox", role: "switch", class: "switch", onchange: () => changed(input.checked) });
    show = (shown) => { input.checked = Boolean(shown); };
  } else if (kind === "choices") {
    const boxes = schema.items.enum.map((each) => h("label", { class: "pill" }, h("input", { type: "checkbox", value: each, onchange: () => changed(boxes.map((box) => box.firstElementChild).filter((box) => box.checked).map((box) => box.value)) }), h("span", {}, choiceWord(each))));
    input = h("div", { ...shared, role: "group", class: "pills", "aria-labelledby": `${id}-label` }, boxes);
    show = (shown) => { for (const box of boxes) box.firstElementChild.checked = (shown ?? []).includes(box.firstElementChild.value); };
  } else if (kind === "numbers" || kind === "words") {
    input = h("input", { ...shared, type: "text", inputmode: kind === "numbers" ? "numeric" : undefined, spellcheck: "false", autocomplete: "off", onchange: () => { const parts = input.value.split(/[\s,]+/).filter(Boolean); changed(kind === "numbers" ? parts.map(Number).filter((each) => !Number.isNaN(each)) : parts); } });
    show = (shown) => { input.value = (shown ?? []).join(" "); };
  } else if (kind === "number") {
    input = h("input", { ...shared, type: "number", min: schema.minimum, max: schema.maximum ?? (schema.exclusiveMaximum > Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : undefined), step: schema.type === "integer" ? 1 : "any", placeholder: isOptional ? t("option.auto") : undefined, onchange: () => { if (input.checkValidity()) changed(input.value === "" ? null : Number(input.value)); } });
    show = (shown) => { input.value = shown ?? ""; };
  } else {
    input = h("input", { ...shared, type: "text", spellcheck: "false", autocomplete: "off", placeholder: isOptional ? t("option.auto") : undefined, onchange: () => changed(input.value === "" && isOptional ? null : input.value) });
    show = (shown) => { input.value = shown ?? ""; };
  }
  show(current);
  const name_ = kind === "choices" ? h("span", { class: "option-name", id: `${id}-label` }, label) : h("label", { class: "option-name", for: id }, label);
  const helpButton = help ? h("button", { type: "button", class: "option-ask", "aria-expanded": "false", "aria-controls": `${id}-help`, "aria-label": t("option.help", { name: label }), onclick: () => { helpText.hidden = !helpText.hidden; helpButton.setAttribute("aria-expanded", String(!helpText.hidden)); } }, icon("help", 15)) : null;
  return h("div", { class: `option is-${kind}` }, h("div", { class: "option-line" }, name_, helpButton, h("span", { class: "spring" }), reset, output), input, help ? helpText : null);
}
