// Signatures of deliveries, checked by the official Receiver.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Client, Receiver } from "@upstash/qstash";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { qstash, raw, receiver } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const target = await endpoint();
target.on("/signed", (_, res) => res.send());
const rotated = await endpoint({ apart: true });
rotated.on("/rotated", (_, res) => res.status(503).send());

const claims = (request) => JSON.parse(Buffer.from(request.headers["upstash-signature"].split(".")[1], "base64url"));

describe("a signature", () => {
  let request, signature, body;
  before(async () => {
    await qstash.publish({ url: `${target.url}/signed?a=1`, body: "original" });
    request = await target.arrived("/signed");
    signature = request.headers["upstash-signature"];
    body = request.body.toString();
  });

  test("holds for its body and URL", async () => {
    assert.equal(await receiver.verify({ signature, body, url: request.url }), true);
  });
  test("says what it should", () => {
    const header = JSON.parse(Buffer.from(signature.split(".")[0], "base64url"));
    assert.deepEqual(header, { alg: "HS256", typ: "JWT" });
    const { iss, sub, iat, nbf, exp, jti, body } = claims(request);
    assert.equal(iss, "Upstash");
    assert.equal(sub, `${target.url}/signed?a=1`);
    assert.equal(exp - iat, 300);
    assert.ok(nbf <= iat && iat <= Date.now() / 1000, `nbf ${nbf}, iat ${iat}`);
    assert.match(jti, /^jwt_\w+$/);
    assert.match(body, /^[\w-]{43}=?$/);
  });
  test("does not hold for another body", () =>
    assert.rejects(receiver.verify({ signature, body: "0riginal", url: request.url }), /body hash does not match/));
  test("does not hold for another URL", () =>
    assert.rejects(receiver.verify({ signature, body, url: `${target.url}/signed?a=2` }), /invalid subject/));
  test("does not hold for other keys", () => {
    const stranger = new Receiver({ currentSigningKey: "sig_stranger", nextSigningKey: "sig_nobody" });
    return assert.rejects(stranger.verify({ signature, body }), /signature verification failed/);
  });
});

// Another user's keys are rotated, so that this suite's own stay.
describe("rotation", () => {
  const token = "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9";
  const other = new Client({ token });
  const keys = async () => (await raw("GET", "/v2/keys", { as: token })).body;
  const holds = (request, { current, next }) =>
    new Receiver({ currentSigningKey: current, nextSigningKey: next })
      .verify({ signature: request.headers["upstash-signature"], body: request.body.toString(), url: request.url });

  test("signs retries with the key that is current then", async () => {
    const old = await keys();
    assert.notEqual(old.current, process.env.QSTASH_CURRENT_SIGNING_KEY);
    const { messageId } = await other.publish({ url: `${rotated.url}/rotated`, body: "x", retryDelay: "300" });
    const first = await rotated.arrived("/rotated");
    assert.equal(await holds(first, old), true);

    const { status, body: now } = await raw("POST", "/v2/keys/rotate", { as: token });
    assert.equal(status, 200);
    assert.equal(now.current, old.next);
    assert.match(now.next, /^sig_\w{28}$/);
    assert.deepEqual(await keys(), now);

    const second = await rotated.arrived("/rotated", 2);
    assert.equal(await holds(second, now), true);
    assert.equal(await holds(second, old), true, "a receiver with the old pair knows the next key");
    await assert.rejects(holds(second, { current: old.current, next: old.current }), /signature verification failed/);
    assert.deepEqual(await other.messages.cancel(messageId), { cancelled: 1 });
  });

  test("is no other user's business", async () => {
    const { body } = await raw("GET", "/v2/keys");
    assert.equal(body.current, process.env.QSTASH_CURRENT_SIGNING_KEY);
    const { messageId } = await other.publish({ url: `${rotated.url}/rotated`, delay: "1h" });
    await assert.rejects(qstash.messages.get(messageId), { status: 404 });
    assert.deepEqual((await qstash.logs({ messageIds: [messageId] })).logs, []);
    await until("the other user's message", () => other.messages.cancel(messageId));
  });
});

verifySignatures();
