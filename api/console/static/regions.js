// The regions with their votes and nodes, their traffic, and the links.
import { act, attribute, duration, each, h, listing, plural, show, sure, text } from "./dom.js";
import { post } from "./api.js";
import { worthSaying, wording } from "./map.js";
import { spark } from "./spark.js";

export function drawRegions(parent, state) {
  each(parent, state.regions.map((region) => ({ region, state })), (x) => x.region.name, card);
}

function card({ region }) {
  const pill = h("span", { class: "pill" }), self = h("span", { class: "note" }, "this page");
  const votes = h("p", { class: "votes" }), nodes = h("ul", { class: "nodes" });
  const drain = h("button", { class: "small" }, "Drain");
  const name = region.name;
  let drained = false;
  sure(drain, () => (drained ? "Really undrain?" : "Really drain?"), async () => {
    await post(`/v1/regions/${encodeURIComponent(name)}/${drained ? "undrain" : "drain"}`, {});
    return drained ? `${name} gets users again` : `${name} gets no new users: DNS names others`;
  });
  const el = h(
    "li", { id: `region-${name}`, tabindex: -1 },
    h("div", { class: "head" }, h("h3", {}, name, " ", self), pill, drain), votes, nodes,
  );
  return {
    el,
    set: ({ region: r, state }) => {
      drained = r.state === "drained";
      text(pill, r.state);
      attribute(pill, "class", `pill ${r.state}`);
      show(self, state.self === name);
      show(drain, state.may.operate);
      if (!drain.textContent.startsWith("Really")) text(drain, drained ? "Undrain" : "Drain");
      show(votes, state.regions.length > 1);
      drawVotes(votes, r.votes);
      each(nodes, r.nodes.map((n) => ({ n, state })), (x) => x.n.id, nodeRow);
    },
  };
}

// drawVotes says on one line who hears the region, so that a change moves nothing.
function drawVotes(parent, votes) {
  const age = votes.length ? `the oldest vote is ${duration(Math.max(...votes.map((v) => v.age_ms)))} old` : null;
  const groups = [[true, "heard by"], [false, "not heard by"]]
    .map(([up, words]) => ({ up, words, voters: votes.filter((v) => v.up === up).map((v) => v.voter) }))
    .filter((g) => g.voters.length);
  const list = groups.length ? groups : [{ words: "no other region has voted yet", voters: [] }];
  attribute(parent, "title", age);
  each(parent, list, (g) => g.words, () => {
    const el = h("span");
    return {
      el,
      set: (g) => {
        text(el, `${g.words} ${listing(g.voters)}`.trim());
        attribute(el, "class", g.up === false ? "vote down" : "vote");
      },
    };
  });
}

function nodeRow({ n: { id } }) {
  const name = h("a", { class: "id" }, id), what = h("span", { class: "what" });
  const button = h("button", { class: "small" });
  let running = true;
  button.addEventListener("click", () =>
    act(button, async () => {
      await post(`/v1/dev/nodes/${running ? "kill" : "start"}`, { node: id });
      return running ? `killed ${id}: nothing was handed off` : `started ${id} from its disk`;
    }));
  return {
    el: h("li", {}, h("span", { class: "dot" }), name, what, button),
    set({ n, state }) {
      const dev = state.dev?.nodes.find((x) => x.id === id);
      running = dev ? dev.running : n.state === "up";
      attribute(this.el, "class", running && n.state === "up" ? "up" : "down");
      const here = !dev?.running || id === state.node ? null : `${dev.url}/console/`;
      attribute(name, "href", here);
      attribute(name, "title", here && `The console of ${id}`);
      text(what, dev && !running ? "killed" : n.state !== "up" ? "out of reach" : behind(n));
      show(button, Boolean(dev) && state.may.operate);
      text(button, running ? "Kill" : "Start");
      attribute(button, "aria-label", `${running ? "Kill" : "Start"} ${id}`);
    },
  };
}

function behind({ dots, lag_ms }) {
  if (!dots) return "has all that is known";
  return lag_ms > worthSaying ? `${plural(dots, "change")} behind, ${duration(lag_ms)}` : `${plural(dots, "change")} on the way`;
}

// What is measured a second, and what it is called.
const measures = [["reads", "reads"], ["writes", "writes"], ["applied", "applied"], ["dns", "DNS"]];
const charted = measures.slice(0, 3).map(([m]) => m);

export function drawTraffic(parent, state) {
  each(parent, state.regions.map((r) => ({ r, state })), (x) => x.r.name, ({ r }) => {
    const picture = spark(charted), values = measures.map(() => h("b"));
    const failed = h("span", { class: "bad" }), none = h("span", {}, "not measured from here");
    const keys = measures.map(([m, word], i) => h("span", { class: `key ${m}` }, word, " ", values[i], "/s"));
    const el = h("li", {}, h("h3", {}, r.name), h("p", { class: "numbers" }, ...keys, failed, none), picture.el);
    return {
      el,
      set: ({ r, state: { history } }) => {
        const past = history.of(r.name), now = past.at(-1), known = now?.reads !== undefined;
        for (const k of keys) show(k, known);
        show(none, !known);
        show(failed, Boolean(now?.failed));
        measures.forEach(([m], i) => text(values[i], known ? rate(now[m]) : ""));
        text(failed, `failed ${now?.failed}/s`);
        const words = known ? measures.map(([m, word]) => `${word} ${rate(now[m])} a second`).join(", ") : none.textContent;
        picture.set(past, `${r.name}: ${words}`);
      },
    };
  });
}

// Whole numbers from ten on: a tenth that flickers tells nothing.
const rate = (x) => (x < 10 ? x : Math.round(x)).toLocaleString("en");

export function drawLinks(parent, state) {
  each(parent, state.links.map((link) => ({ link, state })), (x) => `${x.link.a} ${x.link.b}`, linkRow);
}

const slowTo = 800; // ms: enough to be felt

function linkRow({ link: { a, b } }) {
  const how = h("span", { class: "how" }), waiting = h("span", { class: "waiting" });
  const picture = spark(["rtt"]);
  const button = (label, path, ask, done) => {
    const el = h("button", { class: "small", "aria-label": `${label} ${a} and ${b}` }, label);
    el.addEventListener("click", () => act(el, async () => (await post(path, ask), done)));
    return el;
  };
  const cut = button("Cut", "/v1/dev/wan/cut", { a, b }, `${a} and ${b} are cut`);
  const slow = button(
    "Slow", "/v1/dev/wan/slow", { a, b, rtt_ms: slowTo }, `${a} and ${b} now take ${slowTo} ms`);
  const el = h(
    "li", {}, h("h3", {}, `${a} – ${b}`), how, picture.el, waiting,
    h("span", { class: "buttons" }, cut, slow),
  );
  return {
    el,
    set: ({ link, state }) => {
      attribute(el, "class", link.shown);
      text(how, wording(link));
      text(waiting, lacks(link));
      const past = state.history.of(`${a} ${b}`);
      picture.set(past, `round trip between ${a} and ${b}: ${wording(link)}`);
      for (const x of [cut, slow]) show(x, Boolean(state.dev) && state.may.operate);
    },
  };
}

function lacks({ a, b, to_a, to_b, shown }) {
  if (!to_a.known && !to_b.known) return "not seen from here";
  const all = [[a, to_a], [b, to_b]].filter(([, w]) => w.dots > 0);
  if (all.length === 0) return "nothing waits";
  const [[first, most], ...rest] = all;
  const words = [`${plural(most.dots, "change")} to ${first}`, ...rest.map(([name, w]) => `${w.dots} to ${name}`)];
  const lag = Math.max(...all.map(([, w]) => w.lag_ms));
  const wait = ["cut", "one-way", "silent"].includes(shown) || lag > worthSaying;
  return `${wait ? `waiting for ${duration(lag)}` : "on the way"}: ${words.join(", ")}`;
}
