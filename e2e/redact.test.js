// What the official clients are told to redact is delivered and never shown.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { dead, ended, qstash, raw, settled, workflow } from "./lib/signpost.js";

const target = await endpoint();
target.on("/fails", (_, res) => res.status(500).send("no"));
target.on("/ok", (_, res) => res.send("fine"));
const hash = /^REDACTED:[0-9a-f]{64}$/;

// shown is all that the official clients can read of a message.
async function shown(messageId) {
  const { logs } = await qstash.logs({ messageIds: [messageId] });
  const { messages } = await qstash.dlq.listMessages({ filter: { messageId } });
  const entries = await Promise.all(messages.map((m) => raw("GET", `/v2/dlq/${m.dlqId}`)));
  return JSON.stringify([await qstash.messages.get(messageId), logs, messages, entries.map((e) => e.body)]);
}

describe("messages", { concurrency: true }, () => {
  test("body and all headers", async () => {
    const url = `${target.url}/fails?all`;
    const { messageId } = await qstash.publish({
      url, body: "my secret", headers: { "X-Key": "hidden key" }, retries: 0, redact: { body: true, header: true },
    });
    await dead(messageId);
    const all = await shown(messageId);
    for (const secret of ["my secret", btoa("my secret"), "hidden key"]) {
      assert.ok(!all.includes(secret), `${secret} is in ${all}`);
    }
    const message = await qstash.messages.get(messageId);
    assert.match(message.body, hash);
    assert.match(message.header["X-Key"][0], hash);

    const { dlqId } = await dead(messageId);
    const again = await qstash.dlq.retry({ dlqIds: [dlqId] });
    await dead(again.responses[0].messageId);
    const delivered = target.requests.filter((r) => r.url === url);
    assert.equal(delivered.length, 2);
    for (const { body, headers } of delivered) {
      assert.equal(body.toString(), "my secret");
      assert.equal(headers["x-key"], "hidden key");
    }
  });

  test("one header; equal values look alike", async () => {
    const publish = async (key) => {
      const { messageId } = await qstash.publishJSON({
        url: `${target.url}/ok?one`, body: { open: 1 }, headers: { "X-Key": key, "X-Open": "open" }, redact: { header: ["x-key"] },
      });
      await settled(messageId);
      return qstash.messages.get(messageId);
    };
    const [a, b, c] = await Promise.all(["same", "same", "other"].map(publish));
    assert.match(a.header["X-Key"][0], hash);
    assert.equal(a.header["X-Key"][0], b.header["X-Key"][0]);
    assert.notEqual(a.header["X-Key"][0], c.header["X-Key"][0]);
    assert.deepEqual(a.header["X-Open"], ["open"]);
    assert.deepEqual(JSON.parse(a.body), { open: 1 });
  });
});

test("a run", async () => {
  const secrets = ["secret payload", "secret token", "secret step", "secret letter", "secret answer", "secret result"];
  target.on("/third", (req, res) => res.send(req.body.to === "secret letter" ? "secret answer" : "no letter"));
  target.workflow("/run", async (context) => {
    assert.equal(context.headers.get("authorization"), "secret token");
    await context.run("step", () => "secret step");
    const { body } = await context.call("call", {
      url: `${target.url}/third`, method: "POST", body: JSON.stringify({ to: "secret letter" }),
    });
    assert.equal(body, "secret answer");
    return "secret result";
  });
  const { workflowRunId } = await workflow.trigger({
    url: `${target.url}/run`, body: "secret payload", headers: { Authorization: "secret token" }, retries: 0,
    redact: { body: true, header: ["Authorization"] },
  });
  const run = await ended(workflowRunId);
  assert.equal(run.workflowState, "RUN_SUCCESS");
  assert.match(run.steps[0].steps[0].out, hash);
  const { logs } = await qstash.logs();
  const all = JSON.stringify([run, logs, (await raw("GET", "/v2/events")).body]);
  for (const secret of secrets) {
    for (const spelling of [secret, btoa(secret), JSON.stringify(JSON.stringify(secret)).slice(1, -1)]) {
      assert.ok(!all.includes(spelling), `${spelling} is in ${all}`);
    }
  }
});

verifySignatures();
