// The destination api/llm, behind which the server has a service that answers
// with what it was asked.
import assert from "node:assert/strict";
import { test } from "node:test";
import { upstash } from "@upstash/qstash";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { qstash, raw, settled } from "./lib/signpost.js";

const target = await endpoint();
target.on(/^\//, (_, res) => res.send());
const body = { model: "m", messages: [{ role: "user", content: "hello" }] };

async function answer(path, messageId) {
  const told = JSON.parse((await target.arrived(path)).body);
  assert.equal(told.sourceMessageId, messageId);
  assert.equal(told.url, "api/llm");
  assert.deepEqual(Object.keys(told.sourceHeader), ["Content-Type"]);
  return JSON.parse(Buffer.from(told.body, "base64"));
}

const want = { asked: body, path: "/v1/chat/completions", authorization: "Bearer the-operators" };

test("publish", async () => {
  const published = await qstash.publishJSON({ api: { name: "llm", provider: upstash() }, body, callback: `${target.url}/published` });
  assert.deepEqual(Object.keys(published), ["messageId"]);
  await settled(published.messageId);
  assert.deepEqual(await answer("/published", published.messageId), want);
  assert.equal((await qstash.messages.get(published.messageId)).url, "api/llm");
});

test("enqueue", async () => {
  const { messageId } = await qstash.queue({ queueName: "q" }).enqueueJSON({
    api: { name: "llm", provider: upstash() }, body, callback: `${target.url}/enqueued`,
  });
  assert.deepEqual(await answer("/enqueued", messageId), want);
});

test("batch", async () => {
  const [{ messageId }] = await qstash.batchJSON([
    { api: { name: "llm", provider: upstash() }, body, callback: `${target.url}/batch` },
  ]);
  assert.deepEqual(await answer("/batch", messageId), want);
});

test("without a callback", async () => {
  const { status, body: refused } = await raw("POST", "/v2/publish/api/llm", { body: "{}" });
  assert.equal(status, 400);
  assert.match(refused.error, /Upstash-Callback/);
});

verifySignatures();
