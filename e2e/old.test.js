// The SDK's generation before 1.0, which sends a run's settings again with
// each step: the server keeps none of them for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, serve as serveFetch } from "workflow-0.2";
import { serve } from "workflow-0.2/express";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, failureHandled, init, outline, qstash, success, token, url } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const client = new Client({ baseUrl: url, token });
const app = await endpoint();
app.on("/ask", (req, res) => res.status(201).json({ asked: req.body.q }));
const express = (path, fn, options) => app.mount(path, serve(fn, options));

test("every kind of step", async () => {
  express("/all", async (context) => {
    const one = await context.run("one", () => context.requestPayload.n);
    await context.sleep("nap", 1);
    await context.sleepUntil("a date", 1_600_000_000.5);
    const { status, body } = await context.call("ask", { url: `${app.url}/ask`, method: "POST", body: { q: one } });
    const both = await Promise.all([context.run("left", () => "l"), context.run("right", () => "r")]);
    return { one, status, body, both, user: context.headers.get("x-user") };
  });
  const { workflowRunId: id } = await client.trigger({ url: `${app.url}/all`, body: { n: 7 }, headers: { "X-User": "ada" } });
  const run = await ended(id);
  assert.deepEqual(JSON.parse(run.workflowRunResponse), { one: 7, status: 201, body: { asked: 7 }, both: ["l", "r"], user: "ada" });
  assert.deepEqual(outline(run), [
    init, success("one"), success("nap", "SleepFor"), success("a date", "SleepUntil"), success("ask", "Call"),
    ["parallel", "left Run STEP_SUCCESS", "right Run STEP_SUCCESS"],
  ]);
});

test("settings of the endpoint count for each step", async () => {
  let tries = 0;
  const failures = [];
  express("/settings", async (context) => {
    await context.run("one", () => 1);
    await context.run("two", () => {
      tries++;
      throw new Error("broken");
    });
  }, {
    retries: 1,
    retryDelay: "10",
    flowControl: { key: "old-sdk", parallelism: 2 },
    failureFunction: ({ context, failResponse }) => void failures.push([context.requestPayload, failResponse]),
  });
  const { workflowRunId: id } = await client.trigger({ url: `${app.url}/settings`, body: "p", retries: 0 });
  const run = await failureHandled(id);
  assert.equal(run.workflowState, "RUN_FAILED");
  assert.equal(run.failureFunction.state, "CALLBACK_SUCCESS");
  assert.equal(tries, 2, "attempts of the second step");
  assert.deepEqual(failures, [["p", "broken"]]);
  const [next] = run.steps[2].steps;
  assert.equal(next.retries, 1);
  assert.equal(next.errors.length, 2);
  const key = await qstash.flowControl.get("old-sdk");
  assert.equal(key.parallelismMax, 2);
});

test("settings of the endpoint count for a call and its result", async () => {
  const failures = [];
  let broken = false;
  app.mount("/calls", (req, res, next) => {
    if (broken && req.headers["upstash-workflow-callback"]) res.status(500).json({ error: "Error", message: "cannot take the answer" });
    else next();
  });
  express("/calls", async (context) => {
    const { status } = await context.call("ask", { url: `${app.url}/ask`, method: "POST", body: { q: 1 } });
    return status;
  }, { retries: 0, failureFunction: ({ failResponse }) => void failures.push(failResponse) });
  const first = await client.trigger({ url: `${app.url}/calls`, body: "p" });
  assert.equal((await ended(first.workflowRunId)).workflowRunResponse, "201");
  broken = true;
  const second = await client.trigger({ url: `${app.url}/calls`, body: "p" });
  const run = await failureHandled(second.workflowRunId);
  assert.equal(run.workflowState, "RUN_FAILED");
  assert.equal(run.failureFunction.state, "CALLBACK_SUCCESS");
  assert.deepEqual(failures, ["cannot take the answer"]);
});

test("settings of the trigger, kept by the endpoint", async () => {
  let tries = 0;
  express("/kept", async (context) => {
    await context.run("one", () => 1);
    await context.run("two", () => {
      if (tries++ < 2) throw new Error("not yet");
      return tries;
    });
  }, { retries: 2, retryDelay: "10" });
  const { workflowRunId: id } = await client.trigger({ url: `${app.url}/kept`, retries: 2, keepTriggerConfig: true });
  assert.equal((await ended(id)).workflowState, "RUN_SUCCESS");
  assert.equal(tries, 3);
});

test("a plain message starts a run", async () => {
  const { handler } = serveFetch((context) => context.run("one", () => context.requestPayload), { qstashClient: qstash });
  app.on("/plain", async (req, res) => {
    const { method, url, body } = req.record;
    const response = await handler(new Request(url, { method, headers: new Headers(req.headers), body }));
    res.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
  });
  await qstash.publishJSON({ url: `${app.url}/plain`, body: { a: 1 } });
  const run = await until("the run", async () => {
    const { runs } = await client.logs({ workflowUrl: `${app.url}/plain`, state: "RUN_SUCCESS" });
    return runs[0];
  });
  assert.deepEqual(outline(run), [init, success("one")]);
});

test("a cancel", async () => {
  express("/sleeps", async (context) => {
    await context.sleep("a day", "1d");
    await context.run("never", () => {});
  });
  const { workflowRunId: id } = await client.trigger({ url: `${app.url}/sleeps` });
  await until("the sleep", async () => (await client.logs({ workflowRunId: id })).runs[0]?.steps.length === 2);
  await client.cancel({ ids: [id] });
  assert.equal((await ended(id)).workflowState, "RUN_CANCELED");
});

verifySignatures();
