// The story of a node that asks for a token: who reads, who operates, and a tab
// that is left open over a restart.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { atoll, browser, gone, tells, Visitor } from "./world.mjs";

const origin = "http://127.0.9.1:8080";
const digest = (token) => createHash("sha256").update(token).digest("hex");
await writeFile("atoll.yaml", `
name: "1"
region: {name: reef, lat: -18.3, lon: 147.7}
listen: {http: "127.0.9.1:8080", https: "", dns: "", peer: "127.0.9.1:7950"}
data: data
api:
  tokens:
    - {name: wall, sha256: ${digest("look")}, role: reader}
    - {name: desk, sha256: ${digest("touch")}, role: operator}
`);
const start = () => atoll(["start", "--config", "atoll.yaml"], origin);
let stop = await start();
const problems = [];
const b = await browser(problems);
const you = new Visitor(b.pages()[0] ?? (await b.newPage())), { $, click } = you;
// A refusal is an error to a browser.
const refused = /40[13] \((Unauthorized|Forbidden)\)/;
const quiet = () => assert.deepEqual(problems.splice(0).filter((p) => !refused.test(p) && !gone.test(p)), []);

async function enter(token) {
  await $("#token-text").fill(token);
  await click("Use it");
}

// Nothing is shown before the token, and the keyboard is where it goes.
await you.page.goto(`${origin}/console/`);
await you.says("#token", "This cluster asks for a token");
assert.ok(await $("#main").isHidden());
assert.equal(await you.page.evaluate(() => document.activeElement.id), "token-text");
await you.moment("token");
await enter("guess");
await you.says("#token-why", "token");
await enter("look");
await you.says("#headline", "The region is up");
await you.says("#who", "you are wall, reader");
quiet();

// A reader sees no button that would be refused.
assert.ok(await $("#region-reef button").first().isHidden());
assert.ok(await $("#doc-body").isVisible());
assert.ok(await you.page.getByRole("button", { name: "Save" }).isDisabled());
await you.moment("reader");

// The token lives in this tab only, and can be forgotten.
const other = new Visitor(await b.newPage());
await other.page.goto(`${origin}/console/`);
await other.says("#token", "This cluster asks for a token");
await other.page.close();
await click("Forget the token");
await you.says("#token", "This cluster asks for a token");
await enter("touch");
await you.says("#who", "you are desk, operator");
await $("#doc-keyspace").fill("notes");
await $("#doc-key").fill("hello");
await $("#doc-body").fill('{"text": "hi"}');
await click("Save");
await you.says("#toast", "saved notes/hello");

// Its node restarts: the tab says so and is back, without a reload or the token.
quiet();
await you.page.evaluate(() => (globalThis.mark = "the same page"));
await stop();
await you.says("#lost", "Lost reef/1");
await you.says("#through", "not connected");
await you.moment("restart");
stop = await start();
await you.says("#through", "through reef/1", 30_000);
await you.says("#headline", "The region is up");
assert.ok(await $("#lost").isHidden());
assert.equal(await you.page.evaluate(() => globalThis.mark), "the same page");
await click("Open");
await you.says("#documents .editor", "As this node has it now.");
quiet();

await b.close();
await stop();
tells("all is well");
