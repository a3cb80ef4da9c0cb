// A viewer: loads the film, jumps to near its end, watches.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { at, atoll, browser } from "./world.mjs";

const film = await readFile(process.argv[2]);
const stop = await atoll(["dev"], at.tokyo);
const put = await fetch(`${at.washington}/v1/media/films/film.mp4`, {
  method: "PUT", headers: { "Content-Type": "video/mp4" }, body: film,
});
assert.equal(put.status, 201);
const src = `${at.tokyo}/v1/media/films/film.mp4`;
for (;;) { // until tokyo has heard of it
  if ((await fetch(src, { method: "HEAD" })).status === 200) break;
  await new Promise((r) => setTimeout(r, 20));
}

// The page is an application's own, of another origin than the film.
const page = createServer((_, w) => {
  w.setHeader("Content-Type", "text/html; charset=utf-8");
  w.end(`<!doctype html><title>film</title><video muted preload="auto" src="${src}"></video>`);
});
await new Promise((ready) => page.listen(0, "127.0.0.1", ready));

const overTheSea = async () => {
  const said = await (await fetch(`${at.tokyo}/metrics`)).text();
  return Number(/^atoll_media_read_bytes_total\{from="wan"\} (\S+)$/m.exec(said)?.[1] ?? 0);
};

const b = await browser([]);
const tab = b.pages()[0] ?? (await b.newPage());
const answers = [];
tab.on("response", (r) => {
  if (r.url() === src) answers.push({ status: r.status(), range: r.headers()["content-range"] });
});
await tab.goto(`http://127.0.0.1:${page.address().port}/`);
const video = (f, arg) => tab.locator("video").evaluate(f, arg);
const ready = (what, f, arg) => tab.waitForFunction(f, arg, { timeout: 60_000 }).catch(async () => {
  assert.fail(`${what}: ${JSON.stringify(await video((v) => ({
    time: v.currentTime, state: v.readyState, error: v.error?.message })))}, ${JSON.stringify(answers)}`);
});
await ready("it begins", () => document.querySelector("video").readyState >= 2);
const long = await video((v) => v.duration);
assert.ok(long > 119 && long < 121, `${long} s`);
const before = answers.length;
const began = performance.now();
await video((v, to) => { v.currentTime = to; }, 0.9 * long);
await ready("it is there", (to) => {
  const v = document.querySelector("video");
  return v.readyState >= 2 && !v.seeking && Math.abs(v.currentTime - to) < 0.5;
}, 0.9 * long);
const took = Math.round(performance.now() - began);
await video((v) => v.play());
await ready("it plays on", (to) => document.querySelector("video").currentTime > to + 1, 0.9 * long);

const later = answers.slice(before).map((a) => {
  const [, from, , size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(a.range ?? "") ?? [];
  return { ...a, from: Number(from), size: Number(size) };
});
const jump = later.find((a) => a.from > 0.5 * film.length);
assert.ok(jump, `no range near the end: ${JSON.stringify(answers)}`);
assert.equal(jump.status, 206);
assert.equal(jump.size, film.length);
const wan = await overTheSea();
assert.ok(wan > 0 && wan < 0.7 * film.length, `${wan} of ${film.length} bytes came over the WAN`);
console.log(JSON.stringify(answers));
console.log(`${(film.length / 1e6).toFixed(1)} MB: a jump to 90 % took ${took} ms, by a 206 from byte ` +
  `${jump.from} on; ${(100 * wan / film.length).toFixed(0)} % of the film came over the WAN`);
await b.close();
page.close();
await stop();
