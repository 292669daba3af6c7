// Resumable uploads by tus 1.0, in slices. What is on its way is written down, with the file where the browser can keep
// it, so that a reload goes on where it was.

import { Problem, ask, asset, offline, problemOf, send, wait } from "./api.js";
import { t } from "./i18n.js";
import { recall, remember } from "./store.js";

const TUS = { "Tus-Resumable": "1.0.0" };
const FIRST_SLICE = 256 * 1024;
const LARGEST_SLICE = 16 * 1024 * 1024;
const KEPT_BYTES = 512 * 1024 * 1024;
const PAUSES_MS = [500, 1000, 2000, 4000, 8000, 15_000];

// ---- what is kept for after a reload ----

const list = () => recall("uploads", []);
function note(entry) {
  remember("uploads", [...list().filter((each) => each.key !== entry.key), entry]);
}
function forget(key) {
  remember("uploads", list().filter((each) => each.key !== key));
  files((store) => store.delete(key), "readwrite").catch(() => {});
}

function files(action, mode = "readonly") {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("facefusion", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("files");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction("files", mode);
      const request = action(transaction.objectStore("files"));
      transaction.oncomplete = () => { database.close(); resolve(request.result); };
      transaction.onabort = transaction.onerror = () => { database.close(); reject(transaction.error); };
    };
  });
}

const nameIn64 = (name) => btoa(String.fromCharCode(...new TextEncoder().encode(name)));
const keyOf = (file) => `${file.name}|${file.size}|${file.lastModified}`;

/** One file on its way. `onchange` is called whenever there is something to show. */
export class Upload {
  constructor(file, role, { key = file && keyOf(file), url = "", name = file?.name ?? "", size = file?.size ?? 0 } = {}) {
    Object.assign(this, { file, role, key, url, name, size, offset: 0, sent: 0, state: "waiting", problem: null, asset: null, onchange: () => {} });
    this.stopper = new AbortController();
  }

  get isActive() { return ["waiting", "sending", "retrying"].includes(this.state); }
  get share() { return this.size ? Math.min(1, this.sent / this.size) : 0; }

  become(state, problem = null) {
    this.state = state;
    this.problem = problem;
    this.onchange();
  }

  /** Send it, from wherever the service has it. Returns the asset, or null where it was stopped or failed. */
  async run() {
    if (!this.file) { this.become("paused"); return null; }
    let misses = 0;
    try {
      if (this.file.size === 0) throw new Problem({ code: "empty", detail: t("upload.empty", { name: this.name }), hint: t("upload.empty.hint") });
      for (;;) {
        try {
          if (!this.url) await this.create();
          else if (this.state !== "sending") await this.find();
          if (this.asset) return this.finish();
          this.become("sending");
          const before = this.offset;
          await this.sendSlice();
          if (this.offset > before) misses = 0;
          if (this.asset) return this.finish();
        } catch (error) {
          if (this.stopper.signal.aborted) throw error;
          if (!(error instanceof Problem)) throw error;
          const isGone = [404, 410].includes(error.status) && this.url;
          const isBehind = [409, 460].includes(error.status) && this.url;
          const isPassing = error.status === 0 || error.status === 429 || error.status >= 502;
          const isUnknown = error.status === 401 && misses < 2;
          if (isUnknown) await ask("/v1/session", { signal: this.stopper.signal }); // renews the session, or asks for a key
          if (isGone) { this.url = ""; this.offset = this.sent = 0; }
          else if (!isBehind && !isPassing && !isUnknown) throw error;
          misses += 1;
          if (misses > 40) throw error;
          this.become("retrying", error);
          await wait(Math.max(error.retryAfter * 1000, PAUSES_MS[Math.min(misses, PAUSES_MS.length) - 1]), this.stopper.signal);
        }
      }
    } catch (error) {
      if (this.stopper.signal.aborted) return null;
      if (this.url && error.status >= 400) forget(this.key);
      this.become("failed", error instanceof Problem ? error : new Problem({ detail: String(error) }));
      return null;
    }
  }

  async create() {
    const answer = await send("POST", "/v1/uploads", {
      headers: { ...TUS, "Upload-Length": String(this.size), "Upload-Metadata": `filename ${nameIn64(this.name)}` },
      signal: this.stopper.signal,
    });
    this.url = new URL(answer.headers.get("Location"), location.href).pathname;
    this.offset = Number(answer.headers.get("Upload-Offset")) || 0;
    note({ key: this.key, url: this.url, name: this.name, size: this.size, role: this.role });
    if (this.size <= KEPT_BYTES) files((store) => store.put(this.file, this.key), "readwrite").catch(() => {});
  }

  async find() {
    const answer = await send("HEAD", this.url, { headers: TUS, signal: this.stopper.signal });
    this.offset = this.sent = Number(answer.headers.get("Upload-Offset")) || 0;
    const id = answer.headers.get("FaceFusion-Asset");
    if (id) this.asset = await asset.about(id, { signal: this.stopper.signal });
  }

  async sendSlice() {
    this.slice ??= FIRST_SLICE;
    const part = this.file.slice(this.offset, this.offset + this.slice);
    const began = performance.now();
    const answer = await this.patch(part);
    this.offset = this.sent = Number(answer.getResponseHeader("Upload-Offset")) || this.offset + part.size;
    // About two seconds a slice: little is lost when the line breaks, and little is spent on asking.
    const took = Math.max(1, performance.now() - began);
    this.slice = Math.round(Math.min(LARGEST_SLICE, Math.max(FIRST_SLICE, Math.min(4 * this.slice, (part.size / took) * 2000))));
    const id = answer.getResponseHeader("FaceFusion-Asset");
    if (id) this.asset = await asset.about(id, { signal: this.stopper.signal });
    else if (this.offset >= this.size) await this.find();
    this.onchange();
  }

  /** `fetch` does not tell how much has gone out; this does. */
  patch(part) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("PATCH", this.url);
      for (const [name, value] of Object.entries({ ...TUS, "Upload-Offset": String(this.offset), "Content-Type": "application/offset+octet-stream", Accept: "application/json" })) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => { this.sent = this.offset + event.loaded; this.onchange(); };
      request.onload = () => {
        if (request.status < 300) return resolve(request);
        const answer = new Response(request.status === 204 ? null : request.response, { status: request.status, headers: { "Retry-After": request.getResponseHeader("Retry-After") ?? "", "X-Request-Id": request.getResponseHeader("X-Request-Id") ?? "" } });
        return problemOf(answer).then(reject);
      };
      request.onerror = request.ontimeout = () => reject(offline());
      request.onabort = () => reject(new DOMException("stopped", "AbortError"));
      this.stopper.signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(part);
    });
  }

  finish() {
    forget(this.key);
    this.sent = this.size;
    this.become("done");
    return this.asset;
  }

  /** Give up and take away what the service has of it. */
  stop() {
    this.stopper.abort(new DOMException("stopped", "AbortError"));
    forget(this.key);
    if (this.url && this.state !== "done") send("DELETE", this.url, { headers: TUS }).catch(() => {});
    this.become("stopped");
  }
}

/** Uploads that a reload cut off: with their file where it was kept, else waiting for it to be chosen again. */
export async function cutOff() {
  const found = [];
  for (const entry of list()) {
    const file = await files((store) => store.get(entry.key)).catch(() => undefined);
    found.push(new Upload(file ?? null, entry.role, entry));
  }
  return found;
}

/** An asset that was uploaded before, or null where it has expired. */
export async function stillThere(id) {
  try { return await ask(`/v1/assets/${id}/about`); } catch (error) { if ([404, 410].includes(error.status)) return null; throw error; }
}
