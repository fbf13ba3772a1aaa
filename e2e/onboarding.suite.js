// The example endpoint, written in Go with package workflow, as the official
// clients see it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ended, failureHandled, init, outline, raw, success, workflow } from "./lib/signpost.js";

const url = process.env.ENDPOINT;
const start = async (body, authorization = "Bearer let-me-in") =>
  (await workflow.trigger({ url, body, headers: { Authorization: authorization }, retries: 0 })).workflowRunId;

test("a run triggered by the official client", async () => {
  const run = await ended(await start({ email: "ada@example.com" }));
  assert.equal(run.workflowState, "RUN_SUCCESS");
  assert.equal(JSON.parse(run.workflowRunResponse).email, "ada@example.com");
  assert.deepEqual(outline(run), [
    init, success("create user"),
    ["parallel", "prepare home Run STEP_SUCCESS", "send welcome mail Call STEP_SUCCESS"],
    success("settle in", "SleepFor"), success("open account"),
  ]);
});

test("a run that fails, and its failure function", async () => {
  const run = await failureHandled(await start({ email: "bob@example.com", fail: true }));
  assert.equal(run.workflowState, "RUN_FAILED");
  assert.equal(run.failureFunction.state, "CALLBACK_SUCCESS");
  assert.equal(JSON.parse(run.failureFunction.responseBody).result, "cleaned up after bob@example.com");
});

test("a run without authorization executes nothing", async () => {
  const run = await ended(await start({ email: "eve@example.com" }, "Bearer wrong"));
  assert.equal(run.workflowState, "RUN_FAILED");
  assert.equal(run.steps.at(-1).steps[0].errors[0].status, 401);
  assert.deepEqual(run.steps.slice(0, 1).map((g) => g.steps[0].stepName), ["init"]);
});

test("a run triggered through REST", async () => {
  const { status, body } = await raw("POST", `/v2/trigger/${url}`, {
    body: JSON.stringify({ email: "joe@example.com" }),
    headers: { "Content-Type": "application/json", "Upstash-Forward-Authorization": "Bearer let-me-in" },
  });
  assert.equal(status, 200);
  assert.equal((await ended(body.workflowRunId)).workflowState, "RUN_SUCCESS");
});
