// The console: takes snapshots and shows them. All that it knows is in state,
// which is made anew from each snapshot.
import { $, act, attribute, duration, h, listing, plural, show, text, toast } from "./dom.js";
import { post, Problem, token } from "./api.js";
import { follow } from "./stream.js";
import { Map as SeaMap, worthSaying } from "./map.js";
import { drawLinks, drawRegions, drawTraffic } from "./regions.js";
import { History } from "./spark.js";
import { DNS } from "./dns.js";
import { Conflicts } from "./conflicts.js";
import { Documents } from "./documents.js";

const ranks = { reader: 1, writer: 2, operator: 3 };
const dnsEvery = 10_000; // ms: the answers follow the health of regions, at once when it changes

const history = new History();
const map = new SeaMap($("map"));
const documents = new Documents($("documents-body"));
const conflicts = new Conflicts($("conflict-rows"), (keyspace, key) => {
  documents.open(keyspace, key);
  $("documents").scrollIntoView();
});
let hello = {}, dns, state, shownStates, dnsAt = 0;

const on = {
  hello(h) {
    // After an upgrade the page is the new one too, unless somebody writes in it.
    if (hello.version && hello.version !== h.version && !documents.edited()) return location.reload();
    hello = h;
    show($("token"), false);
    show($("main"), true);
    dns = new DNS($("dns-body"), h.names, { url: h.credit_url, words: h.credit }, (a) => map.answers(a));
    dnsAt = 0;
    text($("version"), `atoll ${h.version}`);
    text($("who"), `you are ${h.principal}, ${h.role}`);
    show($("forget"), Boolean(token.get()));
  },

  snapshot(s) {
    const before = state?.node;
    state = view(s);
    remember(state);
    connected(before);
    draw();
  },

  lost: (reason, failed) => lost(reason, failed),
};

// view adds to a snapshot what the page derives from it.
function view(s) {
  const rank = ranks[hello.role] ?? 0;
  const links = s.links.map((l) => ({ ...l, shown: shown(l, s.dev) }));
  return {
    ...s, links, history, self: s.node.split("/")[0],
    may: { write: rank >= ranks.writer, operate: rank >= ranks.operator },
  };
}

// shown is the state of a link as people call it. In the dev world the world
// itself knows a cut before the nodes notice.
function shown(l, dev) {
  const ways = (dev?.links ?? []).filter(
    (d) => (d.from === l.a && d.to === l.b) || (d.from === l.b && d.to === l.a));
  const cut = ways.filter((d) => d.cut).length;
  if (ways.length && cut === ways.length) return "cut";
  if (cut) return "one-way";
  if (l.state === "up" && ways.some((d) => d.slow)) return "slow";
  return l.state;
}

function remember(s) {
  for (const r of s.regions) {
    const measured = r.nodes.map((n) => n.rates).filter(Boolean), sum = {};
    for (const x of measured) {
      for (const [k, v] of Object.entries(x)) sum[k] = Math.round(((sum[k] ?? 0) + v) * 10) / 10;
    }
    history.add(r.name, sum);
  }
  for (const l of s.links) history.add(`${l.a} ${l.b}`, { rtt: l.rtt_ms || undefined });
}

function draw() {
  text($("cluster"), state.cluster);
  const { headline, detail, mood } = summary(state);
  text($("headline"), headline);
  text($("detail"), detail);
  attribute(document.documentElement, "data-mood", mood);
  document.title = mood === "calm" ? `Atoll ${state.cluster}` : `${headline} · Atoll`;
  map.draw(state);
  drawRegions($("regions"), state);
  drawLinks($("link-rows"), state);
  drawTraffic($("traffic"), state);
  show($("heal"), Boolean(state.dev) && state.may.operate);
  const shaken = state.dev?.links.some((l) => l.cut || l.slow);
  attribute($("heal"), "class", shaken ? "primary" : null);
  text($("link-note"), state.dev
    ? "A dev world: Cut and Slow act on the sea between two regions, Heal on all of it."
    : state.links.length
      ? "Times are those of this node; of links between others it knows what their regions vote."
      : "There is one region, so there is no link.");
  show($("conflict-try"), Boolean(state.dev) && state.may.operate);
  conflicts.refresh(state.conflicts);
  documents.follow(state);
  answers();
}

function answers() {
  const now = performance.now(), states = JSON.stringify(state.regions.map((r) => [r.name, r.state]));
  if (states === shownStates && now - dnsAt < dnsEvery) return;
  shownStates = states;
  dnsAt = now;
  dns.refresh();
}

// summary says in one sentence how the cluster is, the worst first.
function summary(s) {
  const names = (list) => listing(list.map((x) => x.name));
  const down = s.regions.filter((r) => r.state === "down");
  const cut = s.links.filter((l) => ["cut", "one-way", "silent"].includes(l.shown));
  const killed = s.regions.flatMap((r) => r.nodes).filter((n) => s.dev?.nodes.some((d) => d.id === n.id && !d.running));
  const late = s.regions.flatMap((r) => r.nodes).filter((n) => n.dots && n.lag_ms > worthSaying);
  const waits = waiting(late);
  const alone = down.filter((r) => r.nodes.some((n) => s.dev?.nodes.some((d) => d.id === n.id && d.running)));
  if (down.length && alone.length === down.length) {
    return { mood: "warn", headline: `${names(down)} ${down.length > 1 ? "are" : "is"} cut off`,
      detail: `Its node lives and goes on alone; DNS sends its users elsewhere.${waits}` };
  }
  if (down.length) {
    const rest = s.regions.length - down.length;
    return { mood: "bad", headline: `${names(down)} ${down.length > 1 ? "are" : "is"} down`,
      detail: `${plural(rest, "region")} take${rest === 1 ? "s" : ""} the users; DNS names no other.${waits}` };
  }
  if (killed.length) {
    return { mood: "bad", headline: `${listing(killed.map((n) => n.id))} ${killed.length > 1 ? "are" : "is"} gone`,
      detail: "The other regions are noticing: it takes three missed probes." };
  }
  if (cut.length) {
    return { mood: "warn", headline: listing(cut.map((l) => `${l.a} and ${l.b} do not hear each other`)),
      detail: `Each side goes on reading and writing; they agree again when they meet.${waits}` };
  }
  return calm(s, late, waits);
}

function waiting(late) {
  if (!late.length) return "";
  const [first, ...rest] = late;
  const words = [`${plural(first.dots, "change")} wait${first.dots === 1 ? "s" : ""} for ${first.id}`, ...rest.map((n) => `${n.dots} for ${n.id}`)];
  return ` ${listing(words)}.`;
}

const being = { drained: "is drained", starting: "is starting", left: "has left" };

function calm(s, late, waits) {
  const slow = s.links.filter((l) => l.shown === "slow");
  const other = s.regions.filter((r) => r.state !== "up");
  if (s.ready.length) return { mood: "warn", headline: `${s.node} is not ready`, detail: s.ready.join("; ") };
  if (late.length) return { mood: "warn", headline: "Writes are on their way", detail: waits.trim() };
  if (slow.length) {
    return { mood: "warn", headline: `The link of ${listing(slow.map((l) => `${l.a} and ${l.b}`))} is slow`,
      detail: `${duration(slow[0].rtt_ms)} there and back.${waits}` };
  }
  if (other.length) {
    return { mood: "warn", headline: listing(other.map((r) => `${r.name} ${being[r.state] ?? `is ${r.state}`}`)),
      detail: `DNS sends users to the others.${waits}` };
  }
  if (s.regions.length < 2) {
    return { mood: "calm", headline: "The region is up", detail: "It is alone: atoll start --join adds another." };
  }
  const moving = Math.max(0, ...s.regions.flatMap((r) => r.nodes).map((n) => n.dots));
  return { mood: "calm", headline: `All ${s.regions.length} regions are up and agree`,
    detail: `Every link carries; ${moving ? `${plural(moving, "change")} on the way` : "nothing waits"}.` };
}

// connected says through which node the page sees the cluster, and when that
// became another one.
function connected(before) {
  const was = $("lost").hidden ? "" : "again ";
  show($("lost"), false);
  $("main").className = "";
  $("through").className = "through live";
  text($("through").lastElementChild, `live ${was}through ${state.node}`);
  if (before && before !== state.node) {
    toast(`${lives(before) ? "" : `${before} does not answer any more: `}this page goes on through ${state.node}`);
  } else if (was) {
    toast(`${state.node} answers again`);
  }
}

const lives = (id) => state.dev
  ? state.dev.nodes.some((n) => n.id === id && n.running)
  : state.regions.some((r) => r.nodes.some((n) => n.id === id && n.state === "up"));

// lost is called between streams: it says so, and looks for another region.
async function lost(reason, failed) {
  if (reason.status === 401 || reason.status === 403) return ask(reason);
  $("through").className = "through";
  text($("through").lastElementChild, "not connected");
  if (failed === 0 && reason.message === "the node ended the stream") return;
  attribute(document.documentElement, "data-mood", "bad");
  $("main").className = "stale";
  const node = state?.node ?? "the node";
  const why = reason instanceof Problem || reason.message.startsWith("the node") ? reason.message : "nobody answers";
  text($("headline"), `Lost ${node}`);
  text($("detail"), state ? `What you see is what it said at ${new Date(state.at).toLocaleTimeString()}.` : "");
  const other = failed >= 2 ? await elsewhere() : undefined;
  const words = h("p", {}, h("b", {}, `Lost ${node}. `), `Trying again: ${why}.`);
  const url = other && `${other.url}#left=${encodeURIComponent(node)}`;
  const but = token.get() ? ": it asks for the token again." : documents.edited() ? "; what you are writing stays here." : ".";
  const go = other ? [h("p", {}, `${other.name} answers. `, h("a", { href: url }, `Go on in ${other.name}`), but)] : [];
  $("lost").replaceChildren(words, ...go);
  show($("lost"), true);
  if (other && !token.get() && !documents.edited() && failed >= 3) location.assign(url);
}

// arrived says why the page is another one, when it came from a node that it lost.
function arrived() {
  const left = new URLSearchParams(location.hash.slice(1)).get("left");
  if (!left) return;
  globalThis.history.replaceState(null, "", location.pathname);
  text($("moved-why"), `${left} stopped answering at ${new Date().toLocaleTimeString()}. This page went on here.`);
  show($("moved"), true);
}

// elsewhere finds another node that answers. Its answer cannot be read from
// here, only that there is one.
async function elsewhere() {
  for (const { name, url } of others()) {
    try {
      await fetch(`${url}/livez`, { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(1500) });
      return { name, url: `${url}/console/` };
    } catch {
      // the next one
    }
  }
}

function others() {
  if (!state) return [];
  if (state.dev) return state.dev.nodes.filter((n) => n.url !== location.origin).map((n) => ({ name: n.id, url: n.url }));
  const port = location.port ? `:${location.port}` : "";
  return state.regions.filter((r) => r.state === "up").flatMap((r) =>
    r.addresses.filter((a) => !a.includes(":") && a !== location.hostname)
      .map((a) => ({ name: r.name, url: `${location.protocol}//${a}${port}` })));
}

// ask waits for a token.
function ask(reason) {
  show($("lost"), false);
  show($("token"), true);
  $("through").className = "through";
  text($("through").lastElementChild, "not connected");
  show($("main"), Boolean(state)); // without anything seen yet there is nothing to show
  text($("token-why"), token.get() ? reason.message : "");
  if (document.activeElement === document.body) $("token-text").focus();
  return new Promise((done) => {
    $("token").addEventListener("submit", (e) => {
      e.preventDefault();
      token.set($("token-text").value.trim());
      $("token-text").value = "";
      done();
    }, { once: true });
  });
}

$("heal").addEventListener("click", () =>
  act($("heal"), async () => (await post("/v1/dev/wan/heal", {}), "all links are healed")));
$("moved-close").addEventListener("click", () => show($("moved"), false));
$("forget").addEventListener("click", () => {
  token.set("");
  location.reload();
});

arrived();
follow(on);
