// A dev world and a browser, for the story.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp } from "node:fs/promises";
import { chromium } from "playwright-core";

export const page = "http://127.0.0.1:8080/console/";
export const at = { washington: "http://127.0.1.1:8080", tokyo: "http://127.0.3.1:8080" };

// world starts `atoll dev` and returns when it says that it is ready; stop ends
// it and fails if it does not end well.
export async function world() {
  const dev = spawn(process.env.ATOLL, ["dev", "--sample", "stars"], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(dev, "exit");
  let said = "";
  await Promise.race([
    ended.then(([code]) => Promise.reject(new Error(`atoll dev ended with ${code}:\n${said}`))),
    new Promise((ready) => dev.stdout.on("data", (b) => (said += b).endsWith("ready\n") && ready())),
  ]);
  return async () => {
    dev.kill("SIGINT");
    const [code] = await ended;
    if (code !== 0) throw new Error(`atoll dev ended with ${code}`);
  };
}

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
