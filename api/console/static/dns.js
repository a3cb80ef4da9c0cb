// Who gets which answer from DNS, and why.
import { each, h, text } from "./dom.js";
import { get } from "./api.js";

// Addresses of well-known networks, universities most of them, so that a person
// sees the world at a glance.
const samples = [
  ["Japan", "133.11.0.1"], ["Germany", "141.84.0.1"], ["United States", "128.32.0.1"],
  ["Brazil", "143.107.0.1"], ["South Africa", "137.158.0.1"], ["India", "14.139.0.1"],
  ["Australia", "130.102.0.1"], ["Britain", "129.67.0.1"], ["Canada", "142.150.0.1"],
  ["Singapore", "137.132.0.1"],
];

export class DNS {
  constructor(parent, names, credit, onAnswers) {
    this.name = names[0];
    this.onAnswers = onAnswers;
    const name = h("input", { id: "dns-name", value: names[0] ?? "", list: "dns-names", spellcheck: "false" });
    const ip = h("input", { id: "dns-ip", placeholder: "133.11.0.1", spellcheck: "false" });
    const form = h(
      "form", { class: "ask" },
      h("label", { for: "dns-name" }, "Name"), name,
      h("datalist", { id: "dns-names" }, ...names.map((n) => h("option", { value: n }))),
      h("label", { for: "dns-ip" }, "Client's address"), ip, h("button", {}, "Explain"),
    );
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.explain(name.value.trim(), ip.value.trim());
    });
    this.why = h("div", { class: "why", "aria-live": "polite", tabindex: -1 });
    this.table = h("ul", { class: "samples" });
    const link = h("a", { href: credit.url, rel: "noreferrer" }, credit.words);
    parent.replaceChildren(this.table, form, this.why, h("p", { class: "note credit" }, link, "."));
    if (!names.length) parent.replaceChildren(h("p", { class: "note" }, "This node serves no DNS zone."));
  }

  // refresh asks again for the samples, one after the other.
  async refresh() {
    if (!this.name || this.busy) return;
    this.busy = true;
    try {
      const all = [];
      for (const [where, ip] of samples) {
        const e = await get(question(this.name, ip));
        all.push({ name: where, ip, e, region: e.list[0]?.region });
      }
      each(this.table, all, (x) => x.name, (x) => this.row(x));
      this.onAnswers(all.filter((x) => x.e.place).map((x) => ({ ...x, ...x.e.place })));
      if (this.asked) this.tell(await get(question(...this.asked)));
    } catch {
      // the next round tells; the page says elsewhere that its node is lost
    } finally {
      this.busy = false;
    }
  }

  row({ name, ip }) {
    const answer = h("span", { class: "answer" });
    const el = h("button", { onclick: () => this.explain(this.name, ip) },
      h("span", { class: "where" }, name), answer);
    return { el: h("li", {}, el), set: ({ region }) => text(answer, region ?? "nothing") };
  }

  // explain answers a question now and, with the samples, from now on.
  async explain(name, ip) {
    this.asked = undefined;
    try {
      this.tell(await get(question(name, ip)));
      this.asked = [name, ip];
    } catch (e) {
      this.told = undefined;
      this.why.replaceChildren(h("p", { class: "bad" }, e.message));
    }
  }

  // tell shows an explanation, unless it is the one that is shown: what a person
  // has selected stays.
  tell(e) {
    const told = JSON.stringify(e, (k, v) => (k === "age_ms" ? undefined : v));
    if (told === this.told) return;
    this.told = told;
    const place = e.place ? `in ${e.place.country || "no country"}, near ${e.place.lat}, ${e.place.lon}` : "at a place nobody knows";
    const row = (c, i) => h("tr", { class: c.eligible ? "" : "out" },
      h("td", {}, `${i + 1}.`), h("th", { scope: "row" }, c.region),
      h("td", { class: "far" }, `${Math.round(c.km).toLocaleString("en")} km`), h("td", {}, c.why));
    this.why.replaceChildren(
      h("p", {}, h("b", {}, e.client), ` is ${place}. ${e.name.replace(/\.$/, "")} is `,
        h("b", {}, e.answer.join(", ") || "nothing"), ` for it, for ${e.ttl_s} s.`),
      h("table", {}, h("caption", { class: "hidden" }, "The regions in order, and why"), h("tbody", {}, ...e.list.map(row))),
      h("p", { class: "note" }, `All of ${e.range} gets this answer. Map ${e.map_version.slice(0, 8)}.`),
    );
  }
}

function question(name, ip) {
  const q = new URLSearchParams({ name });
  if (ip) q.set("ip", ip);
  return `/v1/explain/dns?${q}`;
}
