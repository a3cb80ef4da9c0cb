// What the page asks of its node.

const stored = "atoll-token";

export const token = {
  get: () => sessionStorage.getItem(stored) ?? "",
  set: (t) => (t ? sessionStorage.setItem(stored, t) : sessionStorage.removeItem(stored)),
};

export function headers(more = {}) {
  const t = token.get();
  return t ? { ...more, Authorization: `Bearer ${t}` } : more;
}

// Problem is an answer that is an error (RFC 9457), in words for a person.
export class Problem extends Error {
  constructor(status, body) {
    const hint = body.hint ? ` (${body.hint})` : "";
    super((body.detail ?? body.title ?? `the node answered ${status}`) + hint);
    this.status = status;
    this.kind = (body.type ?? "").replace("urn:atoll:problem:", "");
  }
}

// call sends a request and returns the response; it throws a Problem for an
// error, and a TypeError when nobody answers.
export async function call(method, path, { body, ...more } = {}) {
  const r = await fetch(path, { method, body, headers: headers(more), cache: "no-store" });
  if (r.ok || r.status === 304) return r;
  const text = await r.text();
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // not ours: a proxy in between has its own words
  }
  throw new Problem(r.status, problem);
}

// Numbers that JavaScript would round keep their text.
const exact = (_, value, context) =>
  typeof value === "number" && context?.source && String(value) !== context.source && JSON.rawJSON
    ? JSON.rawJSON(context.source)
    : value;

export const get = async (path) => JSON.parse(await (await call("GET", path)).text(), exact);

export const post = (path, ask) =>
  call("POST", path, { body: JSON.stringify(ask), "Content-Type": "application/json" });

// document is the path of a document. A key is one segment here, whatever
// slashes are in it.
export function document(keyspace, key) {
  if (key === "." || key === "..") throw new Error(`a browser cannot name the key "${key}"`);
  return `/v1/docs/${encodeURIComponent(keyspace)}/${encodeURIComponent(key)}`;
}
