// The map: land, regions, and the links between them.
import { attribute, duration, each, h, text } from "./dom.js";
import { height, land, rotate, scale, tx, ty, width } from "./land.js";

// project is the Natural Earth projection (Patterson, Šavrič), as gen/land.mjs
// has it.
export function project(lat, lon) {
  const x = ((((lon - rotate + 180) % 360) + 360) % 360 - 180) * (Math.PI / 180);
  const y = lat * (Math.PI / 180), y2 = y * y, y4 = y2 * y2;
  return [
    tx + scale * x * (0.8707 - 0.131979 * y2 + y4 * (-0.013791 + y4 * (0.003971 * y2 - 0.001529 * y4))),
    ty - scale * y * (1.007226 + y2 * (0.015085 + y4 * (-0.044475 + 0.028874 * y2 - 0.005916 * y4))),
  ];
}

// With more regions than this, only the links of the own region are drawn.
const crowded = 6;

// What each state of a link is called, and how it looks.
export function wording(link) {
  switch (link.shown) {
    case "up":
      return link.rtt_ms ? duration(link.rtt_ms) : "linked";
    case "slow":
      return `${duration(link.rtt_ms)}, slow`;
    case "one-way":
      return "one way";
    case "cut":
      return "cut";
    case "silent":
      return "silent";
  }
  return "…";
}

// A replica that is behind for less than this is on its way, not late.
export const worthSaying = 5000; // ms

// lateness is what a link owes, once it is worth saying.
function lateness({ to_a, to_b }) {
  const lag = Math.max(to_a.lag_ms, to_b.lag_ms);
  return lag > worthSaying ? `, ${(to_a.dots + to_b.dots).toLocaleString("en")} wait` : "";
}

export class Map {
  constructor(parent) {
    this.links = h("g", { class: "lines" });
    this.clients = h("g", { class: "clients" });
    this.marks = h("div", { class: "marks" });
    const picture = h(
      "svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      h("path", { d: land, class: "land" }), this.clients, this.links,
    );
    this.sea = h("div", { class: "sea" }, picture, this.marks);
    parent.append(this.sea);
  }

  // draw shows the regions and links of a state.
  draw({ regions, links, self }) {
    const at = new globalThis.Map(regions.map((r) => [r.name, project(r.lat, r.lon)]));
    this.at = at;
    this.near([...at.values()].map(([x]) => x / width));
    const drawn = regions.length > crowded ? links.filter((l) => l.a === self || l.b === self) : links;
    const lines = drawn.map((l) => ({ ...l, curve: curve(at.get(l.a), at.get(l.b)) }));
    each(this.links, lines, (l) => `${l.a} ${l.b}`, line);
    const marks = [
      ...lines.map((l) => ({ id: `link ${l.a} ${l.b}`, link: l })),
      ...regions.map((r) => ({ id: `region ${r.name}`, region: r, at: at.get(r.name), self })),
    ];
    each(this.marks, marks, (m) => m.id, (m) => (m.link ? chip() : mark(m.region)));
  }

  // near says what a narrow screen shows: the part of the map with the regions in
  // it, whose x are given, as shares of its width.
  near(xs) {
    const from = Math.min(...xs), to = Math.max(...xs);
    const zoom = Math.max(1, Math.min(1.6, 0.72 / (to - from)));
    const left = Math.max(1 - zoom, Math.min(0, 0.5 - zoom * (from + to) / 2));
    this.sea.style.setProperty("--zoom", `${(100 * zoom).toFixed(1)}%`);
    this.sea.style.setProperty("--left", `${(100 * left).toFixed(1)}%`);
  }

  // answers shows where clients are sent: [{ name, lat, lon, region }].
  answers(clients) {
    const known = clients.filter((c) => this.at?.has(c.region));
    each(this.clients, known, (c) => c.name, () => {
      const path = h("path"), dot = h("circle", { r: 3 });
      return {
        el: h("g", {}, path, dot),
        set: (c) => {
          const [x, y] = project(c.lat, c.lon), [rx, ry] = this.at.get(c.region);
          attribute(path, "d", `M${x},${y}L${rx},${ry}`);
          attribute(dot, "cx", x);
          attribute(dot, "cy", y);
        },
      };
    });
  }
}

// curve is a bow over the straight line, and its highest point. Long ones are
// bent more, so that they do not lie on short ones.
function curve([ax, ay], [bx, by]) {
  const cx = (ax + bx) / 2, long = Math.hypot(ax - bx, ay - by);
  const mid = (ay + by) / 2, roof = 56 - mid; // its top, with a chip on it, stays in the picture
  const cy = Math.max(mid - 0.1 * long - 0.0006 * long * long, roof);
  return { d: `M${ax},${ay}Q${cx},${cy} ${bx},${by}`, x: (ax + bx + 2 * cx) / 4, y: (ay + by + 2 * cy) / 4 };
}

function line() {
  const still = h("path", { class: "line" }), flow = h("path", { class: "flow" });
  const el = h("g", {}, still, flow);
  return {
    el,
    set: (l) => {
      attribute(still, "d", l.curve.d);
      attribute(flow, "d", l.curve.d);
      attribute(el, "class", `link ${l.shown}`);
    },
  };
}

function place(el, x, y) {
  el.style.left = `${(100 * x) / width}%`;
  el.style.top = `${(100 * y) / height}%`;
}

function chip() {
  const how = h("span"), late = h("span", { class: "late" }), el = h("span", { class: "chip" }, how, late);
  return {
    el,
    set: ({ link }) => {
      place(el, link.curve.x, link.curve.y);
      text(how, wording(link));
      text(late, lateness(link));
      attribute(el, "class", `chip ${link.shown}`);
    },
  };
}

function mark(region) {
  const name = h("span", { class: "name" }), state = h("span", { class: "hidden" });
  const el = h("a", { href: `#region-${region.name}` }, h("span", { class: "buoy" }), name, state);
  return {
    el,
    set: ({ region: r, at: [x, y], self }) => {
      place(el, x, y);
      text(name, r.name);
      text(state, `, ${r.state}`);
      attribute(el, "class", `mark ${r.state}${r.name === self ? " self" : ""}`);
    },
  };
}
