// Small charts: one line a measure, as tall as the greatest value among them.
import { attribute, h } from "./dom.js";

const points = 60, tall = 30;

export function spark(measures) {
  const lines = measures.map((m) => h("path", { class: m }));
  const el = h(
    "svg", { class: "spark", viewBox: `0 0 ${points} ${tall}`, preserveAspectRatio: "none", role: "img" },
    h("line", { x1: 0, x2: points, y1: tall - 0.5, y2: tall - 0.5, class: "base" }), ...lines,
  );
  return {
    el,
    set: (past, label) => {
      const top = Math.max(1, ...past.flatMap((x) => measures.map((m) => x[m] ?? 0)));
      measures.forEach((m, i) => attribute(lines[i], "d", path(past, m, top)));
      attribute(el, "aria-label", label);
    },
  };
}

// path leaves a gap where nothing was measured.
function path(past, measure, top) {
  const from = points - past.length;
  let pen = "M";
  return past.map((x, i) => {
    if (x[measure] === undefined) {
      pen = "M";
      return "";
    }
    const to = `${pen}${from + i},${(tall - 1 - (x[measure] / top) * (tall - 3)).toFixed(1)}`;
    pen = "L";
    return to;
  }).join("");
}

// History is the last minute of what has a name.
export class History {
  #past = new Map();

  add(name, values) {
    const past = this.of(name);
    past.push(values);
    if (past.length > points) past.shift();
    this.#past.set(name, past);
  }

  of(name) {
    return this.#past.get(name) ?? [];
  }
}
