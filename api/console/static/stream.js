// The stream of snapshots, over fetch: an EventSource cannot send a token.
import { headers, Problem } from "./api.js";

const silence = 4000; // ms without an event: the node is lost
const waits = [250, 500, 1000, 2000]; // ms between attempts; the last one again and again

// follow calls on.hello and on.snapshot with each event for ever. Between
// streams it calls on.lost with the reason and the number of failed attempts,
// and waits as long as the promise that on.lost may return.
export async function follow(on) {
  for (let failed = 0; ; failed++) {
    const began = performance.now();
    let reason;
    try {
      await once(on, () => (failed = 0));
      reason = new Error("the node ended the stream");
    } catch (e) {
      reason = e;
    }
    if (performance.now() - began > 60_000 && reason.message === "the node ended the stream") {
      continue; // its age limit: ask again at once
    }
    await on.lost(reason, failed);
    await new Promise((done) => setTimeout(done, waits[Math.min(failed, waits.length - 1)]));
  }
}

async function once(on, alive) {
  const abort = new AbortController();
  let watch = setTimeout(() => abort.abort(), silence);
  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(() => abort.abort(), silence);
    alive();
  };
  try {
    const r = await fetch("events", { headers: headers(), cache: "no-store", signal: abort.signal });
    if (!r.ok) throw new Problem(r.status, await r.json().catch(() => ({})));
    for await (const { event, data } of events(r.body)) {
      heard();
      on[event]?.(JSON.parse(data));
    }
  } catch (e) {
    if (e.name === "AbortError") throw new Error("the node says nothing");
    throw e;
  } finally {
    clearTimeout(watch);
    abort.abort();
  }
}

// events reads server-sent events as our node writes them: an event line, a
// data line, an empty line.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const [event, data] = block.split("\ndata: ");
      yield { event: event.replace("event: ", ""), data };
    }
  }
}
