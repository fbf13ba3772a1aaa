// Payloads too large to be delivered with every step: the server leaves them
// out, and the official SDK fetches them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, failureHandled, init, outline, success, workflow } from "./lib/signpost.js";

const size = 5 << 20;
const large = (letter) => letter.repeat(size - 1) + "ü";
const app = await endpoint();
app.on("/large", (_, res) => res.type("text/plain").send(large("c")));

const start = async (path, options) => (await workflow.trigger({ url: app.url + path, ...options })).workflowRunId;
const result = async (id) => JSON.parse((await ended(id)).workflowRunResponse ?? "null");
const empty = (path) => app.received(path).filter((r) => r.body.length === 0);

test("a large step", async () => {
  app.fetchWorkflow("/step", async (context) => {
    const small = await context.run("small", () => "small");
    const big = await context.run("big", () => large("b"));
    const both = await Promise.all([context.run("left", () => big.at(-1)), context.run("right", () => context.requestPayload)]);
    return [small, big === large("b"), ...both];
  });
  const id = await start("/step", { body: "payload" });
  assert.deepEqual(await result(id), ["small", true, "ü", "payload"]);
  assert.ok(empty("/step").length >= 4, `${empty("/step").length} deliveries without the log`);
  for (const { headers } of empty("/step")) {
    assert.equal(headers["content-length"], "0");
    assert.equal(headers["upstash-workflow-sdk-version"], "1");
  }
  assert.deepEqual(outline(await ended(id)), [
    init, success("small"), success("big"), ["parallel", "left Run STEP_SUCCESS", "right Run STEP_SUCCESS"],
  ]);
});

test("a large initial payload, which the failure function gets too", async () => {
  const seen = [];
  app.workflow("/payload", async (context) => {
    await context.run("one", () => seen.push(context.requestPayload === large("p")));
    await context.run("two", () => Promise.reject(new Error("broken")));
  }, { failureFunction: ({ context }) => void seen.push(context.requestPayload === large("p")) });
  const id = await start("/payload", { body: large("p"), retries: 0 });
  const run = await failureHandled(id);
  assert.equal(run.failureFunction.state, "CALLBACK_SUCCESS");
  assert.deepEqual(seen, [true, true]);
  assert.equal(empty("/payload").length, 2);
});

test("a large error, which the failure function gets", async () => {
  const seen = [];
  app.workflow("/error", async (context) => {
    await context.run("one", () => Promise.reject(new Error(large("e"))));
  }, { failureFunction: ({ context, failResponse }) => void seen.push(failResponse === large("e"), context.requestPayload === large("p")) });
  const run = await failureHandled(await start("/error", { body: large("p"), retries: 0 }));
  assert.equal(run.failureFunction.state, "CALLBACK_SUCCESS");
  assert.deepEqual(seen, [true, true]);
});

for (const style of ["workflow", "fetchWorkflow"]) {
  test(`a large answer of a third party to ${style === "workflow" ? "Express" : "fetch"}`, async () => {
    app[style](`/${style}`, async (context) => {
      const { body } = await context.call("large", { url: `${app.url}/large` });
      return body === large("c");
    });
    assert.equal(await result(await start(`/${style}`)), true);
    const [callback] = app.received(`/${style}`).filter((r) => r.headers["upstash-workflow-callback"]);
    assert.ok(callback.body.length > size, "the callback was left out");
  });
}

test("a large result of the run", async () => {
  app.workflow("/result", async (context) => {
    await context.run("one", () => 1);
    return large("r");
  });
  assert.equal(await result(await start("/result")), large("r"));
});

verifySignatures();
