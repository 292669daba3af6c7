// What is being worked on. It is kept in the browser, so a reload loses nothing; jobs and media are kept by the service.

const PREFIX = "facefusion.";
const listeners = new Map();

export function recall(name, otherwise) {
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? otherwise : JSON.parse(text);
  } catch { return otherwise; }
}
export function remember(name, value) {
  try {
    if (value === undefined || value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch { /* a private window keeps nothing */ }
}
/** Words that early.js reads as they are. */
export function rememberWord(name, word) {
  try {
    if (word) localStorage.setItem(PREFIX + name, word);
    else localStorage.removeItem(PREFIX + name);
  } catch { /* see above */ }
}
export function recallWord(name) {
  try { return localStorage.getItem(PREFIX + name); } catch { return null; }
}

/** Seeds are drawn here, so that the preview shows the people that the job will make; every job has its own. */
export const drawSeed = () => { const [high, low] = crypto.getRandomValues(new Uint32Array(2)); return (high & 0xfffff) * 2 ** 32 + low; };

const fresh = () => ({
  target: null, // an asset
  sources: [], // assets
  given: null, // {target, face, source}: what the page itself gave to the first person
  people: {}, // by face: {sources: [id], hide: bool, leave: bool}
  mode: "swap",
  chains: { swap: null, anonymise: null }, // null: as the service does unasked
  options: {}, // of the recipe, those that were changed
  start: null,
  end: null,
  format: "",
  reports: {}, // by mode, where it was chosen: whether a report is made
  label: "",
  form: 2, // of the draft as it is kept
});

/** What is kept of the last visit. Earlier pages kept seeds that nobody had chosen as if somebody had. */
function recallDraft() {
  const kept = recall("draft", {});
  if (kept.form !== fresh().form) {
    for (const step of Object.values(kept.chains ?? {}).flatMap((steps) => steps ?? [])) delete step.options?.seed;
    delete kept.report;
    kept.form = fresh().form;
  }
  return kept;
}

export const state = {
  draft: { ...fresh(), ...recallDraft() },
  at: recall("at", 0),
  faces: null, // what the service says of the target's people
  facesProblem: null,
  picked: null, // a source on its way to a person
  capabilities: null,
  uploads: [],
  session: null,
};

/** Tell everyone who listens to one of these topics. */
export function tellAll(...topics) {
  if (topics.some((topic) => topic !== "at" && topic !== "picked")) remember("draft", state.draft);
  const called = new Set();
  for (const topic of topics) for (const listener of listeners.get(topic) ?? []) if (!called.has(listener)) { called.add(listener); listener(); }
}
export function on(topics, listener) {
  for (const topic of topics.split(" ")) listeners.set(topic, [...(listeners.get(topic) ?? []), listener]);
}

/** Change the draft and say so. */
export function change(values, ...topics) {
  Object.assign(state.draft, values);
  tellAll(...topics);
}

export function setTarget(asset) {
  state.draft.target = asset;
  Object.assign(state.draft, { people: {}, given: null, start: null, end: null });
  state.faces = null;
  state.facesProblem = null;
  state.at = 0;
  remember("at", 0);
  tellAll("target", "people", "at", "look");
}

export function addSource(asset) {
  if (state.draft.sources.some((each) => each.id === asset.id)) return;
  state.draft.sources.push(asset);
  state.draft.sources.sort((one, other) => (one.order ?? 0) - (other.order ?? 0));
  assignFirst();
  tellAll("sources", "people", "look");
}

export function removeSource(id) {
  state.draft.sources = state.draft.sources.filter((each) => each.id !== id);
  for (const choice of Object.values(state.draft.people)) choice.sources = choice.sources.filter((each) => each !== id);
  if (state.picked === id) state.picked = null;
  if (!state.draft.sources.length) state.draft.given = null;
  tellAll("sources", "people", "picked", "look");
}

export const people = () => state.faces?.people ?? [];
export const choiceOf = (face) => state.draft.people[face] ?? { sources: [], hide: false, leave: false };

export function choose(face, values) {
  state.draft.people[face] = { ...choiceOf(face), ...values };
  tellAll("people", "look");
}

/** Give a source to a person, or take it back. */
export function toggleSource(face, id) {
  const { sources } = choiceOf(face);
  const has = sources.includes(id);
  choose(face, { sources: has ? sources.filter((each) => each !== id) : [...sources, id], hide: false, leave: false });
  return !has;
}

export const isUntouched = () => Object.values(state.draft.people).every((choice) => !choice.sources.length && !choice.hide);

/** Whether nobody has chosen anything since the page itself gave the first source away. */
function isAsGiven({ face, source }) {
  const { sources, hide } = choiceOf(face);
  const others = Object.entries(state.draft.people).filter(([name]) => name !== face).map(([, choice]) => choice);
  return !hide && sources.length === 1 && sources[0] === source && others.every((choice) => !choice.sources.length && !choice.hide);
}

/**
 * Who has said nothing else wants the first source on the most prominent person, whichever is there first: a source that
 * was chosen earlier may come later, and so may the people.
 */
export function assignFirst() {
  const { sources, target } = state.draft;
  const [first] = people();
  const given = state.draft.given?.target === target?.id ? state.draft.given : null;
  if (!sources.length || !first || !(given ? isAsGiven(given) : isUntouched())) return;
  if (choiceOf(first.face).leave || (given?.face === first.face && given.source === sources[0].id)) return;
  if (given) delete state.draft.people[given.face];
  state.draft.people[first.face] = { sources: [sources[0].id], hide: false, leave: false };
  state.draft.given = { target: target.id, face: first.face, source: sources[0].id };
}
