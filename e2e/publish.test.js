// What the official client can ask of a publish, and what the server then
// delivers and tells about it.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Client } from "@upstash/qstash";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { dead, qstash, raw, settled, states, url } from "./lib/signpost.js";

const target = await endpoint();
target.on("/ok", (_, res) => res.send("fine"));
const ok = (query) => `${target.url}/ok?${query}`;
const deliveredTo = async (destination) =>
  (await target.arrived(new URL(destination).pathname), target.requests.find((r) => r.url === destination));

describe("delivery", () => {
  test("a message arrives as it was published", async () => {
    const destination = ok("text");
    const published = await qstash.publish({ url: destination, body: "héllo", headers: { "X-Trace": "1, 2" } });
    assert.match(published.messageId, /^msg_\w+$/);
    assert.equal(published.url, destination);
    assert.equal(published.deduplicated, undefined);
    const events = await settled(published.messageId);
    assert.deepEqual(states(events), ["CREATED", "ACTIVE", "DELIVERED"]);

    const { method, headers, body } = await deliveredTo(destination);
    assert.equal(method, "POST");
    assert.equal(body.toString(), "héllo");
    assert.equal(headers["content-type"], "text/plain;charset=UTF-8");
    assert.equal(headers["content-length"], "6");
    assert.equal(headers["x-trace"], "1, 2");
    assert.equal(headers["upstash-message-id"], published.messageId);
    assert.equal(headers["upstash-retried"], "0");
    assert.equal(headers["user-agent"], "Upstash-QStash");
    assert.equal(headers["upstash-caller-ip"], "127.0.0.1");
    assert.equal(headers.authorization, undefined);
    assert.deepEqual(Object.keys(headers).filter((name) => /telemetry|forward|method/.test(name)), []);
  });

  test("publishJSON", async () => {
    const destination = ok("json");
    const { messageId } = await qstash.publishJSON({ url: destination, body: { text: "<&>", n: 1.5 } });
    await settled(messageId);
    const { headers, body } = await deliveredTo(destination);
    assert.equal(headers["content-type"], "application/json");
    assert.equal(body.toString(), '{"text":"<&>","n":1.5}');
  });

  test("a message without body and content type has neither", async () => {
    const destination = ok("nothing");
    const { messageId } = await qstash.publish({ url: destination });
    await settled(messageId);
    const { headers, body } = await deliveredTo(destination);
    assert.equal(headers["content-type"], undefined);
    assert.equal(body.length, 0);
    const message = await qstash.messages.get(messageId);
    assert.equal(message.header, undefined);
    assert.equal(message.body, undefined);
    assert.equal(message.bodyBase64, undefined);
  });

  test("bytes that are no text", async () => {
    const destination = ok("bytes");
    const bytes = Buffer.from([0, 255, 254, 10, 13, 128]);
    const { messageId } = await qstash.publish({
      url: destination, body: bytes, headers: { "Content-Type": "application/octet-stream" },
    });
    await settled(messageId);
    assert.deepEqual((await deliveredTo(destination)).body, bytes);
    const message = await qstash.messages.get(messageId);
    assert.equal(message.bodyBase64, bytes.toString("base64"));
    assert.equal(message.body, undefined);
  });

  for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
    test(`${method} with a body`, async () => {
      const destination = ok(method);
      const { messageId } = await qstash.publish({ url: destination, method, body: method });
      await settled(messageId);
      const request = await deliveredTo(destination);
      assert.equal(request.method, method);
      assert.equal(request.body.toString(), method);
      assert.equal((await qstash.messages.get(messageId)).method, method);
    });
  }

  test("a destination stays as it is, byte for byte", async () => {
    const destination = `${target.url}/ok//a%2Fb%20c/%C3%BC/?q=1&q=%3D+%26&upstash&empty=`;
    target.on(/^\/ok\/\//, (_, res) => res.send());
    const { messageId, url } = await qstash.publish({ url: destination, body: "x" });
    assert.equal(url, destination);
    await settled(messageId);
    assert.ok(target.requests.some((r) => r.url === destination), "not delivered to the destination");
    assert.equal((await qstash.messages.get(messageId)).url, destination);
  });

  test("a destination without path gets none", async () => {
    const { messageId } = await qstash.publish({ url: "http://example.com", body: "x", delay: "1h" });
    const message = await qstash.messages.get(messageId);
    assert.equal(message.url, "http://example.com");
    assert.deepEqual(await qstash.messages.cancel(messageId), { cancelled: 1 });
  });

  test("a message can be read right after it was delivered", async () => {
    const { messageId } = await qstash.publish({ url: ok("read"), body: "x" });
    assert.equal((await qstash.messages.get(messageId)).messageId, messageId);
    await settled(messageId);
    assert.equal((await qstash.messages.get(messageId)).messageId, messageId);
  });
});

describe("message", () => {
  test("keeps the content type and forwarded headers, nothing else", async () => {
    const before = Date.now();
    const { messageId } = await qstash.publish({
      url: ok("header"), body: "x", headers: { "bypass-TUNNEL-reminder": "yes", "Content-Type": "text/css" },
    });
    const message = await qstash.messages.get(messageId);
    assert.deepEqual(message.header, { "Content-Type": ["text/css"], "Bypass-Tunnel-Reminder": ["yes"] });
    assert.equal(message.body, "x");
    assert.equal(message.maxRetries, 3);
    assert.equal(message.callerIP, "127.0.0.1");
    assert.ok(message.createdAt >= before && message.createdAt <= Date.now(), `created at ${message.createdAt}`);
    assert.equal(message.notBefore, message.createdAt);
    for (const name of ["topicName", "queueName", "scheduleId", "callback", "failureCallback", "label", "labels", "rate"]) {
      assert.equal(message[name], undefined, name);
    }
  });

  test("keeps settings", async () => {
    const settings = {
      callback: "https://example.com/callback?a=b&c=/d", failureCallback: "https://example.com/failure/?e",
    };
    const { messageId } = await qstash.publish({
      url: "https://example.com/settings", body: "x", delay: "1h", retries: 7, retryDelay: "pow(2, retried) * 1000",
      label: ["one", "two"], timeout: 90, ...settings,
    });
    const message = await qstash.messages.get(messageId);
    assert.equal(message.maxRetries, 7);
    assert.equal(message.retryDelayExpression, "pow(2, retried) * 1000");
    assert.equal(message.callback, settings.callback);
    assert.equal(message.failureCallback, settings.failureCallback);
    assert.equal(message.label, "one");
    assert.deepEqual(message.labels, ["one", "two"]);
    const { logs } = await qstash.logs({ messageIds: [messageId] });
    assert.equal(logs[0].timeout, 90_000);
    assert.equal(logs[0].label, "one");
    assert.equal(logs[0].retryDelayExpr, "pow(2, retried) * 1000");
    assert.equal(logs[0].retryDelayExpression, "pow(2, retried) * 1000");
    await qstash.messages.cancel(messageId);
  });

  test("one label as a string", async () => {
    const { messageId } = await qstash.publish({ url: ok("label"), label: "only" });
    const message = await qstash.messages.get(messageId);
    assert.equal(message.label, "only");
    assert.deepEqual(message.labels, ["only"]);
  });
});

describe("time", { concurrency: true }, () => {
  const later = async (settings, seconds) => {
    const { messageId } = await qstash.publish({ url: ok("later"), body: "x", ...settings });
    const { notBefore, createdAt } = await qstash.messages.get(messageId);
    assert.equal(notBefore, seconds === undefined ? settings.notBefore * 1000 : createdAt + seconds * 1000);
    await qstash.messages.cancel(messageId);
  };
  test("delay in seconds", () => later({ delay: 100 }, 100));
  test("delay as text", () => later({ delay: "1h30m3s" }, 5403));
  test("delay in days", () => later({ delay: "2d10h" }, 58 * 3600));
  test("not before", () => later({ notBefore: Math.floor(Date.now() / 1000) + 3600 }));
  test("not before, which wins over delay", () =>
    later({ notBefore: Math.floor(Date.now() / 1000) + 3600, delay: "10s" }));

  test("a delayed message waits", async () => {
    const destination = ok("delayed");
    const { messageId } = await qstash.publish({ url: destination, delay: 1 });
    const events = await settled(messageId);
    assert.deepEqual(states(events), ["CREATED", "ACTIVE", "DELIVERED"]);
    const { at } = await deliveredTo(destination);
    assert.ok(at - events[0].time >= 1000, `delivered after ${at - events[0].time} ms`);
    assert.equal(events[0].nextDeliveryTime, events[0].time + 1000);
  });

  test("what is due already goes out at once", async () => {
    const { messageId } = await qstash.publish({ url: ok("past"), notBefore: 1_600_000_000 });
    await settled(messageId);
  });
});

describe("retries", { concurrency: true }, () => {
  // failing answers with status n times, then 200.
  const failing = (path, n, status, headers = {}) => {
    let left = n;
    target.on(path, (_, res) => (left-- > 0 ? res.status(status).set(headers).send("not now") : res.send("now")));
    return target.url + path;
  };

  test("with a delay of one's own", async () => {
    const { messageId } = await qstash.publish({
      url: failing("/twice", 2, 503), body: "again", retries: 2, retryDelay: "50 * (1 + retried)",
    });
    const events = await settled(messageId);
    assert.deepEqual(states(events), [
      "CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED",
    ]);
    const attempts = target.received("/twice");
    assert.deepEqual(attempts.map((a) => a.headers["upstash-retried"]), ["0", "1", "2"]);
    assert.deepEqual(new Set(attempts.map((a) => a.headers["upstash-message-id"])), new Set([messageId]));
    assert.deepEqual(attempts.map((a) => a.body.toString()), ["again", "again", "again"]);
    assert.ok(attempts[1].at - attempts[0].at >= 50, "first retry too early");
    assert.ok(attempts[2].at - attempts[1].at >= 100, "second retry too early");
    const [error, retry] = events.slice(2, 4);
    assert.equal(error.responseStatus, 503);
    assert.equal(Buffer.from(error.responseBody, "base64").toString(), "not now");
    assert.deepEqual(error.responseHeaders["Content-Type"], ["text/html; charset=utf-8"]);
    assert.deepEqual(error.responseHeader, error.responseHeaders);
    assert.ok(retry.nextDeliveryTime >= retry.time, "no time of the retry");
    assert.equal(new Set(attempts.map((a) => a.headers["upstash-signature"])).size, 3, "signatures are reused");
  });

  test("none of them", async () => {
    const { messageId } = await qstash.publish({ url: failing("/never", 9, 500), retries: 0 });
    assert.deepEqual(states(await settled(messageId)), ["CREATED", "ACTIVE", "ERROR", "FAILED"]);
    assert.equal(target.received("/never").length, 1);
  });

  test("at the default pace", async () => {
    const { messageId } = await qstash.publish({ url: failing("/slow", 9, 500), retries: 1 });
    const events = await settled(messageId);
    assert.deepEqual(states(events), ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "FAILED"]);
    const [first, second] = target.received("/slow");
    assert.ok(second.at - first.at > 12_000 && second.at - first.at < 13_500, `after ${second.at - first.at} ms`);
  });

  for (const header of ["Retry-After", "X-RateLimit-Reset", "X-RateLimit-Reset-Requests", "X-RateLimit-Reset-Tokens"]) {
    test(`when ${header} says`, async () => {
      const destination = failing(`/${header}`, 1, 429, { [header]: "1" });
      const { messageId } = await qstash.publish({ url: destination, retries: 1 });
      assert.equal(states(await settled(messageId)).at(-1), "DELIVERED");
      const [first, second] = target.received(`/${header}`);
      assert.ok(second.at - first.at >= 1000 && second.at - first.at < 5000, `after ${second.at - first.at} ms`);
    });
  }

  test("not after 489", async () => {
    const destination = failing("/489", 9, 489, { "Upstash-NonRetryable-Error": "true" });
    const { messageId } = await qstash.publish({ url: destination, retryDelay: "10" });
    assert.deepEqual(states(await settled(messageId)), ["CREATED", "ACTIVE", "ERROR", "FAILED"]);
  });

  test("after a plain 489", async () => {
    const { messageId } = await qstash.publish({ url: failing("/plain489", 1, 489), retryDelay: "10" });
    assert.equal(states(await settled(messageId)).at(-1), "DELIVERED");
  });

  test("after a timeout", async () => {
    target.on("/hang", () => {});
    const { messageId } = await qstash.publish({ url: `${target.url}/hang`, retries: 0, timeout: 0.5 });
    const events = await settled(messageId);
    assert.deepEqual(states(events), ["CREATED", "ACTIVE", "ERROR", "FAILED"]);
    assert.match(events[2].error, /time/i);
    assert.equal((await dead(messageId)).responseStatus, 0);
  });

  test("when nobody listens", async () => {
    const gone = await endpoint();
    gone.close();
    const { messageId } = await qstash.publish({ url: gone.url + "/x", retries: 1, retryDelay: "10" });
    const events = await settled(messageId);
    assert.equal(states(events).join(), "CREATED,ACTIVE,ERROR,RETRY,ACTIVE,ERROR,FAILED");
    assert.notEqual(events[2].error ?? "", "");
  });

  test("instead of a redirect", async () => {
    const destination = failing("/moved", 9, 302, { Location: `${target.url}/ok?moved` });
    const { messageId } = await qstash.publish({ url: destination, retries: 0 });
    assert.equal(states(await settled(messageId)).at(-1), "FAILED");
    assert.equal((await dead(messageId)).responseStatus, 302);
    assert.ok(!target.requests.some((r) => r.url === ok("moved")), "the redirect was followed");
  });
});

describe("deduplication", () => {
  test("by id", async () => {
    const publish = (body) => qstash.publish({ url: ok("dedup"), body, deduplicationId: "order-1" });
    const first = await publish("one");
    const second = await publish("two");
    assert.deepEqual(second, { messageId: first.messageId, url: ok("dedup"), deduplicated: true });
    await settled(first.messageId);
    assert.equal(target.requests.filter((r) => r.url === ok("dedup")).length, 1);
  });

  test("answers 202", async () => {
    const headers = { "Upstash-Deduplication-Id": "order-2" };
    const first = await raw("POST", `/v2/publish/${ok("dedup2")}`, { headers });
    const second = await raw("POST", `/v2/publish/${ok("dedup2")}`, { headers });
    assert.deepEqual([first.status, second.status], [200, 202]);
  });

  test("by content", async () => {
    const publish = (body, headers) =>
      qstash.publishJSON({ url: ok("content"), body, headers, contentBasedDeduplication: true });
    const first = await publish({ a: 1 });
    assert.equal((await publish({ a: 1 })).deduplicated, true);
    assert.equal((await publish({ a: 2 })).deduplicated, undefined);
    assert.equal((await publish({ a: 1 }, { "X-Other": "1" })).deduplicated, undefined);
    assert.notEqual((await qstash.publishJSON({ url: ok("content"), body: { a: 1 } })).messageId, first.messageId);
  });
});

describe("refusal", () => {
  const refused = (name, request, status, message) =>
    test(name, async () => {
      const created = async () => (await qstash.logs({ filter: { state: "CREATED" } })).logs.length;
      const before = await created();
      await assert.rejects(qstash.publish(request), (error) => {
        assert.equal(error.constructor.name, "QstashError");
        assert.ok([status].flat().includes(error.status), `status ${error.status}`);
        assert.match(JSON.parse(error.message).error, message);
        return true;
      });
      assert.equal(await created(), before, "something was stored");
    });
  const at = "https://example.com";
  refused("no scheme", { url: "example.com/x" }, 400, /^invalid destination url: endpoint has invalid scheme, add http:\/\/ or https:\/\/$/);
  refused("an unknown group", { urlGroup: "strangers" }, [400, 404], /topic strangers not found/);
  refused("a colon in the deduplication id", { url: at, deduplicationId: "a:b" }, 400, /^DeduplicationId cannot contain ':'$/);
  refused("a bad delay", { url: at, delay: "soon" }, 400, /Upstash-Delay/);
  refused("a bad timeout", { url: at, timeout: "-1s" }, 400, /Upstash-Timeout/);
  refused("a bad retry delay", { url: at, retryDelay: "exec(1)" }, 400, /Upstash-Retry-Delay/);
  refused("a bad label", { url: at, label: "a b" }, 400, /Upstash-Label/);
  refused("a bad callback", { url: at, callback: "/relative" }, 400, /Upstash-Callback/);
  refused("a bad failure callback", { url: at, failureCallback: "ftp://x" }, 400, /Upstash-Failure-Callback/);
  refused("a bad method", { url: at, method: "BREW" }, 400, /Upstash-Method/);
  refused("too many retries", { url: at, retries: 100_000 }, 412, /retries/i);
  refused("flow control that bounds nothing", { url: at, flowControl: { key: "k", rate: 0 } }, 400, /^Upstash-Flow-Control-Value should be/);
  refused("redaction of what there is not", { url: at, redact: { header: ["a b"] } }, 400, /Upstash-Redact-Fields/);

  test("no destination", async () => {
    const { status, body } = await raw("POST", "/v2/publish/");
    assert.equal(status, 400);
    assert.match(body.error, /a non-empty destination must be provided/);
  });

  test("a body over the limit", async () => {
    await assert.rejects(qstash.publish({ url: at, body: Buffer.alloc(11 << 20) }), { status: 413 });
  });

  test("a wrong token", async () => {
    const stranger = new Client({ token: "wrong" });
    await assert.rejects(stranger.publish({ url: at }), { status: 401 });
    await assert.rejects(stranger.messages.get("msg_1"), { status: 401 });
    await assert.rejects(stranger.logs(), { status: 401 });
  });
});

test("the server's keys are those it says", async () => {
  const { body } = await raw("GET", "/v2/keys");
  assert.deepEqual(body, {
    current: process.env.QSTASH_CURRENT_SIGNING_KEY, next: process.env.QSTASH_NEXT_SIGNING_KEY,
  });
});

test("what is no SDK's business", async () => {
  const response = await fetch(url + "/v2/nothing", { headers: { Authorization: "Bearer x" } });
  assert.equal(response.status, 404);
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.match((await response.json()).error, /no such route/);
});

verifySignatures();
