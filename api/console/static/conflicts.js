// The recent concurrent writes.
import { $, each, h, show, text } from "./dom.js";
import { get } from "./api.js";

const most = 12; // shown; the feed has more

// What people call the kinds of conflict.
const kinds = {
  "register": "written at once",
  "kind-clash": "written at once, as different things",
  "delete-edit": "deleted here, edited there",
};

export class Conflicts {
  constructor(parent, open) {
    this.parent = parent;
    this.open = open;
  }

  // refresh fetches the feed if the snapshot says that there is news.
  async refresh({ newest, count }) {
    const news = `${newest} ${count}`;
    if (this.seen === news) return;
    this.seen = news;
    try {
      const { items } = await get(`/v1/conflicts?limit=${most}`);
      show($("conflict-none"), items.length === 0);
      text($("conflict-count"), count > items.length ? `the newest ${items.length} of ${count}` : "");
      each(this.parent, items, (c) => [c.at, c.keyspace, c.key, c.cell].join("\0"), (c) => this.row(c));
    } catch {
      this.seen = undefined; // with the next snapshot
    }
  }

  row(c) {
    const cell = c.cell ? ` ${c.cell}` : "";
    const open = h("button", { class: "link", onclick: () => this.open(c.keyspace, c.key) },
      `${c.keyspace}/${c.key}`);
    const time = h("time", { datetime: c.at }, new Date(c.at).toLocaleTimeString());
    const winner = c.winner ? `${shown(c.winner)} won` : "nothing won";
    const losers = c.losers.map(shown).join(", ");
    const el = h("li", {},
      h("p", {}, open, cell, " ", h("span", { class: "note" }, kinds[c.kind] ?? c.kind, ", ", time)),
      h("p", {}, h("b", {}, winner), losers ? `; beside it ${losers}` : ""));
    return { el, set: () => {} };
  }
}

// shown is a value with the region that wrote it.
export function shown(v) {
  const s = JSON.stringify(v.value);
  return `${s.length > 80 ? s.slice(0, 79) + "…" : s} from ${v.region || v.origin}`;
}
