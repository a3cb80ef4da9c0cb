// The story: calm, cut, healed, a node lost, and started again.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { at, browser, page, put, read, world } from "./world.mjs";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const problems = [];
const stop = await world();
const b = await browser(problems);
const desk = b.pages()[0] ?? (await b.newPage());
await desk.goto(page);

const $ = (s) => desk.locator(s);
const click = (name) => desk.getByRole("button", { name, exact: true }).click();

// says waits until an element has a text.
async function says(selector, words, ms = 15_000) {
  const found = desk.locator(selector).filter({ hasText: words }).first();
  await found.waitFor({ timeout: ms }).catch(async () => {
    assert.fail(`${selector} says ${JSON.stringify(await $(selector).allTextContents())}, want ${words}`);
  });
}

// moment looks at the page, wide by day and narrow by night, as a person and as
// one who does not see it; with SHOTS also the other way round.
async function moment(name) {
  console.log(`${(performance.now() / 1000).toFixed(1)} s: ${name}`);
  const sizes = [[1280, 900, "light"], [390, 844, "dark"]];
  if (process.env.SHOTS) sizes.push([1280, 900, "dark"], [390, 844, "light"]);
  for (const [width, height, colorScheme] of sizes) {
    await desk.setViewportSize({ width, height });
    await desk.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const wide = await desk.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${name}: ${wide} pixels wide at ${width}`);
    await accessible(`${name} ${width} ${colorScheme}`);
    if (!process.env.SHOTS) continue;
    await desk.evaluate(() => scrollTo(0, 0));
    const path = `${process.env.SHOTS}/${name}-${width}-${colorScheme}.png`;
    await desk.screenshot({ path, fullPage: width < 1000 });
  }
  await desk.setViewportSize({ width: 1280, height: 900 });
}

async function accessible(when) {
  if (!(await desk.evaluate(() => "axe" in window))) await desk.evaluate(await source());
  const found = await desk.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter((v) => ["serious", "critical"].includes(v.impact));
  const told = serious.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).slice(0, 3).join(" ")}`);
  assert.deepEqual(told, [], when);
}

// The page's policy forbids strange scripts, so axe comes through the debugger.
const source = async () => (await import("node:fs/promises")).readFile(axe, "utf8");

// Calm.
await says("#headline", "All 3 regions are up and agree");
await says("#through", "live through washington/1");
await says("#link-rows", /\d+ ms/);
await says("#dns .samples li", /Japan\s*tokyo/);
await moment("calm");

// By keyboard alone: the first stop skips the header, and Enter cuts a link.
await desk.keyboard.press("Tab");
assert.equal(await desk.evaluate(() => document.activeElement.className), "skip");
await desk.getByRole("button", { name: "Cut frankfurt and tokyo" }).focus();
await desk.keyboard.press("Enter");
await says("#link-rows li.cut", "frankfurt – tokyo");
assert.equal(await desk.evaluate(() => document.activeElement.getAttribute("aria-label")),
  "Cut frankfurt and tokyo", "a snapshot must not take the focus away");

// Cut: both sides write the same field; the page shows that tokyo is alone.
await click("Cut tokyo and washington");
const evil = `<img src=x onerror="document.title='broken'">`;
await put(at.washington, "hello", { text: "from washington", evil });
await put(at.tokyo, "hello", { text: "from tokyo", evil });
await says("#headline", "tokyo is cut off");
await says("#link-rows li.cut .waiting", /changes? for tokyo/);
await says("#dns .samples li", /Japan\s*frankfurt/);
await moment("cut");

// Healed: they agree, and what lost is shown.
await click("Heal all links");
await says("#headline", "All 3 regions are up and agree", 25_000);
await says("#conflict-rows", "notes/hello");
await desk.getByRole("button", { name: "notes/hello" }).first().click();
await says("#documents .losers", "from washington");
assert.equal(await desk.title(), "Atoll dev", "text of a document became markup");
assert.equal(await $("#documents img").count(), 0, "text of a document became markup");
await desk.getByRole("button", { name: "Keep this" }).last().click();
await says("#toast", "settled");
await $("#documents .losers h4").filter({ hasText: "/text" }).waitFor({ state: "detached" });

// A document changes elsewhere while it is open; then it is changed here.
const body = $("#doc-body");
await put(at.tokyo, "hello", { text: "again", big: 1 });
await desk.waitForFunction(() => document.getElementById("doc-body").value.includes("again"));
await body.fill('{"text": "mine", "big": 12345678901234567890}');
await click("Save");
await says("#toast", "saved notes/hello");
assert.match(await read(at.washington, "hello"), /"big":12345678901234567890,"text":"mine"/);
await desk.waitForFunction(() => document.getElementById("doc-body").value.includes("12345678901234567890"));
await moment("healed");

// Somebody else was faster: nothing is overwritten.
await body.fill('{"text": "too late"}');
await put(at.washington, "hello", { text: "first" });
problems.length = 0; // a browser logs every 412 as an error
await click("Save");
await says("#toast", "somebody has changed it meanwhile");
assert.deepEqual(problems.splice(0).filter((p) => !p.includes("412")), []);
assert.equal(await read(at.washington, "hello"), '{"text":"first"}');

// A node is lost: its page goes on through another one.
await click("Kill washington/1");
await says("#through", "live through frankfurt/1");
await says("#headline", "washington is down");
await says("#dns .samples li", /United States\s*frankfurt/);
await moment("lost");
await click("Start washington/1");
await says("#headline", "All 3 regions are up and agree", 25_000);
await says("#through", "washington/1");

// A tab at a node that dies finds another one by itself.
const tab = await b.newPage();
await tab.goto(`${at.tokyo}/console/`);
await tab.locator("#through").filter({ hasText: "live through tokyo/1" }).waitFor();
assert.deepEqual(problems, []);
await click("Kill tokyo/1");
await tab.locator("#lost").filter({ hasText: "Lost tokyo/1" }).waitFor();
await tab.waitForURL(/127\.0\.[12]\.1:8080\/console\//, { timeout: 20_000 });
await tab.locator("#through").filter({ hasText: /live through (washington|frankfurt)/ }).waitFor();

// What a killed node leaves in the log of a browser that asks for it.
const gone = /ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED|EMPTY_RESPONSE)/;
assert.deepEqual(problems.filter((p) => !gone.test(p)), []);
await b.close();
await stop();
console.log(`${(performance.now() / 1000).toFixed(1)} s: stopped`);
