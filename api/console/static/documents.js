// The browser of documents: keyspaces, keys, one document with its concurrent
// values. What is listed and what is open are read again when the keyspace has
// changed; what somebody edits is left alone.
import { act, attribute, each, h, show, sure, text } from "./dom.js";
import { call, document as path, get, Problem } from "./api.js";
import { pretty } from "./json.js";
import { shown } from "./conflicts.js";

const pageSize = 50, mostListed = 1000;
const expiryEvery = 15_000; // ms: a document whose time has passed goes without a change

export class Documents {
  constructor(parent) {
    this.keyspace = h("input", { id: "doc-keyspace", list: "doc-keyspaces", value: "", spellcheck: "false", autocomplete: "off" });
    this.known = h("datalist", { id: "doc-keyspaces" });
    this.prefix = h("input", { id: "doc-prefix", placeholder: "all keys", spellcheck: "false", autocomplete: "off" });
    this.keys = h("ul", { class: "keys", "aria-label": "Keys" });
    this.state = h("p", { class: "note", role: "status" });
    this.more = h("button", { class: "small", onclick: () => this.page() }, "More keys");
    show(this.more, false);
    const form = h("form", { class: "ask" },
      h("label", { for: "doc-keyspace" }, "Keyspace"), this.keyspace, this.known,
      h("label", { for: "doc-prefix" }, "Keys that begin with"), this.prefix, h("button", {}, "List"));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.list();
    });
    this.editor = this.makeEditor();
    parent.replaceChildren(form, h("div", { class: "split" },
      h("div", {}, this.keys, this.state, this.more), this.editor));
  }

  makeEditor() {
    this.key = h("input", { id: "doc-key", placeholder: "the key of a document, old or new", spellcheck: "false", autocomplete: "off" });
    this.body = h("textarea", { id: "doc-body", rows: 14, spellcheck: "false", placeholder: '{"text": "hi"}' });
    this.about = h("p", { class: "note", role: "status" });
    this.losers = h("div", { class: "losers" });
    const open = h("button", { type: "submit" }, "Open");
    const save = this.save = h("button", { type: "button", class: "primary" }, "Save");
    const remove = this.remove = h("button", { type: "button" }, "Delete");
    save.addEventListener("click", () => act(save, () => this.put()));
    sure(remove, () => "Really delete?", () => this.drop());
    this.body.addEventListener("input", () => this.tell());
    const form = h("form", { class: "editor" },
      h("span", { class: "row" }, h("label", { for: "doc-key" }, "Key"), this.key, open),
      h("label", { for: "doc-body", class: "hidden" }, "The document, JSON"), this.body,
      h("span", { class: "row" }, save, remove), this.about, this.losers);
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.open(this.keyspace.value, this.key.value);
    });
    return form;
  }

  // follow takes a snapshot: which keyspaces there are, and time to look again.
  follow({ keyspaces, may }) {
    attribute(this.save, "disabled", may.write ? null : "");
    attribute(this.remove, "disabled", may.write ? null : "");
    each(this.known, keyspaces, (k) => k.name, (k) => ({ el: h("option", { value: k.name }), set: () => {} }));
    if (!this.keyspace.value && keyspaces.length && !this.listed) {
      this.keyspace.value = keyspaces[0].name;
      this.list();
    }
    this.changes = Object.fromEntries(keyspaces.map((k) => [k.name, k.changes]));
    if (!document.hidden) this.look();
  }

  // look reads again what has changed. A read that fails is tried at the next.
  async look() {
    if (this.looking) return;
    this.looking = true;
    try {
      if (this.shows && this.stale(this.shows)) await this.relist();
      if (this.at && this.stale(this.at)) await this.read();
    } finally {
      this.looking = false;
    }
  }

  // stale is whether what was read may be another by now, and marks it read.
  stale(what) {
    const changes = this.changes?.[what.keyspace], now = performance.now();
    if (changes === undefined || (what.changes === changes && now - what.read < expiryEvery)) return false;
    what.changes = changes;
    what.read = now;
    return true;
  }

  // list begins a list of what the form says.
  async list() {
    this.shows = { keyspace: this.keyspace.value, prefix: this.prefix.value };
    this.stale(this.shows);
    this.listed = [];
    this.next = "";
    await this.page();
  }

  // page adds the next keys to the list.
  async page() {
    const shows = this.shows;
    const p = await this.ask(shows, pageSize, this.next);
    if (!p || shows !== this.shows) return;
    this.listed.push(...p.items.map((i) => i.key));
    this.tellKeys(p.next);
  }

  // relist asks again for as many keys as are shown.
  async relist() {
    const shows = this.shows, limit = Math.min(Math.max(this.listed.length, pageSize), mostListed);
    const p = await this.ask(shows, limit, "");
    if (!p || shows !== this.shows || this.listed.length > limit) return;
    this.listed = p.items.map((i) => i.key);
    this.tellKeys(p.next);
  }

  async ask({ keyspace, prefix }, limit, after) {
    const q = new URLSearchParams({ limit, prefix });
    if (after) q.set("after", after);
    try {
      return await get(`/v1/docs/${encodeURIComponent(keyspace)}?${q}`);
    } catch (e) {
      this.shows.changes = undefined;
      if (this.listed.length === 0) text(this.state, e.message);
    }
  }

  tellKeys(next) {
    this.next = next ?? "";
    text(this.state, this.listed.length ? "" : "No document has such a key.");
    show(this.more, Boolean(this.next));
    const { keyspace } = this.shows;
    each(this.keys, this.listed, (k) => `${keyspace}/${k}`, (k) => {
      const el = h("button", { class: "link", onclick: () => this.open(keyspace, k) }, k);
      return { el: h("li", {}, el), set: () => attribute(el, "aria-current", this.at?.key === k && this.at.keyspace === keyspace ? "true" : null) };
    });
  }

  // open shows a document, or an empty editor for one that does not exist.
  async open(keyspace, key) {
    this.keyspace.value = keyspace;
    this.key.value = key;
    this.at = { keyspace, key };
    this.stale(this.at);
    this.etag = this.clean = this.news = undefined;
    this.losers.replaceChildren();
    this.body.value = "";
    if (this.shows) this.tellKeys(this.next); // which of them is open
    await this.read();
    this.editor.scrollIntoView({ block: "nearest" });
  }

  edited() {
    return this.body.value !== (this.clean ?? "");
  }

  // read looks whether the document is another by now. What a person edits is
  // left alone, and so is the answer for a document that was closed meanwhile.
  async read() {
    const at = this.at;
    try {
      const r = await call("GET", path(at.keyspace, at.key), this.etag ? { "If-None-Match": this.etag } : {});
      if (r.status === 304 || at !== this.at) return;
      const body = pretty(await r.text());
      if (at !== this.at) return;
      if (this.etag && this.edited()) return this.tell("Edited, not saved; and changed elsewhere meanwhile: Open shows that.");
      this.news = undefined;
      this.etag = r.headers.get("ETag");
      if (this.clean !== undefined && body !== this.clean) flash(this.body);
      this.clean = this.body.value = body;
      await this.concurrent(Number(r.headers.get("Atoll-Conflicts") ?? 0));
    } catch (e) {
      if (at !== this.at) return;
      at.changes = undefined;
      if (!(e instanceof Problem) || e.status !== 404) return text(this.about, e.message);
      this.news = this.etag && "Deleted elsewhere. This is what it was: Save writes it anew.";
      this.at = null; // nothing to follow until it is saved
      this.etag = undefined;
      this.clean = "";
      this.losers.replaceChildren();
    }
    this.tell();
  }

  // tell says how what is shown stands to what is stored. News stays until the
  // document is read again.
  tell(news = this.news) {
    this.news = news;
    const state = this.etag ? (this.edited() ? "Edited, not saved." : "As this node has it now.") : "A new document.";
    text(this.about, news ?? state);
  }

  // concurrent shows the values that lost, with a way to settle on one.
  async concurrent(n) {
    if (!n) return this.losers.replaceChildren();
    const at = this.at, { conflicts } = await get(`${path(at.keyspace, at.key)}?conflicts=1`);
    if (at !== this.at) return;
    const value = (c, v) => {
      const keep = h("button", { type: "button", class: "small" }, "Keep this");
      keep.addEventListener("click", () => act(keep, () => this.settle(c.path, v.value)));
      return h("li", { class: v.winner ? "winner" : "" }, shown(v), v.winner ? " (shows) " : " ",
        ...(c.kind === "register" && c.path ? [keep] : []));
    };
    this.losers.replaceChildren(...conflicts.map((c) =>
      h("div", {}, h("h4", {}, `Concurrent values at ${c.path || "the document"}`),
        h("ul", {}, ...c.values.map((v) => value(c, v))))));
  }

  async settle(pointer, value) {
    const ops = { ops: [{ op: "set", path: pointer, value }] };
    await call("PATCH", path(this.at.keyspace, this.at.key), {
      body: JSON.stringify(ops), "Content-Type": "application/vnd.atoll.ops+json", "If-Match": this.etag,
    });
    await this.read();
    return "settled";
  }

  async put() {
    const keyspace = this.keyspace.value, key = this.key.value;
    const same = this.at && this.at.keyspace === keyspace && this.at.key === key && this.etag;
    const condition = same ? { "If-Match": this.etag } : { "If-None-Match": "*" };
    await this.change("PUT", keyspace, key, { body: this.body.value, "Content-Type": "application/json", ...condition });
    this.clean = this.body.value;
    this.at = { keyspace, key };
    this.stale(this.at);
    this.etag = this.news = undefined;
    await this.read();
    if (!this.listed?.includes(key) || this.shows.keyspace !== keyspace) this.list();
    return `saved ${keyspace}/${key}`;
  }

  async drop() {
    const { keyspace, key } = this.at ?? {};
    if (!this.etag) return "there is nothing to delete";
    await this.change("DELETE", keyspace, key, { "If-Match": this.etag });
    this.at = null;
    this.etag = this.news = undefined;
    this.clean = this.body.value = "";
    this.losers.replaceChildren();
    this.tell();
    this.list();
    return `deleted ${keyspace}/${key}`;
  }

  // change says what to do when somebody else was faster.
  async change(method, keyspace, key, options) {
    try {
      await call(method, path(keyspace, key), options);
    } catch (e) {
      if (e.status !== 412) throw e;
      throw new Error("somebody has changed it meanwhile: copy what you wrote, Open it again, and redo it");
    }
  }
}

function flash(el) {
  el.classList.remove("changed");
  void el.offsetWidth; // begins the animation anew
  el.classList.add("changed");
}
