// A dev world, a node, a browser and what to look for in it, for the stories.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

export const page = "http://127.0.0.1:8080/console/";
export const at = {
  washington: "http://127.0.1.1:8080", frankfurt: "http://127.0.2.1:8080", tokyo: "http://127.0.3.1:8080",
};

// atoll starts the binary and returns when it is ready at url; the function that
// it returns ends it and fails if it ends badly. It does not outlive a story that
// fails, and its data is in the folder of the script.
export async function atoll(args, url) {
  const env = { ...process.env, TMPDIR: process.cwd() };
  const child = spawn(process.env.ATOLL, args, { env, stdio: ["ignore", "inherit", "inherit"] });
  process.on("exit", () => child.kill("SIGKILL"));
  const ended = once(child, "exit");
  ended.then(() => (child.over = true));
  while (!(await fetch(`${url}/readyz`).then((r) => r.ok, () => false))) {
    if (child.over) throw new Error(`atoll ${args[0]} ended`);
    await new Promise((done) => setTimeout(done, 100));
  }
  return async () => {
    child.kill("SIGINT");
    const [code] = await ended;
    if (code !== 0) throw new Error(`atoll ${args[0]} ended with ${code}`);
  };
}

export const tells = (words) => console.log(`${(performance.now() / 1000).toFixed(1)} s: ${words}`);

// browser is Chromium with a profile of its own; what its pages complain about
// is gathered in problems.
export async function browser(problems) {
  const dir = await mkdtemp("chromium-");
  const b = await chromium.launchPersistentContext(dir, {
    executablePath: process.env.CHROMIUM,
    viewport: { width: 1280, height: 900 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
      "--disable-background-networking", "--disable-component-update"],
  });
  b.on("weberror", (e) => problems.push(String(e.error().stack)));
  b.on("console", (m) => {
    if (["error", "warning"].includes(m.type())) problems.push(`${m.text()} ${m.location().url}`);
  });
  b.on("request", (r) => {
    if (!/^http:\/\/127\.0\.\d\.1:8080\//.test(r.url())) problems.push(`the page asks ${r.url()}`);
  });
  return b;
}

export async function put(where, key, body) {
  const r = await fetch(`${where}/v1/docs/notes/${key}`, {
    method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  if (!r.ok) throw new Error(`PUT ${key} in ${where}: ${r.status} ${await r.text()}`);
}

export async function read(where, key) {
  const r = await fetch(`${where}/v1/docs/notes/${key}`);
  return r.ok ? r.text() : String(r.status);
}

// Visitor is a person at a page, who also looks as one who does not see it.
export class Visitor {
  constructor(page) {
    this.page = page;
  }

  $ = (selector) => this.page.locator(selector);

  click = (name) => this.page.getByRole("button", { name, exact: true }).click();

  // says waits until an element has a text.
  async says(selector, words, ms = 20_000) {
    await this.$(selector).filter({ hasText: words }).first().waitFor({ timeout: ms }).catch(async () => {
      assert.fail(`${selector} says ${JSON.stringify(await this.$(selector).allTextContents())}, want ${words}`);
    });
  }

  // moment looks at the page, wide by day and narrow by night; with SHOTS also
  // the other way round, and keeps pictures.
  async moment(name) {
    tells(`looked at ${name}`);
    const sizes = [[1280, 900, "light"], [390, 844, "dark"]];
    if (process.env.SHOTS) sizes.push([1280, 900, "dark"], [390, 844, "light"]);
    for (const [width, height, colorScheme] of sizes) {
      await this.page.setViewportSize({ width, height });
      await this.page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const wide = await this.page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${name}: ${wide} pixels wide at ${width}`);
      await this.accessible(`${name} ${width} ${colorScheme}`);
      if (!process.env.SHOTS) continue;
      await this.page.evaluate(() => scrollTo(0, 0));
      const path = `${process.env.SHOTS}/${name}-${width}-${colorScheme}.png`;
      await this.page.screenshot({ path, fullPage: width < 1000 });
    }
    await this.page.setViewportSize({ width: 1280, height: 900 });
  }

  // accessible asks axe. The page's policy forbids strange scripts, so it comes
  // through the debugger.
  async accessible(when) {
    if (!(await this.page.evaluate(() => "axe" in window))) await this.page.evaluate(await readFile(axe, "utf8"));
    const found = await this.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    const serious = found.violations.filter((v) => ["serious", "critical"].includes(v.impact));
    const told = serious.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).slice(0, 3).join(" ")}`);
    assert.deepEqual(told, [], when);
  }
}

process.once("SIGTERM", () => process.exit(1)); // or nobody would hear of the exit

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

// What a browser logs of requests to a node that is gone.
export const gone = /ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED|EMPTY_RESPONSE)/;
