// Elements. All text goes through textContent: whatever a document holds, it
// stays text.

const svg = "http://www.w3.org/2000/svg";
const svgTags = new Set(["svg", "path", "circle", "g", "line", "polyline", "title"]);

// h makes an element: h("p", { class: "note", onclick }, "text", child).
export function h(tag, attributes = {}, ...children) {
  const el = svgTags.has(tag) ? document.createElementNS(svg, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined && value !== null) {
      el.setAttribute(name, value === true ? "" : value);
    }
  }
  el.append(...children);
  return el;
}

export const $ = (id) => document.getElementById(id);

// text sets the text of el if it is another: what a person has selected stays.
export function text(el, s) {
  if (el.textContent !== String(s)) el.textContent = s;
}

// attribute sets or removes an attribute if it is another.
export function attribute(el, name, value) {
  if (value === null || value === false || value === undefined) el.removeAttribute(name);
  else if (el.getAttribute(name) !== String(value)) el.setAttribute(name, value);
}

export function show(el, visible) {
  if (el.hidden === visible) el.hidden = !visible;
}

const rows = new WeakMap();

// each keeps one child of parent per item, in order: make(item) returns
// { el, set(item) } for a new one. Children that stay keep focus and state.
export function each(parent, items, key, make) {
  const had = rows.get(parent) ?? new Map(), has = new Map();
  rows.set(parent, has);
  let at = parent.firstElementChild;
  for (const item of items) {
    const id = key(item);
    const row = had.get(id) ?? make(item);
    had.delete(id);
    has.set(id, row);
    if (row.el === at) at = at.nextElementSibling;
    else parent.insertBefore(row.el, at);
    row.set(item);
  }
  for (const row of had.values()) row.el.remove();
}

let fading = 0;

// toast says what an action did.
export function toast(words, bad = false) {
  const el = $("toast");
  el.textContent = words;
  el.className = bad ? "toast shown bad" : "toast shown";
  clearTimeout(fading);
  fading = setTimeout(() => (el.className = "toast"), bad ? 12000 : 5000);
}

// act runs what a button does: the button rests meanwhile, a failure is told.
export async function act(button, action) {
  button.setAttribute("aria-disabled", "true");
  try {
    const words = await action();
    if (words) toast(words);
  } catch (e) {
    toast(e.message, true);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

// sure makes a button ask once more before it acts.
export function sure(button, question, action) {
  let armed = 0;
  const label = () => button.dataset.label;
  button.addEventListener("click", () => {
    if (!armed) {
      button.dataset.label = button.textContent;
      button.textContent = question();
      armed = setTimeout(() => {
        armed = 0;
        button.textContent = label();
      }, 4000);
      return;
    }
    clearTimeout(armed);
    armed = 0;
    button.textContent = label();
    act(button, action);
  });
}

// listing joins names as people do: a, b and c.
export const listing = (names) =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;

export const plural = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;

export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return `${Math.floor(ms / 3_600_000)} h`;
}
