// Flow control through the official SDK.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { allSettled, ended, qstash, reached, settled, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const target = await endpoint();
target.on("/ok", (_, res) => res.send("ok"));
const key = (() => { let n = 0; return () => `user/${process.pid}-${n++}`; })();

describe("management", { concurrency: true }, () => {
  test("get right after publish", async () => {
    const k = key();
    await assert.rejects(qstash.flowControl.get(k), { status: 404 });
    const { messageId } = await qstash.publishJSON({
      url: `${target.url}/ok`, body: {}, delay: 60, flowControl: { key: k, parallelism: 2, rate: 3, period: "1m" },
    });
    assert.deepEqual(await qstash.flowControl.get(k), {
      flowControlKey: k, waitListSize: 0, parallelismMax: 2, parallelismCount: 0, rateMax: 3, rateCount: 0, ratePeriod: 60,
      ratePeriodStart: 0, isPaused: false, isPinnedParallelism: false, isPinnedRate: false,
    });
    const message = await qstash.messages.get(messageId);
    assert.deepEqual([message.flowControlKey, message.parallelism, message.rate, message.period], [k, 2, 3, 60]);
    assert.equal((await qstash.messages.cancel({ filter: { flowControlKey: k } })).cancelled, 1);
  });

  test("pause, resume", async () => {
    const k = key();
    const at = await endpoint();
    at.on("/paused", (_, res) => res.send("ok"));
    await qstash.flowControl.pause(k);
    assert.equal((await qstash.flowControl.get(k)).isPaused, true);
    const sent = [];
    for (const body of ["a", "b", "c"]) {
      sent.push(await qstash.publish({ url: `${at.url}/paused`, body, flowControl: { key: k, parallelism: 1 } }));
    }
    const held = await qstash.flowControl.get(k);
    assert.deepEqual([held.waitListSize, held.parallelismCount, held.isPaused], [3, 0, true]);
    assert.equal(at.requests.length, 0);
    await qstash.flowControl.resume(k);
    await allSettled(sent.map((s) => s.messageId));
    assert.deepEqual(at.received("/paused").map((r) => r.body.toString()), ["a", "b", "c"]);
    const after = await qstash.flowControl.get(k);
    assert.deepEqual([after.waitListSize, after.isPaused], [0, false]);
  });

  test("pin, unpin, resetRate", async () => {
    const k = key();
    await qstash.flowControl.pin(k, { parallelism: 5, rate: 10, period: 30 });
    const publish = (flowControl) => qstash.publish({ url: `${target.url}/ok`, flowControl: { key: k, ...flowControl } });
    const sent = await publish({ parallelism: 1, rate: 1, period: 1 });
    await settled(sent.messageId);
    const pinned = await qstash.flowControl.get(k);
    assert.deepEqual(
      [pinned.parallelismMax, pinned.rateMax, pinned.ratePeriod, pinned.rateCount, pinned.isPinnedParallelism, pinned.isPinnedRate],
      [5, 10, 30, 1, true, true],
    );
    assert.ok(Math.abs(pinned.ratePeriodStart - Date.now() / 1000) < 30);
    await qstash.flowControl.unpin(k, { parallelism: true });
    let now = await qstash.flowControl.get(k);
    assert.deepEqual([now.parallelismMax, now.isPinnedParallelism, now.isPinnedRate], [5, false, true]);
    await publish({ parallelism: 7 });
    now = await qstash.flowControl.get(k);
    assert.deepEqual([now.parallelismMax, now.rateMax, now.rateCount], [7, 10, 2]);
    await qstash.flowControl.resetRate(k);
    assert.equal((await qstash.flowControl.get(k)).rateCount, 0);
    await qstash.flowControl.unpin(k, { rate: true });
    now = await qstash.flowControl.get(k);
    assert.deepEqual([now.rateMax, now.isPinnedRate], [10, false]);
    for (const bad of [{}, { parallelism: 0 }, { rate: -1 }, { period: 5 }, { rate: 1, period: 700_000 }]) {
      await assert.rejects(qstash.flowControl.pin(k, bad), { status: 400 }, JSON.stringify(bad));
    }
  });

  test("what is badly said is refused", async () => {
    for (const flowControl of [{ key: "k", rate: 0 }, { key: "k", rate: 1, period: "8d" }, { key: "k", parallelism: -1 }]) {
      await assert.rejects(qstash.publish({ url: `${target.url}/ok`, flowControl }), { status: 400 }, JSON.stringify(flowControl));
    }
  });
});

describe("delivery", { concurrency: true }, () => {
  test("no more at once than the parallelism, and the global count says so", async () => {
    const k = key();
    const at = await endpoint();
    let inside = 0;
    let most = 0;
    let hold = [];
    at.on("/held", (_, res) => {
      most = Math.max(most, ++inside);
      hold.push(() => (inside--, res.send("ok")));
    });
    const sent = await qstash.batch(Array.from({ length: 9 }, () => ({ url: `${at.url}/held`, flowControl: { key: k, parallelism: 3 } })));
    await at.arrived("/held", 3);
    const busy = await qstash.flowControl.get(k);
    assert.deepEqual([busy.parallelismMax, busy.parallelismCount, busy.waitListSize], [3, 3, 6]);
    const global = await qstash.flowControl.getGlobalParallelism();
    assert.ok(global.parallelismCount >= 3 && global.parallelismMax >= global.parallelismCount, JSON.stringify(global));
    for (let n = 0; n < 9; ) {
      await until("one is held", () => hold.length > 0);
      for (const release of hold.splice(0)) (n++, release());
    }
    await allSettled(sent.map((s) => s.messageId));
    assert.equal(most, 3);
  });

  test("no more in a period than the rate", async () => {
    const k = key();
    const at = await endpoint();
    at.on("/rate", (_, res) => res.send("ok"));
    const from = Date.now();
    const sent = await qstash.batch(Array.from({ length: 6 }, () => ({ url: `${at.url}/rate`, flowControl: { key: k, rate: 2, period: "1s" } })));
    await allSettled(sent.map((s) => s.messageId));
    const times = at.received("/rate").map((r) => r.at).sort((a, b) => a - b);
    // Two in each second, the first of which does not begin before they are sent.
    assert.ok(times[2] - from >= 1000 && times[4] - from >= 2000, times.map((t) => t - from).join());
  });

  test("callbacks go by their own", async () => {
    const k = key();
    const h = { "Upstash-Callback-Flow-Control-Key": k, "Upstash-Callback-Flow-Control-Value": "parallelism=1" };
    const sent = await qstash.publish({ url: `${target.url}/ok`, callback: `${target.url}/ok`, headers: h });
    await settled(sent.messageId);
    assert.equal((await qstash.flowControl.get(k)).parallelismMax, 1);
  });

  test("in a queue", async () => {
    const k = key();
    await qstash.flowControl.pause(k);
    const queue = qstash.queue({ queueName: `flow-${process.pid}` });
    const a = await queue.enqueue({ url: `${target.url}/ok`, body: "a", flowControl: { key: k, parallelism: 1 } });
    const b = await queue.enqueue({ url: `${target.url}/ok`, body: "b" });
    assert.equal((await queue.get()).lag, 2);
    await qstash.flowControl.resume(k);
    await settled(a.messageId);
    await settled(b.messageId);
  });

  test("steps of a workflow", async () => {
    const k = `workflow-${process.pid}`;
    const app = await endpoint();
    app.workflow("/flow", async (context) => (await context.run("a", () => 1)) + (await context.run("b", () => 2)));
    const { workflowRunId } = await workflow.trigger({ url: `${app.url}/flow`, flowControl: { key: k, parallelism: 1, rate: 100 } });
    const run = await ended(workflowRunId);
    assert.equal(run.workflowRunResponse, "3");
    const now = await qstash.flowControl.get(k);
    assert.deepEqual([now.parallelismMax, now.rateMax, now.waitListSize], [1, 100, 0]);
    await until("the key to be free", async () => (await qstash.flowControl.get(k)).parallelismCount === 0);
  });
});

verifySignatures();
