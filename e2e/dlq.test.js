// The dead letter queue, through the official client.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { dead, qstash, raw, settled, states } from "./lib/signpost.js";

const target = await endpoint();
target.on("/missing", (_, res) => res.status(404).type("text").set("X-Why", "gone").send("404 Not Found"));
target.on("/bytes", (_, res) => res.status(500).type("application/octet-stream").send(Buffer.from([255, 0])));
let broken = true;
target.on("/mended", (_, res) => (broken ? res.status(503).send("broken") : res.send("mended")));

const fail = async (path, settings) => {
  const { messageId } = await qstash.publish({ url: target.url + path, body: "letter", retries: 0, ...settings });
  return dead(messageId);
};
const list = async (filter) => (await qstash.dlq.listMessages({ filter })).messages;
const empty = () => qstash.dlq.delete({ all: true });

test("an entry", async () => {
  const { messageId } = await qstash.publishJSON({
    url: `${target.url}/missing?a=b`, body: { a: 1 }, retries: 0, label: ["l1", "l2"], headers: { "X-Mine": "1" },
    failureCallback: "https://example.com/f", delay: 0,
  });
  const entry = await dead(messageId);
  assert.deepEqual(states(await settled(messageId)), ["CREATED", "ACTIVE", "ERROR", "FAILED"]);
  assert.equal(entry.messageId, messageId);
  assert.match(entry.dlqId, /^\d+-\d+$/);
  assert.equal(entry.url, `${target.url}/missing?a=b`);
  assert.equal(entry.method, "POST");
  assert.equal(entry.body, '{"a":1}');
  assert.deepEqual(entry.header, { "Content-Type": ["application/json"], "X-Mine": ["1"] });
  assert.equal(entry.responseStatus, 404);
  assert.equal(entry.responseBody, "404 Not Found");
  assert.equal(entry.responseBodyBase64, undefined);
  assert.deepEqual(entry.responseHeader["X-Why"], ["gone"]);
  assert.equal(entry.maxRetries, 0);
  assert.equal(entry.label, "l1");
  assert.deepEqual(entry.labels, ["l1", "l2"]);
  assert.equal(entry.failureCallback, "https://example.com/f");
  assert.ok(entry.createdAt <= Date.now() && entry.notBefore >= entry.createdAt);
  const single = await raw("GET", `/v2/dlq/${entry.dlqId}`);
  assert.equal(single.status, 200);
  assert.equal(single.body.messageId, messageId);
  await empty();
});

test("an answer of bytes", async () => {
  const entry = await fail("/bytes");
  assert.equal(entry.responseBody, undefined);
  assert.equal(entry.responseBodyBase64, "/wA=");
  await empty();
});

test("pages", async () => {
  const ids = [];
  for (let n = 0; n < 5; n++) ids.push((await fail(`/missing?${n}`)).dlqId);
  const walked = [];
  let cursor;
  let pages = 0;
  do {
    const page = await qstash.dlq.listMessages({ cursor, count: 2 });
    assert.ok(page.messages.length > 0 && page.messages.length <= 2, `a page of ${page.messages.length}`);
    walked.push(...page.messages.map((m) => m.dlqId));
    ({ cursor } = page);
    pages++;
  } while (cursor);
  assert.equal(pages, 3);
  assert.deepEqual(walked, ids);
  const all = await raw("GET", "/v2/dlq");
  assert.ok(!("cursor" in all.body), "a cursor on the last page");
  const latest = await raw("GET", "/v2/dlq?order=latestFirst");
  assert.deepEqual(latest.body.messages.map((m) => m.dlqId), ids.toReversed());
  const chosen = await qstash.dlq.listMessages({ dlqIds: [ids[3], ids[1]] });
  assert.deepEqual(chosen.messages.map((m) => m.dlqId).sort(), [ids[1], ids[3]].sort());

  const deleted = await qstash.dlq.delete({ all: true, count: 2 });
  assert.equal(deleted.deleted, 2);
  assert.equal(typeof deleted.cursor, "string");
  let left = 3;
  for (cursor = deleted.cursor; cursor; ) {
    const next = await qstash.dlq.delete({ all: true, count: 2, cursor });
    left -= next.deleted;
    ({ cursor } = next);
  }
  assert.equal(left, 0);
  assert.deepEqual(await raw("GET", "/v2/dlq").then((r) => r.body), { messages: [] });
});

describe("filters", () => {
  const entries = {};
  before(async () => {
    entries.a = await fail("/missing?a", { label: "red" });
    entries.b = await fail("/missing?b", { label: ["red", "blue"] });
    entries.c = await fail("/bytes", { label: "green" });
    const { messageId } = await qstash
      .queue({ queueName: "lane" })
      .enqueue({ url: `${target.url}/bytes?d`, body: "letter", retries: 0, flowControl: { key: "flow", parallelism: 1 } });
    entries.d = await dead(messageId);
  });
  const names = (messages) =>
    messages.map((m) => Object.keys(entries).find((name) => entries[name].dlqId === m.dlqId)).join("");
  const cases = () => [
    [undefined, "abcd"],
    [{ messageId: entries.b.messageId }, "b"],
    [{ url: `${target.url}/missing?a` }, "a"],
    [{ label: "red" }, "ab"],
    [{ label: "blue" }, "b"],
    [{ responseStatus: 404 }, "ab"],
    [{ responseStatus: 500 }, "cd"],
    [{ responseStatus: [404, 500], label: ["green", "blue"] }, "bc"],
    [{ responseStatus: 200 }, ""],
    [{ callerIp: "127.0.0.1" }, "abcd"],
    [{ callerIp: "192.0.2.1" }, ""],
    [{ fromDate: Date.now() - 60_000, toDate: Date.now() }, "abcd"],
    [{ toDate: Date.now() - 60_000 }, ""],
    [{ label: "red", responseStatus: 500 }, ""],
    [{ urlGroup: "g" }, ""],
    [{ queueName: "q" }, ""],
    [{ queueName: "lane" }, "d"],
    [{ flowControlKey: ["flow", "none"] }, "d"],
    [{ flowControlKey: "flow", label: "red" }, ""],
    [{ scheduleId: "s" }, ""],
  ];
  test("list", async () => {
    for (const [filter, want] of cases()) assert.equal(names(await list(filter)), want, JSON.stringify(filter));
  });
  test("a mistyped one deletes and retries nothing", async () => {
    await assert.rejects(qstash.dlq.delete({ filter: { labeel: "red" } }), { status: 400 });
    await assert.rejects(qstash.dlq.retry({ filter: { labeel: "red" } }), { status: 400 });
    assert.equal(names(await list()), "abcd");
  });
  test("that match nothing", async () => {
    assert.equal((await qstash.dlq.delete({ filter: { label: "white" } })).deleted, 0);
    assert.deepEqual((await qstash.dlq.retry({ filter: { label: "white" } })).responses, []);
    assert.equal(names(await list()), "abcd");
  });
  test("delete", async () => {
    const answer = await qstash.dlq.delete({ filter: { label: "red" } });
    assert.equal(answer.deleted, 2);
    assert.ok(!("cursor" in answer), "a cursor after the last page");
    assert.equal(names(await list()), "cd");
    await empty();
  });
});

describe("delete", () => {
  test("one", async () => {
    const { dlqId } = await fail("/missing");
    assert.deepEqual(await qstash.dlq.delete(dlqId), { deleted: 1 });
    await assert.rejects(qstash.dlq.delete(dlqId), { status: 404 });
    assert.deepEqual(await list(), []);
  });
  test("many, of which some are missing", async () => {
    const [a, b] = [await fail("/missing"), await fail("/missing")];
    assert.equal((await qstash.dlq.delete([a.dlqId, "1-0", b.dlqId])).deleted, 2);
    assert.equal((await qstash.dlq.deleteMany({ dlqIds: [a.dlqId] })).deleted, 0);
  });
  test("a page of one", async () => {
    await Promise.all([fail("/missing"), fail("/missing")]);
    assert.equal((await qstash.dlq.delete({ filter: { responseStatus: 404 }, count: 1 })).deleted, 1);
    assert.equal((await list()).length, 1);
    await empty();
  });
});

describe("retry", () => {
  test("one", async () => {
    const entry = await fail("/mended", { headers: { "X-Mine": "1" } });
    broken = false;
    const { responses, cursor } = await qstash.dlq.retry(entry.dlqId);
    broken = true;
    assert.equal(cursor, undefined);
    assert.equal(responses.length, 1);
    assert.notEqual(responses[0].messageId, entry.messageId);
    assert.ok((await settled(responses[0].messageId)).length);
    const request = target.received("/mended").at(-1);
    assert.equal(request.body.toString(), "letter");
    assert.equal(request.headers["x-mine"], "1");
    assert.equal(request.headers["upstash-retried"], "0");
    await assert.rejects(qstash.dlq.delete(entry.dlqId), { status: 404 });
    await settled(responses[0].messageId);
    await empty();
  });

  test("many, by ids and by filter", async () => {
    const [a, b, c] = [await fail("/mended"), await fail("/mended", { label: "x" }), await fail("/mended", { label: "x" })];
    broken = false;
    const byId = await qstash.dlq.retry([a.dlqId]);
    const byLabel = await qstash.dlq.retry({ filter: { label: "x" } });
    assert.equal(byId.responses.length, 1);
    assert.equal(byLabel.responses.length, 2);
    assert.equal(new Set([...byId.responses, ...byLabel.responses].map((r) => r.messageId)).size, 3);
    for (const { messageId } of [...byId.responses, ...byLabel.responses]) {
      assert.equal(states(await settled(messageId)).at(-1), "DELIVERED");
    }
    broken = true;
    assert.deepEqual(await list(), []);
    assert.ok(![a, b, c].some((e) => byId.responses[0].messageId === e.messageId));
  });

  test("with other settings", async () => {
    const entry = await fail("/mended", { label: "kept", headers: { "X-Mine": "1" } });
    const { status, body } = await raw("POST", `/v2/dlq/retry?dlqIds=${entry.dlqId}`, {
      headers: { "Upstash-Retries": "1", "Upstash-Retry-Delay": "10", "Upstash-Forward-X-More": "2" },
    });
    assert.ok(status === 200 || status === 201, `status ${status}`);
    const again = await dead(body.responses[0].messageId);
    assert.equal(again.maxRetries, 1);
    assert.equal(again.retryDelayExpression, "10");
    assert.equal(again.label, "kept");
    assert.deepEqual([again.header["X-Mine"], again.header["X-More"]], [["1"], ["2"]]);
    await empty();
  });

  test("what is not there", async () => {
    const { status } = await raw("POST", "/v2/dlq/retry/1-0");
    assert.equal(status, 404);
  });
});

verifySignatures();
