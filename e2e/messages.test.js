// Messages read and canceled by the official client.
import assert from "node:assert/strict";
import { test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { qstash, raw, reached, settled, states } from "./lib/signpost.js";

const target = await endpoint();
target.on("/ok", (_, res) => res.send());
target.on("/missing", (_, res) => res.status(404).send("404 Not Found"));
let release;
const released = new Promise((resolve) => (release = resolve));
target.on("/held", (_, res) => released.then(() => res.status(500).send("late")));
target.on("/held-ok", (_, res) => released.then(() => res.send("late")));

const delayed = async ({ queueName, ...settings } = {}) => {
  const message = { url: "https://example.com/later", body: "x", delay: "1h", ...settings };
  const { messageId } = await (queueName ? qstash.queue({ queueName }).enqueue(message) : qstash.publish(message));
  return messageId;
};

test("an unknown message", async () => {
  for (const call of [() => qstash.messages.get("msg_unknown"), () => qstash.messages.cancel("msg_unknown")]) {
    await assert.rejects(call, (error) => {
      assert.equal(error.status, 404);
      assert.equal(typeof JSON.parse(error.message).error, "string");
      return true;
    });
  }
});

test("cancel one", async () => {
  const id = await delayed();
  assert.deepEqual(await qstash.messages.cancel(id), { cancelled: 1 });
  assert.deepEqual(states(await settled(id)), ["CREATED", "CANCEL_REQUESTED", "CANCELED"]);
  await assert.rejects(qstash.messages.cancel(id), { status: 404 });
});

test("delete, as it was called before", async () => {
  const ids = [await delayed(), await delayed(), await delayed(), await delayed()];
  await qstash.messages.delete(ids[0]);
  assert.equal(await qstash.messages.deleteMany(ids.slice(0, 3)), 2);
  assert.equal(await qstash.messages.deleteAll(), 1);
});

test("a delivered message cannot be canceled", async () => {
  const { messageId } = await qstash.publish({ url: `${target.url}/ok` });
  await settled(messageId);
  await assert.rejects(qstash.messages.cancel(messageId), { status: 404 });
  assert.deepEqual(await qstash.messages.cancel([messageId]), { cancelled: 0 });
});

test("two by their ids, then one of all", async () => {
  const ids = [await delayed(), await delayed(), await delayed()];
  assert.deepEqual(await qstash.messages.cancel([ids[0], ids[1], "msg_unknown"]), { cancelled: 2 });
  assert.deepEqual(await qstash.messages.cancel({ all: true }), { cancelled: 1 });
  for (const id of ids) assert.equal(states(await settled(id)).at(-1), "CANCELED");
  assert.deepEqual(await qstash.messages.cancel({ all: true }), { cancelled: 0 });
});

test("messages delayed, to be retried, and being delivered", async () => {
  const waiting = await delayed();
  const { messageId: retrying } = await qstash.publish({ url: `${target.url}/missing`, retryDelay: "3600000" });
  const { messageId: active } = await qstash.publish({ url: `${target.url}/held`, retryDelay: "10" });
  const { messageId: succeeding } = await qstash.publish({ url: `${target.url}/held-ok` });
  await reached(retrying, "RETRY");
  await Promise.all([target.arrived("/held"), target.arrived("/held-ok")]);
  const ids = [waiting, retrying, active, succeeding];
  assert.deepEqual(await qstash.messages.cancel(ids), { cancelled: 4 });
  await reached(active, "CANCEL_REQUESTED");
  assert.deepEqual(await qstash.messages.cancel(ids), { cancelled: 0 });
  release();
  const [w, r, a, s] = await Promise.all(ids.map((id) => settled(id)));
  assert.equal(states(w).at(-1), "CANCELED");
  assert.equal(states(r).at(-1), "CANCELED");
  assert.equal(states(a).at(-1), "CANCELED");
  assert.equal(states(s).at(-1), "DELIVERED", "what arrived was delivered");
  assert.equal(target.received("/held").length, 1, "a canceled message was retried");
});

test("by filter", async () => {
  const make = {
    a: { url: "https://a.example.com/x/y?q=1", label: "red" },
    b: { url: "https://b.example.com/x/y", label: ["red", "blue"] },
    c: { url: "https://b.example.com/z", label: "green" },
    d: { url: "https://b.example.com:8443/z", label: "black" },
    e: { url: "https://c.example.com/", label: "flow", flowControl: { key: "by-filter", rate: 1 } },
    f: { url: "https://c.example.com/", label: "queue", queueName: "by-filter" },
  };
  const cases = [
    [{ url: make.a.url }, "a"],
    [{ url: [make.a.url, make.c.url] }, "ac"],
    [{ label: "red" }, "ab"],
    [{ label: ["blue", "green"] }, "bc"],
    [{ host: "b.example.com" }, "bcd"],
    [{ host: "b.example.com:8443" }, "d"],
    [{ host: "example.com" }, ""],
    [{ path: "/x/y" }, "ab"],
    [{ path: "/x" }, ""],
    [{ host: "b.example.com", path: ["/x/y", "/nothing"] }, "b"],
    [{ callerIp: "127.0.0.1", label: "black" }, "d"],
    [{ callerIp: "192.0.2.1" }, ""],
    [{ flowControlKey: "by-filter" }, "e"],
    [{ flowControlKey: ["by-filter", "none"], label: "red" }, ""],
    [{ queueName: "by-filter" }, "f"],
    [{ urlGroup: "none" }, ""],
    [{ scheduleId: "none" }, ""],
    [{ fromDate: new Date(Date.now() - 60_000), label: "green" }, "c"],
    [{ toDate: Date.now() - 60_000 }, ""],
    [{ fromDate: Date.now() + 60_000 }, ""],
  ];
  for (const [filter, want] of cases) {
    const ids = {};
    for (const [name, settings] of Object.entries(make)) ids[name] = await delayed(settings);
    const { cancelled } = await qstash.messages.cancel({ filter });
    const canceled = [];
    for (const [name, id] of Object.entries(ids)) {
      const { logs } = await qstash.logs({ messageIds: [id] });
      if (logs[0].state !== "CREATED") canceled.push(name);
    }
    assert.equal(canceled.join(""), want, `canceled by ${JSON.stringify(filter)}`);
    assert.equal(cancelled, want.length, `count by ${JSON.stringify(filter)}`);
    await qstash.messages.cancel({ all: true });
  }
});

test("a hundred at a time, until none is left", async () => {
  await qstash.batch(
    Array.from({ length: 230 }, () => ({ url: "https://example.com/later", delay: "1h", label: "many" })),
  );
  const counts = [];
  do {
    counts.push((await qstash.messages.cancel({ filter: { label: "many" } })).cancelled);
  } while (counts.at(-1) > 0);
  assert.deepEqual(counts, [100, 100, 30, 0]);
});

test("a mistyped filter cancels nothing", async () => {
  const id = await delayed({ label: "kept" });
  await assert.rejects(qstash.messages.cancel({ filter: { labeel: "other" } }), { status: 400 });
  const { status } = await raw("DELETE", "/v2/messages?labeel=other");
  assert.equal(status, 400);
  assert.deepEqual(await qstash.messages.cancel(id), { cancelled: 1 });
});

test("what is canceled goes nowhere", async () => {
  const { messageId } = await qstash.publish({ url: `${target.url}/ok?canceled`, delay: 1 });
  await qstash.messages.cancel(messageId);
  const { messageId: after } = await qstash.publish({ url: `${target.url}/ok?after`, delay: 2 });
  await settled(after);
  assert.ok(!target.requests.some((r) => r.url.endsWith("?canceled")), "a canceled message was delivered");
});

verifySignatures();
