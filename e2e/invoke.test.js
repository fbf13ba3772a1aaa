// Workflows of the official SDK that invoke each other.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createWorkflow, serveMany } from "@upstash/workflow/express";
import { WorkflowNonRetryableError } from "@upstash/workflow";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, failureHandled, init, outline, raw, runLog, success, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const app = await endpoint();
const seen = [];

const child = createWorkflow(async (context) => {
  const { requestPayload, headers, label, labels } = context;
  seen.push([context.workflowRunId, headers.get("x-child"), headers.get("x-parent"), labels ?? label]);
  const n = await context.run("double", () => {
    if (requestPayload.fail) throw new WorkflowNonRetryableError("no luck");
    return requestPayload.n * 2;
  });
  if (requestPayload.sleep) await context.sleep("long", requestPayload.sleep);
  return { n };
}, { failureFunction: ({ failResponse }) => `handled: ${failResponse}` });

const nothing = createWorkflow(async (context) => void (await context.run("nothing", () => {})));

const parent = createWorkflow(async (context) => {
  const { body, isFailed, isCanceled } = await context.invoke("invoke child", {
    workflow: child, body: context.requestPayload, headers: { "x-child": "1" }, retries: 0, label: "l1",
  });
  return [body ?? "none", isFailed, isCanceled];
});

const many = createWorkflow(async (context) => {
  const results = await Promise.all([
    context.invoke("first", { workflow: child, body: { n: 1 } }),
    context.run("between", () => "b"),
    context.invoke("second", { workflow: child, body: { n: 2 } }),
    context.invoke("third", { workflow: nothing }),
  ]);
  return results.map((r) => r.body ?? r);
});

const deep = createWorkflow(async (context) => {
  const depth = context.requestPayload;
  if (depth === 0) return context.run("bottom", () => "bottom");
  const { body } = await context.invoke("deeper", { workflow: deep, body: depth - 1 });
  return body;
});

app.mount("/workflows", serveMany({ child, nothing, parent, many, deep }));
const start = async (name, body, options) =>
  (await workflow.trigger({ url: `${app.url}/workflows/${name}`, body, ...options })).workflowRunId;
const result = async (id) => JSON.parse((await ended(id)).workflowRunResponse);
const invokedBy = async (id) => (await until("the invocation", async () => {
  const step = (await runLog(id))?.steps[1]?.steps[0];
  return step?.invokedWorkflowRunId && step;
})).invokedWorkflowRunId;

describe("invoke", { concurrency: true }, () => {
  test("a workflow that succeeds", async () => {
    const id = await start("parent", { n: 21 }, { headers: { "x-parent": "p" } });
    assert.deepEqual(await result(id), [{ n: 42 }, false, false]);
    const run = await runLog(id);
    assert.deepEqual(outline(run), [init, success("invoke child", "Invoke")]);
    const [step] = run.steps[1].steps;
    assert.equal(step.stepId, 1);
    assert.equal(step.invokedWorkflowUrl, `${app.url}/workflows/child`);
    assert.equal(step.invokedWorkflowRunBody, '{"n":21}');
    assert.deepEqual(step.invokedWorkflowRunHeaders["X-Child"], ["1"]);
    assert.deepEqual(JSON.parse(step.out), { body: '{"n":42}', isFailed: false, isCanceled: false });
    const other = await runLog(step.invokedWorkflowRunId);
    assert.equal(other.workflowRunCreatedAt, step.invokedWorkflowCreatedAt);
    assert.equal(other.workflowState, "RUN_SUCCESS");
    assert.equal(other.label, "l1");
    assert.deepEqual(other.invoker, {
      workflowRunId: id, workflowUrl: `${app.url}/workflows/parent`, workflowRunCreatedAt: run.workflowRunCreatedAt,
    });
    for (const [, x, p, labels] of seen.filter(([runId]) => runId === other.workflowRunId)) {
      assert.deepEqual([x, p, labels], ["1", null, ["l1"]]);
    }
  });

  test("one that fails", async () => {
    const id = await start("parent", { fail: true });
    assert.deepEqual(await result(id), ["none", true, false]);
    const other = await failureHandled(await invokedBy(id));
    assert.equal(other.workflowState, "RUN_FAILED");
    assert.equal(other.failureFunction.state, "CALLBACK_SUCCESS");
    assert.match(other.failureFunction.responseBody, /handled: no luck/);
  });

  test("one that is cancelled", async () => {
    const id = await start("parent", { n: 1, sleep: "1d" });
    const other = await invokedBy(id);
    const before = (await runLog(id)).steps[1].steps[0];
    assert.equal(before.state, "STEP_PROGRESS");
    assert.equal(before.stepName, "invoke child");
    assert.deepEqual(await workflow.cancel(other), { cancelled: 1 });
    assert.deepEqual(await result(id), ["none", false, true]);
  });

  test("many in parallel", async () => {
    const id = await start("many");
    assert.deepEqual(await result(id), [{ n: 2 }, "b", { n: 4 }, { isFailed: false, isCanceled: false }]);
    assert.deepEqual(outline(await runLog(id)), [init, ["parallel",
      "first Invoke STEP_SUCCESS", "between Run STEP_SUCCESS", "second Invoke STEP_SUCCESS", "third Invoke STEP_SUCCESS"]]);
  });

  test("a parent that has ended is not called", async () => {
    const id = await start("parent", { n: 1, sleep: 2 });
    const other = await invokedBy(id);
    await workflow.cancel(id);
    const calls = app.requests.filter((r) => r.headers["upstash-workflow-runid"] === id).length;
    assert.equal((await ended(other)).workflowState, "RUN_SUCCESS");
    const run = await runLog(id);
    assert.equal(run.workflowState, "RUN_CANCELED");
    assert.equal(run.steps[1].steps[0].state, "STEP_SUCCESS");
    assert.equal(app.requests.filter((r) => r.headers["upstash-workflow-runid"] === id).length, calls);
  });

  test("a hundred deep, and not deeper", async () => {
    assert.equal(await result(await start("deep", 100)), "bottom");
    const id = await start("deep", 101);
    const run = await ended(id); // the last fails for good, and those above end without a result
    assert.equal(run.workflowState, "RUN_SUCCESS");
    assert.equal(run.workflowRunResponse, undefined);
    const { runs } = await workflow.logs({ workflowUrl: `${app.url}/workflows/deep`, state: "RUN_FAILED" });
    assert.match(runs[0].steps[1].steps[0].errors[0].body, /101 runs have invoked each other/);
    assert.equal(runs[0].steps[1].steps[0].errors[0].status, 489);
  });

  test("what is no workflow", async () => {
    app.on("/plain/nothing", (_, res) => res.send("hello"));
    app.workflow("/plain/parent", async (context) => {
      const { isFailed } = await context.invoke("i", { workflow: nothing, retries: 2 });
      return isFailed;
    });
    const { workflowRunId } = await workflow.trigger({ url: `${app.url}/plain/parent` });
    assert.equal(await result(workflowRunId), true);
    const other = await runLog(await invokedBy(workflowRunId));
    assert.match(other.steps[1].steps[0].errors[0].error, /detected a non-workflow destination/);
  });

  test("a malformed request starts nothing", async () => {
    const id = await start("parent", { n: 1, sleep: "1d" });
    const headers = {
      "Upstash-Workflow-Init": "true", "Upstash-Workflow-Invoke": "true", "Upstash-Workflow-RunId": "wfr_malformed", "Upstash-Workflow-Url": `${app.url}/workflows/child`,
    };
    for (const [body, error] of [
      ["text", /body: expected a JSON object/],
      [{ workflowRunId: "wfr_gone", step: { stepId: 1, stepName: "i", stepType: "Invoke" } }, /wfr_gone is not active/],
      [{ workflowRunId: id, headers: { "Upstash-Workflow-RunId": [id], "Upstash-Workflow-Init": ["false"] }, step: { stepId: 9, stepName: "i", stepType: "Invoke" } }, /step.stepId: expected/],
    ]) {
      const { status, body: answer } = await raw("POST", `/v2/publish/${app.url}/workflows/child`, { headers, body: typeof body === "string" ? body : JSON.stringify(body) });
      assert.equal(status, 400);
      assert.match(answer.error, error);
    }
    assert.equal(await runLog("wfr_malformed"), undefined);
    await workflow.cancel(id);
  });
});

verifySignatures();
