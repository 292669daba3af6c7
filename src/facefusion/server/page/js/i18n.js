// Words. A translator edits locales/*.json: `{name}` is put in, and `…_one`, `…_other` are chosen by number.

export const LANGUAGES = { en: "English", zh: "中文" };
const words = {};
let language = "en";
let plurals = new Intl.PluralRules("en");

export const currentLanguage = () => language;

async function load(name) {
  const answer = await fetch(new URL(`../locales/${name}.json`, import.meta.url));
  words[name] = await answer.json();
}

export async function useLanguage(name) {
  await Promise.all(["en", name].filter((each) => !(each in words)).map(load));
  language = name;
  plurals = new Intl.PluralRules(name);
  document.documentElement.lang = name === "zh" ? "zh-Hans" : name;
  document.documentElement.dataset.words = name;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-aria-label]")) element.setAttribute("aria-label", t(element.dataset.tAriaLabel));
}

export function preferredLanguage(stored) {
  if (stored in LANGUAGES) return stored;
  return (navigator.languages ?? [navigator.language]).map((each) => each.slice(0, 2)).find((each) => each in LANGUAGES) ?? "en";
}

const find = (key) => words[language]?.[key] ?? words.en?.[key];

/** Whether there is a text for it in the language in use. */
export const has = (key) => words[language]?.[key] !== undefined;

export function t(key, values = {}) {
  let text = find(key);
  if (text === undefined && "n" in values) text = find(`${key}_${plurals.select(values.n)}`) ?? find(`${key}_other`);
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? (typeof values[name] === "number" ? number(values[name]) : values[name]) : whole));
}

export const number = (value, digits = 0) => new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
export const percent = (share) => new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(share);

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let rank = 0;
  while (count >= 1000 && rank < units.length - 1) { count /= 1000; rank += 1; }
  return `${number(count, rank > 1 && count < 100 ? 1 : 0)} ${units[rank]}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t("time.seconds", { n: whole });
  if (whole < 3600) return t("time.minutes", { n: Math.floor(whole / 60), s: String(whole % 60).padStart(2, "0") });
  return t("time.hours", { n: Math.floor(whole / 3600), m: String(Math.floor((whole % 3600) / 60)).padStart(2, "0") });
}

/** 00:00:04:12 as editors count, where the frame rate is known; else 0:04.5. */
export function timecode(seconds, frameRate = null) {
  const two = (value) => String(value).padStart(2, "0");
  if (frameRate) {
    const whole = Math.floor(Math.max(0, seconds) + 0.5 / frameRate);
    return [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60, Math.round(Math.max(0, seconds - whole) * frameRate)].map(two).join(":");
  }
  const tenths = Math.round(Math.max(0, seconds) * 10);
  const whole = Math.floor(tenths / 10);
  const head = whole >= 3600 ? `${Math.floor(whole / 3600)}:${two(Math.floor((whole % 3600) / 60))}` : String(Math.floor(whole / 60));
  return `${head}:${two(whole % 60)}.${tenths % 10}`;
}

export const moment = (text) => new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
