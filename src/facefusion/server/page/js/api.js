// The REST API. Everything that is wrong becomes a `Problem` with what the service said and what to do next.

import { t } from "./i18n.js";

export class Problem extends Error {
  constructor({ status = 0, code = "", title = "", detail = "", hint = "", errors = [], requestId = "", retryAfter = 0 }) {
    super(detail || title);
    Object.assign(this, { status, code, title, detail, hint, errors, requestId, retryAfter });
  }
}

export const events = new EventTarget();
const wait = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
export { wait };

export const offline = () => new Problem({ code: "unreachable", detail: t("error.unreachable"), hint: t("error.unreachable.hint") });

/** What a refusal says, be it a problem document or not. */
export async function problemOf(answer) {
  const facts = { status: answer.status, requestId: answer.headers.get("X-Request-Id") ?? "", retryAfter: Number(answer.headers.get("Retry-After")) || 0 };
  try {
    const body = await answer.json();
    return new Problem({ ...facts, code: body.code ?? "", title: body.title ?? "", detail: body.detail ?? body.message ?? "", hint: body.hint ?? "", errors: body.errors ?? [] });
  } catch {
    return new Problem({ ...facts, detail: t("error.status", { status: String(answer.status) }), hint: t("error.status.hint") });
  }
}

let renewing = null;

/** The page's cookie ends with the server that set it: ask for the page again, once for all who wait. */
function renew() {
  renewing ??= fetch("/", { cache: "no-store", credentials: "same-origin" }).then(() => fetch("/v1/session", { credentials: "same-origin" })).then((answer) => answer.ok).catch(() => false).finally(() => { renewing = null; });
  return renewing;
}

/**
 * Send a request.
 *
 * @returns the `Response`; it is a success.
 */
export async function send(method, path, { json, body, headers = {}, signal, mayRenew = true } = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers }, signal, credentials: "same-origin" };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  } else if (body !== undefined) options.body = body;
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError" || signal?.aborted) throw error;
    events.dispatchEvent(new Event("unreachable"));
    throw offline();
  }
  events.dispatchEvent(new Event("reached"));
  if (answer.ok) return answer;
  if (answer.status === 401 && mayRenew) {
    if (await renew()) return send(method, path, { json, body, headers, signal, mayRenew: false });
    events.dispatchEvent(new Event("unknown"));
  }
  throw await problemOf(answer);
}

export const ask = async (path, options) => (await send("GET", path, options)).json();
export const tell = async (path, json, options = {}) => (await send("POST", path, { json: json ?? {}, ...options })).json();
export const remove = (path) => send("DELETE", path);

/** Ask until the answer is no "202, later". */
export async function askUntilKnown(path, { signal, onwait = () => {}, patience = 20, ...options } = {}) {
  for (;;) {
    let answer;
    try { answer = await send(options.method ?? "GET", path, { signal, ...options }); } catch (error) {
      if (error.status !== 503 || patience <= 0) throw error; // busy with others
      patience -= 1;
      await wait(Math.max(1, error.retryAfter) * 1000, signal);
      continue;
    }
    if (answer.status !== 202) return answer;
    onwait(await answer.json().catch(() => ({})));
    await wait(Math.min(10, Math.max(0.3, Number(answer.headers.get("Retry-After")) || 1)) * 1000, signal);
  }
}

export const asset = {
  about: (id, options) => ask(`/v1/assets/${id}/about`, options),
  url: (id) => `/v1/assets/${id}`,
  download: (id) => `/v1/assets/${id}?download=true`,
  thumbnail: (id, size = 256) => `/v1/assets/${id}/thumbnail?size=${size}`,
};
