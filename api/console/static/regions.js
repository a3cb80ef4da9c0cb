// The regions with their votes and nodes, their traffic, and the links.
import { act, attribute, duration, each, h, plural, show, sure, text } from "./dom.js";
import { post } from "./api.js";
import { wording } from "./map.js";
import { spark } from "./spark.js";

export function drawRegions(parent, state) {
  each(parent, state.regions.map((region) => ({ region, state })), (x) => x.region.name, card);
}

function card({ region }) {
  const pill = h("span", { class: "pill" }), self = h("span", { class: "note" }, "this page's node is here");
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
    h("div", { class: "head" }, h("h3", {}, name), pill, drain), self, votes, nodes,
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
      show(votes, state.self !== name || r.votes.length > 0);
      drawVotes(votes, r.votes);
      each(nodes, r.nodes.map((n) => ({ n, state })), (x) => x.n.id, nodeRow);
    },
  };
}

function drawVotes(parent, votes) {
  const list = votes.length ? votes : [{ voter: "no region has voted yet" }];
  each(parent, list, (v) => v.voter, () => {
    const el = h("span");
    return {
      el,
      set: (v) => {
        const word = v.up === undefined ? "" : v.up ? " hears it" : " does not hear it";
        text(el, v.voter + word);
        attribute(el, "class", v.up === undefined ? "vote" : v.up ? "vote up" : "vote down");
        attribute(el, "title", v.age_ms === undefined ? null : `${duration(v.age_ms)} ago`);
      },
    };
  });
}

function nodeRow({ n: { id } }) {
  const name = h("span", { class: "id" }, id), what = h("span", { class: "what" });
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
      text(what, dev && !running ? "killed" : n.state !== "up" ? "out of reach" : behind(n));
      show(button, Boolean(dev) && state.may.operate);
      text(button, running ? "Kill" : "Start");
      attribute(button, "aria-label", `${running ? "Kill" : "Start"} ${id}`);
    },
  };
}

const behind = (n) =>
  n.dots ? `${plural(n.dots, "change")} behind, ${duration(n.lag_ms)}` : "has all that is known";

export function drawTraffic(parent, state) {
  each(parent, state.regions.map((r) => ({ r, state })), (x) => x.r.name, ({ r }) => {
    const numbers = h("p", { class: "numbers" }), picture = spark(["reads", "writes", "applied"]);
    return {
      el: h("li", {}, h("h3", {}, r.name), numbers, picture.el),
      set: ({ r, state: { history } }) => {
        const h = history.of(r.name), now = h.at(-1);
        text(numbers, now ? rates(now) : "not measured from here");
        picture.set(h, `${r.name}: ${now ? rates(now) : "nothing measured"}`);
      },
    };
  });
}

function rates(x) {
  const failed = x.failed ? `, ${x.failed} failed` : "";
  return `reads ${x.reads}/s · writes ${x.writes}/s · applied ${x.applied}/s · DNS ${x.dns}/s${failed}`;
}

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

function lacks({ a, b, to_a, to_b }) {
  if (!to_a.known && !to_b.known) return "not seen from here";
  const all = [[a, to_a], [b, to_b]].filter(([, w]) => w.dots > 0);
  if (all.length === 0) return "nothing waits";
  return `${all.map(([name, w]) => `${plural(w.dots, "change")} for ${name}`).join(", ")} on the way`;
}
