// The story of a world: calm, slow, drained, cut, healed, a node lost, and started
// again, all by clicking.
import assert from "node:assert/strict";
import { at, atoll, browser, gone, page, put, read, tells, Visitor } from "./world.mjs";

const problems = [];
const stop = await atoll(["dev", "--sample", "stars"], at.tokyo);
tells("the world is ready");
const b = await browser(problems);
const desk = b.pages()[0] ?? (await b.newPage());
const you = new Visitor(desk), { $, click } = you;
const tokyo = $("#region-tokyo");
const calm = "All 3 regions are up and agree";

// Calm, also for who leaves out the last slash.
await desk.goto(page.slice(0, -1));
assert.equal(desk.url(), page);
await you.says("#headline", calm);
await you.says("#through", "live through washington/1");
await you.says("#link-rows", /\d+ ms/);
await you.says("#dns .samples li", /Japan\s*tokyo/);
await you.moment("calm");

// The first stop of the keyboard skips the header.
await desk.keyboard.press("Tab");
assert.equal(await desk.evaluate(() => document.activeElement.className), "skip");

// What happens shows by itself: writes in the numbers, documents in the list.
await $("#doc-keyspace").fill("notes");
const writing = setInterval(() => put(at.tokyo, "tick", { at: Date.now() }).catch(() => {}), 50);
await you.says("#traffic li:has(h3:text-is('tokyo')) .key.writes", /writes [1-9]/);
await you.says("#traffic li:has(h3:text-is('frankfurt')) .key.applied", /applied [1-9]/);
clearInterval(writing);
await click("List");
await you.says("#documents .keys", "tick");
await put(at.frankfurt, "tock", { by: "itself" });
await you.says("#documents .keys", "tock");

// Slow: the link is measured anew.
await click("Slow frankfurt and washington");
await you.says("#headline", "The link of frankfurt and washington is slow");
await you.says("#link-rows li.slow", /frankfurt – washington[678]\d\d ms, slow/);
await you.says("#map .chip.slow", /[678]\d\d ms, slow/);
await you.moment("slow");
await click("Heal all links");
await you.says("#headline", calm);

// Drained and undrained: asked twice, and DNS follows.
await tokyo.getByRole("button", { name: "Drain" }).click();
await tokyo.getByRole("button", { name: "Really drain?" }).click();
await you.says("#headline", "tokyo is drained");
await you.says("#dns .samples li", /Japan\s*frankfurt/);
await you.moment("drained");
await tokyo.getByRole("button", { name: "Undrain" }).click();
await tokyo.getByRole("button", { name: "Really undrain?" }).click();
await you.says("#headline", calm);
await you.says("#dns .samples li", /Japan\s*tokyo/);

// Why, for one client; the reasons follow too.
await $("#dns-ip").fill("133.11.0.1");
await click("Explain");
await you.says("#dns .why", /1\.tokyo\s*\d+ kmchosen: the nearest healthy region/);

// By keyboard alone: Enter cuts a link.
await desk.getByRole("button", { name: "Cut frankfurt and tokyo" }).focus();
await desk.keyboard.press("Enter");
await you.says("#link-rows li.cut", "frankfurt – tokyo");
assert.equal(await desk.evaluate(() => document.activeElement.getAttribute("aria-label")),
  "Cut frankfurt and tokyo", "a snapshot must not take the focus away");

// Cut: both sides write the same field; the page shows that tokyo is alone.
await click("Cut tokyo and washington");
const evil = `<img src=x onerror="document.title='broken'">`;
await put(at.washington, "hello", { text: "from washington", evil });
await put(at.tokyo, "hello", { text: "from tokyo", evil });
await you.says("#headline", "tokyo is cut off");
await you.says("#link-rows li.cut .waiting", /waiting for .*changes? to tokyo/);
await you.says("#dns .samples li", /Japan\s*frankfurt/);
await you.says("#dns .why .out", /tokyo.*down/);
await you.moment("cut");

// Healed: they agree, and what lost is shown.
await click("Heal all links");
await you.says("#headline", calm, 25_000);
await you.says("#conflict-rows", "notes/hello");
await desk.getByRole("button", { name: "notes/hello" }).first().click();
await you.says("#documents .losers", "from washington");
assert.equal(await desk.title(), "Atoll dev", "text of a document became markup");
assert.equal(await $("#documents img").count(), 0, "text of a document became markup");
await desk.getByRole("button", { name: "Keep this" }).last().click();
await you.says("#toast", "settled");
await $("#documents .losers h4").filter({ hasText: "/text" }).waitFor({ state: "detached" });

// A document changes elsewhere while it is open; then it is changed here.
const body = $("#doc-body");
await put(at.tokyo, "hello", { text: "again", big: 1 });
await desk.waitForFunction(() => document.getElementById("doc-body").value.includes("again"));
await body.fill('{"text": "mine", "big": 12345678901234567890}');
await click("Save");
await you.says("#toast", "saved notes/hello");
assert.match(await read(at.washington, "hello"), /"big":12345678901234567890,"text":"mine"/);
await desk.waitForFunction(() => document.getElementById("doc-body").value.includes("12345678901234567890"));
await you.moment("healed");

// Somebody else was faster: nothing is overwritten.
await body.fill('{"text": "too late"}');
await put(at.washington, "hello", { text: "first" });
problems.length = 0; // a browser logs every 412 as an error
await click("Save");
await you.says("#toast", "somebody has changed it meanwhile");
assert.deepEqual(problems.splice(0).filter((p) => !p.includes("412")), []);
assert.equal(await read(at.washington, "hello"), '{"text":"first"}');

// A node is lost: its page goes on through another one.
await click("Kill washington/1");
await you.says("#through", "live through frankfurt/1");
await you.says("#headline", "washington is down");
await you.says("#dns .samples li", /United States\s*frankfurt/);
await you.moment("lost");
await click("Start washington/1");
await you.says("#headline", calm, 25_000);
await you.says("#through", "washington/1");

// Two tabs at tokyo, one with words in it that are not saved. When tokyo dies the
// one goes on through another region and says so; the other stays, says what it
// has lost and where to go on, and is as it was when tokyo is back.
const leaving = new Visitor(await b.newPage()), staying = new Visitor(await b.newPage());
for (const tab of [leaving, staying]) {
  await tab.page.goto(`${at.tokyo}/console/`);
  await tab.says("#through", "live through tokyo/1");
}
await staying.$("#doc-body").fill('{"half": "a th');
await staying.page.evaluate(() => (globalThis.mark = "the same page"));
assert.deepEqual(problems, []);
await click("Kill tokyo/1");
await leaving.says("#lost", "Lost tokyo/1");
await leaving.page.waitForURL(/127\.0\.[12]\.1:8080\/console\/$/, { timeout: 30_000 });
await leaving.says("#through", /live through (washington|frankfurt)/);
await leaving.says("#moved", "tokyo/1 stopped answering");
await leaving.click("Dismiss");
await staying.says("#lost", /(washington|frankfurt)\/1 answers\. Go on in/);
await staying.moment("alone");
await you.says("#headline", "tokyo is down");
await click("Start tokyo/1");
await staying.says("#through", "live again through tokyo/1", 30_000);
assert.ok(await staying.$("#lost").isHidden());
assert.equal(await staying.$("#doc-body").inputValue(), '{"half": "a th');
assert.equal(await staying.page.evaluate(() => globalThis.mark), "the same page");
await staying.says("#headline", calm, 25_000);

assert.deepEqual(problems.filter((p) => !gone.test(p)), []);
await b.close();
await stop();
tells("all is well");
