// Many messages in one request of the official client.
import assert from "node:assert/strict";
import { test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { allSettled, qstash, raw, settled } from "./lib/signpost.js";

const target = await endpoint();
target.on(/^\//, (_, res) => res.send());
const created = async () => (await qstash.logs({ filter: { state: "CREATED" } })).logs.length;

test("batch", async () => {
  const answers = await qstash.batch([
    { url: `${target.url}/a?1`, body: "one", headers: { "X-Item": "1" }, retries: 0 },
    { url: `${target.url}/b//2`, method: "PUT", label: ["x", "y"] },
    { url: `${target.url}/c`, body: "three", delay: "1h", headers: { "Content-Type": "text/css" } },
  ]);
  assert.equal(answers.length, 3);
  assert.deepEqual(answers.map((a) => a.url), [`${target.url}/a?1`, `${target.url}/b//2`, `${target.url}/c`]);
  const [a, b, c] = answers.map((answer) => answer.messageId);
  await Promise.all([settled(a), settled(b)]);
  const [first] = target.received("/a");
  assert.equal(first.headers["upstash-message-id"], a);
  assert.equal(first.headers["x-item"], "1");
  assert.equal(first.body.toString(), "one");
  const [second] = target.received("/b//2");
  assert.equal(second.method, "PUT");
  assert.equal(second.headers["x-item"], undefined);
  assert.equal(second.headers["content-type"], undefined);
  assert.equal(second.body.length, 0);
  assert.deepEqual((await qstash.messages.get(b)).labels, ["x", "y"]);
  const third = await qstash.messages.get(c);
  assert.equal(third.notBefore, third.createdAt + 3_600_000);
  assert.deepEqual(third.header, { "Content-Type": ["text/css"] });
  assert.equal((await qstash.messages.get(a)).maxRetries, 0);
});

test("batchJSON", async () => {
  const answers = await qstash.batchJSON([
    { url: `${target.url}/json`, body: { n: 1 } },
    { url: `${target.url}/json`, body: [2, "ü"] },
  ]);
  await allSettled(answers.map((answer) => answer.messageId));
  const bodies = target.received("/json").map((r) => [r.headers["content-type"], r.body.toString()]);
  assert.deepEqual(bodies.sort(), [["application/json", '[2,"ü"]'], ["application/json", '{"n":1}']]);
});

test("a batch of one is answered by a list of one", async () => {
  const item = { destination: `${target.url}/single`, headers: { "upstash-method": "POST" }, body: "x" };
  const { status, body } = await raw("POST", "/v2/batch", { body: JSON.stringify([item]) });
  assert.equal(status, 200);
  assert.ok(Array.isArray(body) && body.length === 1 && body[0].messageId, JSON.stringify(body));
  await settled(body[0].messageId);
});

test("deduplication within a batch", async () => {
  const item = () => ({ url: `${target.url}/dedup`, body: "x", deduplicationId: "in-batch" });
  const [first, second] = await qstash.batch([item(), item()]);
  assert.equal(first.deduplicated, undefined);
  assert.deepEqual(second, { ...first, deduplicated: true });
});

test("a hundred messages", async () => {
  const answers = await qstash.batchJSON(
    Array.from({ length: 100 }, (_, n) => ({ url: `${target.url}/many?${n}`, body: { n } })),
  );
  assert.equal(new Set(answers.map((a) => a.messageId)).size, 100);
  await allSettled(answers.map((answer) => answer.messageId));
  assert.equal(target.received("/many").length, 100);
});

const good = () => ({ url: `${target.url}/unsent`, body: "x", deduplicationId: "free" });
for (const [name, bad, message] of [
  ["destination", { url: "nowhere/x" }, /\[1\].*invalid destination url/],
  ["delay", { url: target.url, delay: "soon" }, /\[1\].*Upstash-Delay/i],
  ["deduplication id", { url: target.url, deduplicationId: "a:b" }, /DeduplicationId cannot contain ':'/],
  ["queue name", { url: target.url, queueName: "a b" }, /\[1\].*queue/],
]) {
  test(`nothing is stored for a bad ${name}`, async () => {
    const before = await created();
    await assert.rejects(qstash.batch([good(), bad]), (error) => {
      assert.equal(error.status, 400);
      assert.match(JSON.parse(error.message).error, message);
      return true;
    });
    assert.equal(await created(), before);
  });
}

test("what was refused left its deduplication id free", async () => {
  const [answer] = await qstash.batch([good()]);
  assert.equal(answer.deduplicated, undefined);
  await settled(answer.messageId);
});

test("nulls are nothing", async () => {
  const item = { destination: `${target.url}/nulls`, body: null, queue: null, headers: null };
  const { body } = await raw("POST", "/v2/batch", { body: JSON.stringify([item]) });
  await settled(body[0].messageId);
  assert.equal(target.received("/nulls")[0].body.length, 0);
});

verifySignatures();
