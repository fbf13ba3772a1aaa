// Limits, as the official client tells them apart.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client as QStash, QstashChatRatelimitError, QstashDailyRatelimitError, QstashError, QstashRatelimitError } from "@upstash/qstash";
import { Client as Workflow } from "@upstash/workflow";
import { raw, url } from "./lib/signpost.js";

const target = "https://example.com/";

// tenant is a new one with limits of its own.
let tenants = 0;
async function tenant(limits) {
  const userId = `tenant${++tenants}`;
  const { body } = await raw("POST", "/v2/tenants", { body: JSON.stringify({ userId }) });
  const set = await raw("PATCH", `/v2/tenants/${userId}/limits`, { body: JSON.stringify(limits) });
  assert.equal(set.status, 200, JSON.stringify(set.body));
  return { ...body, client: new QStash({ baseUrl: url, token: body.token, retry: { retries: 0 } }) };
}

// refused is the error of a request.
const refused = (request) => request().then(() => assert.fail("it was accepted"), (error) => error);

test("messages of a day", async () => {
  const { client, token } = await tenant({ messagesPerDay: 3 });
  const { messageId } = await client.publish({ url: target, delay: "1h" });
  await client.batchJSON([{ url: target, delay: "1h" }, { url: target, delay: "1h" }]);
  const midnight = new Date().setUTCHours(24, 0, 0, 0) / 1000;
  for (const request of [
    () => client.publish({ url: target, delay: "1h" }),
    () => client.publishJSON({ url: target, delay: "1h", body: {} }),
    () => client.batchJSON([{ url: target, delay: "1h" }]),
    () => client.queue({ queueName: "q" }).enqueueJSON({ url: target, delay: "1h" }),
  ]) {
    const error = await refused(request);
    assert.ok(error instanceof QstashDailyRatelimitError, error);
    assert.deepEqual([error.status, error.limit, error.remaining, error.reset], [429, "3", "0", String(midnight)]);
  }
  const error = await refused(() => new Workflow({ baseUrl: url, token, retry: { retries: 0 } }).trigger({ url: target }));
  assert.equal(error.name, "QstashDailyRatelimitError");
  assert.equal((await client.messages.get(messageId)).messageId, messageId); // it can still manage
});

test("requests of a second", async () => {
  const { client } = await tenant({ requestsPerSecond: 1, messagesPerDay: 100 });
  let error;
  for (let i = 0; i < 50 && !error; i++) {
    await client.logs().catch((e) => (error = e));
  }
  assert.ok(error instanceof QstashRatelimitError, error);
  assert.ok(!(error instanceof QstashDailyRatelimitError) && !(error instanceof QstashChatRatelimitError));
  assert.deepEqual([error.limit, error.remaining], ["1", "0"]);
  assert.ok(Math.abs(Number(error.reset) - Date.now() / 1000) < 60, error.reset);
  await Promise.all(Array.from({ length: 20 }, () => client.publish({ url: target, delay: "1h" })));
});

test("what a tenant may have", async () => {
  const { client } = await tenant({ maxQueues: 1, maxParallelism: 2, maxRetries: 5, maxDelay: 3600, maxMessageBytes: 10 });
  await client.queue({ queueName: "a" }).upsert({ parallelism: 2 });
  for (const [request, status, message] of [
    [() => client.queue({ queueName: "a" }).upsert({ parallelism: 3 }), 412, /parallelism: 3, at most 2/],
    [() => client.queue({ queueName: "b" }).upsert({}), 412, /queue b: there are 1 queues/],
    [() => client.queue({ queueName: "b" }).enqueue({ url: target }), 412, /queue b: there are 1 queues/],
    [() => client.publish({ url: target, retries: 6 }), 412, /Upstash-Retries: 6, at most 5/],
    [() => client.publish({ url: target, delay: "2h" }), 412, /Upstash-Delay: 2h0m0s, at most 1h0m0s/],
    [() => client.publish({ url: target, body: "12345678901" }), 413, /at most 10 bytes/],
  ]) {
    const error = await refused(request);
    assert.ok(error instanceof QstashError, error);
    assert.equal(error.status, status);
    assert.match(error.message, message);
  }
});
