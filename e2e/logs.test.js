// Events of messages, through the official client.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { allSettled, qstash, raw, settled, states } from "./lib/signpost.js";

const target = await endpoint();
target.on("/ok", (_, res) => res.send("fine"));
target.on("/broken", (_, res) => res.status(500).send("broken"));

const ids = {};
before(async () => {
  const publish = async (name, path, settings) => {
    const { messageId } = await qstash.publish({ url: target.url + path, body: name, retries: 0, ...settings });
    ids[name] = messageId;
    await settled(messageId);
  };
  await publish("a", "/ok?a", { label: "red" });
  await publish("b", "/broken", { label: ["red", "blue"] });
  await publish("c", "/ok?c", { headers: { "X-Mine": "1" }, callback: undefined });
  const { messageId } = await qstash
    .queue({ queueName: "lane" })
    .enqueue({ url: `${target.url}/ok?d`, body: "d", retries: 0, flowControl: { key: "flow", parallelism: 2 } });
  ids.d = messageId;
  await settled(messageId);
});

test("an event", async () => {
  const { logs } = await qstash.logs({ filter: { messageId: ids.c } });
  assert.deepEqual(states(logs), ["DELIVERED", "ACTIVE", "CREATED"]);
  for (const event of logs) {
    assert.equal(typeof event.time, "number");
    assert.equal(event.messageId, ids.c);
    assert.equal(event.url, `${target.url}/ok?c`);
    assert.equal(event.method, "POST");
    assert.equal(event.maxRetries, 0);
    assert.deepEqual(event.header["X-Mine"], ["1"]);
    assert.equal(Buffer.from(event.body, "base64").toString(), "c");
    for (const name of ["topicName", "queueName", "scheduleId", "label"]) assert.equal(event[name], undefined, name);
  }
  assert.ok(logs[0].time >= logs[1].time && logs[1].time >= logs[2].time, "not newest first");
});

test("filters", async () => {
  const name = (event) => Object.keys(ids).find((key) => ids[key] === event.messageId);
  const found = async (filter) => [...new Set((await qstash.logs({ filter })).logs.map(name))].sort().join("");
  const cases = [
    [{}, "abcd"],
    [{ messageId: ids.a }, "a"],
    [{ state: "DELIVERED" }, "acd"],
    [{ state: "FAILED" }, "b"],
    [{ state: ["FAILED", "DELIVERED"] }, "abcd"],
    [{ state: "CANCELED" }, ""],
    [{ url: `${target.url}/ok?a` }, "a"],
    [{ path: "/ok" }, "acd"],
    [{ host: new URL(target.url).host }, "abcd"],
    [{ host: "example.com" }, ""],
    [{ label: "red" }, "ab"],
    [{ label: ["blue"] }, "b"],
    [{ callerIp: "127.0.0.1" }, "abcd"],
    [{ callerIp: "192.0.2.1" }, ""],
    [{ fromDate: Date.now() - 60_000, toDate: Date.now() }, "abcd"],
    [{ fromDate: Date.now() + 60_000 }, ""],
    [{ urlGroup: "g" }, ""],
    [{ queueName: "q" }, ""],
    [{ queueName: "lane" }, "d"],
    [{ queueName: ["q", "lane"], path: "/ok" }, "d"],
    [{ flowControlKey: "flow" }, "d"],
    [{ flowControlKey: "flow", label: "red" }, ""],
    [{ label: ["red", "green"], state: ["FAILED"], path: ["/broken", "/ok"] }, "b"],
    [{ scheduleId: "s" }, ""],
  ];
  for (const [filter, want] of cases) assert.equal(await found(filter), want, JSON.stringify(filter));
  const delivered = (await qstash.logs({ filter: { state: "DELIVERED" } })).logs;
  assert.deepEqual(new Set(states(delivered)), new Set(["DELIVERED"]));
});

test("events in progress", async () => {
  const { logs } = await qstash.logs({ filter: { state: "IN_PROGRESS" } });
  assert.ok(logs.length > 0 && logs.every((e) => ["ACTIVE", "RETRY", "ERROR"].includes(e.state)), states(logs).join());
});

test("cursors walk over every event once", async () => {
  const all = (await qstash.logs()).logs;
  assert.equal(all.length, 13);
  const walked = [];
  let cursor;
  do {
    const page = await qstash.logs({ cursor, count: 1 });
    assert.ok(page.logs.length <= 1);
    walked.push(...page.logs);
    ({ cursor } = page);
  } while (cursor);
  assert.deepEqual(walked, all);
  const { body } = await raw("GET", "/v2/events");
  assert.ok(!("cursor" in body), "a cursor on the last page");
  const oldest = await raw("GET", "/v2/events?order=earliestFirst");
  assert.deepEqual(oldest.body.events.map((e) => [e.messageId, e.state]), all.map((e) => [e.messageId, e.state]).reverse());
});

test("/v2/logs has them under both names", async () => {
  const { body } = await raw("GET", `/v2/logs?messageId=${ids.a}`);
  assert.equal(body.logs.length, 3);
  assert.deepEqual(body.events, body.logs);
});

test("events, as it was called before", async () => {
  const { events } = await qstash.events({ filter: { messageId: ids.a } });
  assert.deepEqual(states(events), ["DELIVERED", "ACTIVE", "CREATED"]);
});

describe("a hundred messages", () => {
  test("that fail have four events each, on one page", async () => {
    const from = Date.now();
    const answers = await qstash.batch(
      Array.from({ length: 100 }, () => ({ url: `${target.url}/broken`, retries: 0, label: "hundred" })),
    );
    await allSettled(answers.map((answer) => answer.messageId));
    const { logs, cursor } = await qstash.logs({ filter: { label: "hundred", fromDate: from } });
    assert.equal(logs.length, 400);
    assert.equal(cursor, undefined);
    for (const state of ["CREATED", "ACTIVE", "ERROR", "FAILED"]) {
      assert.equal(logs.filter((event) => event.state === state).length, 100, state);
    }
  });
  test("that are delivered have one DELIVERED each", async () => {
    const answers = await qstash.batch(
      Array.from({ length: 100 }, () => ({ url: `${target.url}/ok`, label: "delivered" })),
    );
    await allSettled(answers.map((answer) => answer.messageId));
    const { logs } = await qstash.logs({ filter: { label: "delivered", state: "DELIVERED" } });
    assert.deepEqual(new Set(logs.map((e) => e.messageId)), new Set(answers.map((a) => a.messageId)));
    assert.equal(logs.length, 100);
  });
});

verifySignatures();
