// Tokens with scopes, in the hands of the official clients.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client as QStash } from "@upstash/qstash";
import { Client as Workflow } from "@upstash/workflow";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { qstash, raw, settled, url } from "./lib/signpost.js";

const target = await endpoint();
target.on(/^\//, (_, res) => res.send());

async function create(...scopes) {
  const { status, body } = await raw("POST", "/v2/tokens", { body: JSON.stringify({ name: scopes.join("+"), scopes }) });
  assert.equal(status, 201, JSON.stringify(body));
  return body;
}

const client = (token) => new QStash({ baseUrl: url, token, retry: { retries: 0 } });
const forbidden = { status: 403, message: /forbidden: the token has the scopes/ };

test("a token to publish and read", async () => {
  const { token } = await create("publish", "read");
  const mine = client(token);
  const { messageId } = await mine.publishJSON({ url: `${target.url}/mine`, body: { n: 1 } });
  await settled(messageId);
  assert.equal((await mine.messages.get(messageId)).body, '{"n":1}');
  assert.equal((await mine.logs({ messageIds: [messageId] })).logs[0].state, "DELIVERED");
  assert.equal((await raw("GET", "/v2/keys", { as: token })).status, 403);
  assert.equal((await raw("POST", "/v2/keys/rotate", { as: token })).status, 403);
  assert.equal((await raw("POST", "/v2/tokens", { as: token, body: "{}" })).status, 403);
});

test("a read-only token", async () => {
  const { token } = await create("read");
  const { messageId } = await qstash.publish({ url: `${target.url}/later`, body: "secret", delay: "1h" });
  const reader = client(token);
  assert.equal((await reader.messages.get(messageId)).body, "secret");
  assert.ok((await reader.logs()).logs.length > 0);
  assert.deepEqual((await reader.dlq.listMessages()).messages, []);
  assert.deepEqual((await new Workflow({ baseUrl: url, token }).logs()).runs, []);
  await assert.rejects(reader.publish({ url: `${target.url}/never` }), forbidden);
  await assert.rejects(reader.messages.cancel(messageId), forbidden);
  await assert.rejects(new Workflow({ baseUrl: url, token, retry: { retries: 0 } }).trigger({ url: `${target.url}/never` }), forbidden);
  assert.equal((await raw("GET", "/v2/keys", { as: token })).status, 403);
  assert.equal(target.received("/never").length, 0);
  assert.equal((await qstash.messages.get(messageId)).messageId, messageId);
});

test("a token for metadata sees no content", async () => {
  const { token } = await create("read-metadata");
  const { messageId } = await qstash.publish({
    url: `${target.url}/meta`,
    body: "secret",
    delay: "1h",
    headers: { Authorization: "theirs" },
  });
  const message = await client(token).messages.get(messageId);
  assert.equal(message.url, `${target.url}/meta`);
  assert.equal(message.body, undefined);
  assert.deepEqual(message.header.Authorization, []);
});

test("a revoked token is refused at once", async () => {
  const { id, token } = await create("publish");
  const mine = client(token);
  await mine.publish({ url: `${target.url}/before` });
  assert.equal((await raw("DELETE", `/v2/tokens/${id}`)).status, 200);
  await assert.rejects(mine.publish({ url: `${target.url}/after` }), { status: 401 });
  assert.equal(target.received("/after").length, 0);
});

verifySignatures();
