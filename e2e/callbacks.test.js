// Callbacks and failure callbacks of messages.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { dead, qstash, settled, states } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const target = await endpoint();
target.on("/ok", (_, res) => res.status(201).set("X-Answer", "a<b>&c").send("done"));
target.on("/empty", (_, res) => res.status(204).end());
target.on("/bytes", (_, res) => res.type("application/octet-stream").send(Buffer.from([0, 255, 128])));
target.on("/broken", (_, res) => res.status(500).send("out of order"));
let flaky = 1;
target.on("/flaky", (_, res) => (flaky-- > 0 ? res.status(503).send("not now") : res.send("now")));
target.on(/^\/back/, (_, res) => res.send());
target.on("/busy-back", (_, res) => (target.received("/busy-back").length < 2 ? res.status(500).send() : res.send()));

const text = (base64) => Buffer.from(base64, "base64").toString();
const callbacks = async (path, n = 1) => {
  await target.arrived(path, n);
  return target.received(path).map((request) => ({ ...JSON.parse(request.body), request }));
};

describe("callback", { concurrency: true }, () => {
  test("tells of a delivery", async () => {
    const callback = `${target.url}/back/delivered?of=1&x=/y`;
    const { messageId } = await qstash.publish({
      url: `${target.url}/ok?a=b`, body: "original", headers: { "X-Mine": "1" }, callback,
    });
    const [told] = await callbacks("/back/delivered");
    assert.equal(told.request.url, callback);
    assert.equal(told.request.method, "POST");
    assert.equal(told.request.headers["content-type"], "application/json");
    assert.notEqual(told.request.headers["upstash-message-id"], messageId);
    assert.equal(told.request.headers["x-mine"], undefined);
    const message = await qstash.messages.get(messageId);
    assert.equal(message.callback, callback);

    assert.equal(told.status, 201);
    assert.deepEqual(told.header["X-Answer"], ["a<b>&c"]);
    assert.equal(text(told.body), "done");
    assert.ok(!told.retried, `retried ${told.retried}`);
    assert.equal(told.maxRetries, 3);
    assert.equal(told.sourceMessageId, messageId);
    assert.equal(told.url, `${target.url}/ok?a=b`);
    assert.equal(told.method, "POST");
    assert.deepEqual(told.sourceHeader["X-Mine"], ["1"]);
    assert.equal(text(told.sourceBody), "original");
    assert.equal(told.createdAt, message.createdAt);
    assert.equal(told.notBefore, message.notBefore);
    assert.equal(told.callerIP, "127.0.0.1");
    for (const name of ["dlqId", "topicName", "endpointName", "scheduleId"]) assert.equal(told[name], undefined, name);
  });

  test("is a message with a history", async () => {
    await qstash.publish({ url: `${target.url}/ok`, callback: `${target.url}/back/history` });
    const [{ request }] = await callbacks("/back/history");
    const events = await settled(request.headers["upstash-message-id"]);
    assert.deepEqual(states(events), ["CREATED", "ACTIVE", "DELIVERED"]);
    assert.equal(events[0].url, `${target.url}/back/history`);
  });

  test("tells of every attempt", async () => {
    const { messageId } = await qstash.publish({
      url: `${target.url}/flaky`, retries: 2, retryDelay: "20", callback: `${target.url}/back/attempts`,
    });
    await settled(messageId);
    const told = await callbacks("/back/attempts", 2);
    told.sort((a, b) => (a.retried ?? 0) - (b.retried ?? 0));
    assert.deepEqual(told.map((t) => [t.status, t.retried ?? 0, text(t.body)]), [[503, 0, "not now"], [200, 1, "now"]]);
  });

  test("of an answer without body", async () => {
    await qstash.publish({ url: `${target.url}/empty`, callback: `${target.url}/back/empty` });
    const [told] = await callbacks("/back/empty");
    assert.equal(told.status, 204);
    assert.ok(!told.body, `body ${told.body}`);
  });

  test("of an answer of bytes", async () => {
    await qstash.publish({ url: `${target.url}/bytes`, callback: `${target.url}/back/bytes` });
    const [told] = await callbacks("/back/bytes");
    assert.deepEqual([...Buffer.from(told.body, "base64")], [0, 255, 128]);
  });

  test("has settings of its own", async () => {
    await qstash.publish({
      url: `${target.url}/ok`, retries: 5, callback: `${target.url}/back/settings`,
      headers: {
        "Upstash-Callback-Method": "PUT", "Upstash-Callback-Forward-X-Back": "yes", "Upstash-Callback-Retries": "1",
        "Upstash-Callback-Delay": "1s",
      },
    });
    const [{ request }] = await callbacks("/back/settings");
    assert.equal(request.method, "PUT");
    assert.equal(request.headers["x-back"], "yes");
    const events = await settled(request.headers["upstash-message-id"]);
    assert.equal(events[0].maxRetries, 1);
    assert.ok(request.at - events[0].time >= 1000, "not delayed");
  });

  test("inherits retries and is retried", async () => {
    await qstash.publish({
      url: `${target.url}/ok`, retries: 2, callback: `${target.url}/busy-back`,
      headers: { "Upstash-Callback-Retry-Delay": "20" },
    });
    const [first, second] = await callbacks("/busy-back", 2);
    assert.equal(first.request.headers["upstash-message-id"], second.request.headers["upstash-message-id"]);
    assert.deepEqual(first.request.body, second.request.body);
    const events = await settled(first.request.headers["upstash-message-id"]);
    assert.equal(events[0].maxRetries, 2);
    assert.equal(states(events).at(-1), "DELIVERED");
  });
});

describe("failure callback", { concurrency: true }, () => {
  test("tells of the end, once", async () => {
    const { messageId } = await qstash.publish({
      url: `${target.url}/broken`, body: "original", retries: 1, retryDelay: "10",
      callback: `${target.url}/back/both`, failureCallback: `${target.url}/back/failed?f`,
    });
    const [told] = await callbacks("/back/failed");
    const entry = await dead(messageId);
    assert.equal(told.dlqId, entry.dlqId);
    assert.equal(told.status, 500);
    assert.equal(text(told.body), "out of order");
    assert.equal(told.retried, 1);
    assert.equal(told.maxRetries, 1);
    assert.equal(told.sourceMessageId, messageId);
    assert.equal(text(told.sourceBody), "original");
    assert.equal(entry.failureCallback, `${target.url}/back/failed?f`);
    const attempts = await callbacks("/back/both", 2);
    assert.deepEqual(attempts.map((t) => t.status), [500, 500]);
    assert.equal(target.received("/back/failed").length, 1);
  });

  test("has settings of its own", async () => {
    await qstash.publish({
      url: `${target.url}/broken`, retries: 0, failureCallback: `${target.url}/back/failure-settings`,
      headers: { "Upstash-Failure-Callback-Method": "PATCH", "Upstash-Failure-Callback-Forward-X-Back": "no" },
    });
    const [{ request }] = await callbacks("/back/failure-settings");
    assert.equal(request.method, "PATCH");
    assert.equal(request.headers["x-back"], "no");
  });

  test("does not come when all is well, nor after a cancel", async () => {
    const { messageId } = await qstash.publish({
      url: `${target.url}/ok`, callback: `${target.url}/back/well`, failureCallback: `${target.url}/back/unwell`,
    });
    await settled(messageId);
    await callbacks("/back/well");
    const canceled = await qstash.publish({
      url: `${target.url}/broken`, retryDelay: "3600000", failureCallback: `${target.url}/back/unwell`,
    });
    await until("a retry", async () => {
      const { logs } = await qstash.logs({ messageIds: [canceled.messageId] });
      return logs[0]?.state === "RETRY";
    });
    await qstash.messages.cancel(canceled.messageId);
    assert.equal(states(await settled(canceled.messageId)).at(-1), "CANCELED");
    const { logs } = await qstash.logs({ filter: { url: `${target.url}/back/unwell` } });
    assert.deepEqual(logs, []);
  });
});

verifySignatures();
