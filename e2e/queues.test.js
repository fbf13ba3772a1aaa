// Queues through the official SDK.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { allSettled, dead, qstash, reached, settled, states } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const target = await endpoint();
const name = (() => { let n = 0; return () => `-queue_${process.pid}.${n++}`; })();
const drained = (queue) => until("the queue to be empty", async () => (await queue.get()).lag === 0);
const order = (path) => target.received(path).map((r) => r.body.toString());

describe("management", { concurrency: true }, () => {
  test("upsert, get, list, pause, resume, delete", async () => {
    const queueName = name();
    const queue = qstash.queue({ queueName });
    await assert.rejects(queue.get(), { status: 404 });
    const from = Date.now();
    await queue.upsert({ parallelism: 1 });
    const made = await queue.get();
    assert.deepEqual(Object.keys(made).sort(), ["createdAt", "lag", "name", "parallelism", "paused", "updatedAt"]);
    assert.ok(made.createdAt >= from && made.createdAt <= Date.now() && made.updatedAt === made.createdAt);
    assert.deepEqual({ ...made, createdAt: 0, updatedAt: 0 },
      { name: queueName, createdAt: 0, updatedAt: 0, parallelism: 1, lag: 0, paused: false });
    await queue.upsert({ parallelism: 2, paused: true });
    assert.deepEqual([(await queue.get()).parallelism, (await queue.get()).paused], [2, true]);
    assert.ok((await queue.list()).some((q) => q.name === queueName && q.parallelism === 2));
    await queue.resume();
    assert.equal((await queue.get()).paused, false);
    await queue.resume();
    await queue.pause();
    assert.equal((await queue.get()).paused, true);
    await queue.delete();
    await assert.rejects(queue.get(), { status: 404 });
    assert.ok((await queue.list()).every((q) => q.name !== queueName));
    await queue.delete();
    await assert.rejects(queue.pause(), { status: 404 });
  });

  for (const [what, queueName, options, status] of [
    ["a bad name", "a b", { parallelism: 1 }, 400],
    ["no room", name(), { parallelism: 0 }, 400],
    ["too much at once", name(), { parallelism: 100_000 }, 412],
  ]) {
    test(`${what} is refused`, async () => {
      await assert.rejects(qstash.queue({ queueName }).upsert(options), { status });
      assert.ok((await qstash.queue().list()).every((q) => q.name !== queueName));
    });
  }
});

describe("delivery", { concurrency: true }, () => {
  test("in order, made by the first message", async () => {
    const queueName = name();
    const queue = qstash.queue({ queueName });
    target.on("/order", (req, res) => setTimeout(() => res.send("ok"), Number(req.body) % 3 * 20));
    const sent = [];
    for (let n = 0; n < 20; n++) {
      const { messageId } = await queue.enqueue({ url: `${target.url}/order`, body: `${n}`, headers: { "Content-Type": "text/plain" } });
      sent.push(messageId);
    }
    assert.equal((await queue.get()).parallelism, 1);
    await allSettled(sent);
    assert.deepEqual(order("/order"), Array.from({ length: 20 }, (_, n) => `${n}`));
    const { logs } = await qstash.logs({ filter: { queueName, state: "DELIVERED" } });
    assert.deepEqual(logs.map((e) => e.messageId), sent.reverse());
    assert.ok(logs.every((e) => e.queueName === queueName));
    await drained(queue);
  });

  test("as many at a time as the queue is wide", async () => {
    const queue = qstash.queue({ queueName: name() });
    await queue.upsert({ parallelism: 2 });
    let inside = 0;
    let most = 0;
    target.on("/wide", (_, res) => {
      most = Math.max(most, ++inside);
      setTimeout(() => (inside--, res.send("ok")), 100);
    });
    const sent = await Promise.all(Array.from({ length: 10 }, () => queue.enqueueJSON({ url: `${target.url}/wide`, body: { a: 1 } })));
    await allSettled(sent.map((s) => s.messageId));
    assert.equal(most, 2);
    assert.equal(target.received("/wide")[0].headers["content-type"], "application/json");
    assert.equal(target.received("/wide")[0].body.toString(), '{"a":1}');
  });

  test("paused, then resumed with the oldest", async () => {
    const queueName = name();
    const queue = qstash.queue({ queueName });
    await queue.upsert({ paused: true });
    target.on("/paused", (_, res) => res.send("ok"));
    const sent = [];
    for (const body of ["a", "b", "c"]) sent.push(await queue.enqueue({ url: `${target.url}/paused`, body }));
    assert.equal((await queue.get()).lag, 3);
    const message = await qstash.messages.get(sent[0].messageId);
    assert.equal(message.queueName, queueName);
    assert.deepEqual(states((await qstash.logs({ messageIds: [sent[0].messageId] })).logs), ["CREATED"]);
    assert.equal(await qstash.messages.cancel(sent[1].messageId).then((r) => r.cancelled), 1);
    assert.equal(target.received("/paused").length, 0);
    await queue.resume();
    await settled(sent[2].messageId);
    assert.deepEqual(order("/paused"), ["a", "c"]);
  });

  test("a retry keeps its place", async () => {
    const queue = qstash.queue({ queueName: name() });
    let calls = 0;
    target.on("/retry", (_, res) => res.status(++calls < 3 ? 500 : 200).send("x"));
    const sent = [];
    for (const body of ["a", "b"]) sent.push(await queue.enqueue({ url: `${target.url}/retry`, body, retries: 3, retryDelay: "100" }));
    await settled(sent[1].messageId);
    assert.deepEqual(order("/retry"), ["a", "a", "a", "b"]);
  });

  test("what is exhausted makes room, and goes through the queue again", async () => {
    const queueName = name();
    const queue = qstash.queue({ queueName });
    let broken = true;
    target.on("/exhausted", (req, res) => res.status(broken && req.record.body.toString() === "a" ? 500 : 200).send("x"));
    const a = await queue.enqueue({ url: `${target.url}/exhausted`, body: "a", retries: 0 });
    const b = await queue.enqueue({ url: `${target.url}/exhausted`, body: "b" });
    await settled(b.messageId);
    const entry = await dead(a.messageId);
    assert.equal(entry.queueName, queueName);
    assert.ok((await qstash.dlq.listMessages({ filter: { queueName } })).messages.some((m) => m.messageId === a.messageId));
    broken = false;
    await qstash.dlq.retry(entry.dlqId);
    await until("the retried message", () => order("/exhausted").length === 3);
    assert.deepEqual(order("/exhausted"), ["a", "b", "a"]);
    await drained(queue);
  });

  test("the next waits for the callback", async () => {
    const queue = qstash.queue({ queueName: name() });
    let answer;
    target.on("/callback", (_, res) => (answer = () => res.send("ok")));
    target.on("/called-back", (_, res) => res.send("ok"));
    const a = await queue.enqueue({ url: `${target.url}/called-back`, body: "a", callback: `${target.url}/callback` });
    const b = await queue.enqueue({ url: `${target.url}/called-back`, body: "b" });
    await target.arrived("/callback");
    await reached(a.messageId, "DELIVERED");
    assert.equal((await queue.get()).lag, 2);
    assert.deepEqual(order("/called-back"), ["a"]);
    answer();
    await settled(b.messageId);
    assert.deepEqual(order("/called-back"), ["a", "b"]);
  });

  test("deleted with messages inside", async () => {
    const queue = qstash.queue({ queueName: name() });
    await queue.upsert({ paused: true });
    const sent = await queue.enqueue({ url: `${target.url}/never`, body: "a" });
    await queue.delete();
    assert.deepEqual(states(await settled(sent.messageId)), ["CREATED", "CANCEL_REQUESTED", "CANCELED"]);
    target.on("/fresh", (_, res) => res.send("ok"));
    const again = await queue.enqueue({ url: `${target.url}/fresh`, body: "fresh" });
    await settled(again.messageId);
    assert.equal(target.received("/never").length, 0);
  });

  test("by a batch, and cancelled by the queue's name", async () => {
    const queueName = name();
    await qstash.queue({ queueName }).upsert({ paused: true });
    await qstash.batchJSON([1, 2, 3].map((n) => ({ url: `${target.url}/never`, queueName, body: { n } })));
    assert.equal((await qstash.queue({ queueName }).get()).lag, 3);
    assert.equal((await qstash.messages.cancel({ filter: { queueName } })).cancelled, 3);
    assert.equal((await qstash.queue({ queueName }).get()).lag, 0);
  });

  test("a delayed message takes its place when it is due", async () => {
    const queue = qstash.queue({ queueName: name() });
    target.on("/delayed", (_, res) => res.send("ok"));
    const late = await queue.enqueue({ url: `${target.url}/delayed`, body: "late", delay: 1 });
    await queue.enqueue({ url: `${target.url}/delayed`, body: "early" });
    await settled(late.messageId);
    assert.deepEqual(order("/delayed"), ["early", "late"]);
  });
});

verifySignatures();
