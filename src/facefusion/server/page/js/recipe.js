// From what is on the page to a recipe, and what is still missing.

import { choiceOf, drawSeed, people, state } from "./store.js";

export const processor = (name) => state.capabilities?.processors.find((each) => each.name === name);
/** The processor that hides people, if one is here. */
export const hider = () => state.capabilities?.processors.find((each) => each.is_protective);
const unasked = (mode) => (mode === "anonymise" ? hider() : state.capabilities?.processors.find((each) => each.is_default) ?? state.capabilities?.processors[0]);

/** The steps of a mode: those that were chosen, or the one that is done unasked. */
export function chain(mode = state.draft.mode) {
  const chosen = state.draft.chains[mode];
  if (chosen) return chosen;
  const first = unasked(mode);
  state.draft.chains[mode] = first ? [newStep(first.name)] : null;
  return state.draft.chains[mode] ?? [];
}

let stepNumber = 0;
export function newStep(name, options = {}) {
  return { id: `${Date.now().toString(36)}-${(stepNumber += 1)}`, processor: name, options };
}

/** The options of a step, with a seed where nobody chose one: it stands for the next job alone, and is no setting. */
function withSeed(step) {
  if (!("seed" in (processor(step.processor)?.options?.properties ?? {})) || (step.options.seed ?? null) !== null) return step.options;
  step.drawn ??= drawSeed();
  return { ...step.options, seed: step.drawn };
}

/** A job has been made: the next one gets other seeds, so that nobody is known again by the new face of the last. */
export function forgetSeeds() {
  for (const step of Object.values(state.draft.chains).flatMap((steps) => steps ?? [])) delete step.drawn;
}

/** Whether a report is made: where people are hidden it answers whether anyone was missed, so it is unasked. */
export const wantsReport = () => canReport() && (state.draft.reports[state.draft.mode] ?? state.draft.mode === "anonymise");

/** Whether a job hides somebody: then nothing of the page shows its target unasked. */
export const hidesPeople = (recipe) => [...(recipe?.steps ?? []), ...(recipe?.people ?? []).flatMap((person) => person.steps ?? [])].some((step) => processor(step.processor)?.is_protective);

/** Whether the service has what a report is made with; until it has said so it is taken for granted. */
export const canReport = () => state.capabilities?.reports !== false;
export const needsPhoto = () => chain().some((step) => processor(step.processor)?.inputs.includes("face photo"));
const bare = (steps) => steps.map((step) => ({ processor: step.processor, options: withSeed(step) }));

/** Numbers of people who are hidden one by one. */
export const hidesSomebody = () => state.draft.mode === "swap" && people().some((person) => choiceOf(person.face).hide);

/** People who are changed, and whether they are all that are there with the same done to them. */
function whoIsChanged() {
  const found = people();
  const changed = found.filter((person) => {
    const choice = choiceOf(person.face);
    return choice.hide || (needsPhoto() ? choice.sources.length > 0 : !choice.leave);
  });
  const first = String(choiceOf(found[0]?.face).sources);
  const isEverybody = changed.length === found.length && changed.every((person) => !choiceOf(person.face).hide && (!needsPhoto() || String(choiceOf(person.face).sources) === first));
  return { changed, isEverybody };
}

/** The recipe, with asset ids for files. */
export function buildRecipe({ isWhole = false } = {}) {
  const { draft } = state;
  const recipe = { target: draft.target.id, steps: bare(chain()), ...draft.options };
  if (draft.start !== null && !isWhole) recipe.start_s = draft.start;
  if (draft.end !== null && !isWhole) recipe.end_s = draft.end;
  if (draft.mode === "anonymise") return { faces: "all", ...recipe };
  const photos = needsPhoto();
  if (!people().length) return { ...recipe, sources: photos ? draft.sources.map((each) => each.id) : [] };
  const { changed, isEverybody } = whoIsChanged();
  if (isEverybody) return { ...recipe, sources: photos ? choiceOf(changed[0].face).sources : [], faces: "all" };
  return {
    ...recipe,
    people: changed.map((person) => {
      const choice = choiceOf(person.face);
      return { face: person.face, sources: choice.hide || !photos ? [] : choice.sources, steps: bare(chain(choice.hide ? "anonymise" : "swap")) };
    }),
  };
}

/** What keeps it from being rendered: a key of a text, or null. */
export const missing = () => (state.uploads.some((upload) => upload.isActive) ? "missing.upload" : lacking());

/** What keeps it from being seen: the same, whatever is still on its way. */
export function lacking() {
  const { draft } = state;
  if (!draft.target) return "missing.target";
  if (!chain().length) return "missing.step";
  if (draft.mode === "anonymise") return state.faces?.state === "known" && !people().length ? "missing.people" : null;
  if (state.faces?.state === "known" && !people().length) return "missing.people";
  if (needsPhoto()) {
    if (!draft.sources.length && !hidesSomebody()) return "missing.source";
    if (people().length && !people().some((person) => choiceOf(person.face).sources.length || choiceOf(person.face).hide)) return "missing.assignment";
  } else if (people().length && people().every((person) => choiceOf(person.face).leave)) return "missing.assignment";
  return null;
}

export const formats = () => state.capabilities?.formats?.[state.draft.target?.kind] ?? [];

export function buildJob() {
  const { draft } = state;
  const output = {};
  if (formats().includes(draft.format)) output.format = draft.format;
  const stem = draft.target.name.replace(/\.[^.]*$/, "");
  if (stem) output.name = `${stem}-facefusion`;
  return { recipe: buildRecipe(), output, report: wantsReport(), label: draft.label || draft.target.name };
}
