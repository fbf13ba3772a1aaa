// QSTASH_DEV: the official SDKs adopt a development server that runs already,
// by its port alone, and know its token and keys.
import assert from "node:assert/strict";
import { test } from "node:test";

const said = [];
console.log = (...words) => said.push(words.join(" "));

process.env.QSTASH_DEV_PORT = new URL(process.env.QSTASH_URL).port;
process.env.QSTASH_DEV = "true";
const { url } = await import("./lib/signpost.js");
for (const name of ["QSTASH_URL", "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"]) {
  delete process.env[name];
}
const { Client: QStash, Receiver } = await import("@upstash/qstash");
const { Client: Workflow } = await import("@upstash/workflow");
const { endpoint, verifySignatures } = await import("./lib/endpoint.js");
const { ended } = await import("./lib/signpost.js");

const target = await endpoint();
target.on("/dev", (_, res) => res.send());
target.workflow("/workflow", async (context) => `${await context.run("hello", () => "hello")} ${context.requestPayload}`);

test("a client without configuration", async () => {
  const { messageId } = await new QStash().publish({ url: `${target.url}/dev`, body: "dev" });
  const { headers, body, url } = await target.arrived("/dev");
  assert.equal(headers["upstash-message-id"], messageId);
  const signature = headers["upstash-signature"];
  assert.equal(await new Receiver().verify({ signature, body: body.toString(), url }), true);
  assert.equal(await new Receiver({ devMode: true }).verify({ signature, body: body.toString(), url }), true);
});

test("a workflow endpoint without configuration", async () => {
  const { workflowRunId } = await new Workflow().trigger({ url: `${target.url}/workflow`, body: "dev" });
  const run = await ended(workflowRunId);
  assert.equal(run.workflowState, "RUN_SUCCESS");
  assert.equal(run.workflowRunResponse, '"hello dev"');
});

test("nothing was downloaded or started", () => {
  assert.ok(said.some((line) => line.includes(`Server already running at ${url}`)), said.join("\n"));
});

verifySignatures();
