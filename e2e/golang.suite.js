// A workflow endpoint in Go, at GO_ENDPOINT, through the official clients.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createWorkflow, serveMany } from "@upstash/workflow/express";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, failureHandled, init, outline, qstash, raw, runLog, success, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";
import { double, interop, relayed as relayedWorkflow, saga } from "./lib/workflows.js";

const url = process.env.GO_ENDPOINT;
const headers = { Authorization: "Bearer secret" };
const payload = { name: "ada <ü>" };
const want = { home: "/home/ada <ü>", mail: 201, answer: { sent: "ada <ü>" }, user: { name: "ada <ü>", id: 7 } };
const start = async (options) => (await workflow.trigger({ url: `${url}/interop`, headers, body: payload, ...options })).workflowRunId;

// essence is what of a run's log must not depend on the language.
const essence = (run) =>
  run.steps.map(({ type, steps }) => ({
    type,
    steps: steps.map((step) => ({
      ...Object.fromEntries(
        ["stepId", "stepName", "stepType", "callType", "concurrent", "targetStep", "state", "retries", "retryDelay", "sleepFor",
          "sleepUntil", "callMethod", "callBody", "callResponseStatus", "waitTimeout", "waitTimeoutDuration", "invokedWorkflowRunBody",
        ].map((key) => [key, step[key]]),
      ),
      event: step.waitEventId && step.waitEventId.replace(run.workflowRunId, "ID").replace(/^evt_.*/, "evt"),
      deadline: step.waitTimeoutDeadline && Math.abs(step.waitTimeoutDeadline - step.createdAt / 1000) < 3700,
      invoked: step.invokedWorkflowUrl && [step.invokedWorkflowUrl.split("/").at(-1), step.invokedWorkflowRunHeaders["X-Child"]],
      callHeaders: step.callHeaders && [step.callHeaders["X-Mail"], step.callHeaders["Content-Type"]],
      out: ["Call", "Notify", "CreateWebhook", "WaitForWebhook"].includes(step.stepType) ? undefined : step.out,
      call: step.callUrl && new URL(step.callUrl).pathname,
    })),
  }));

const wantSaga = {
  told: 1, paid: { amount: 3.5, by: "ada <ü>" }, timeouts: [false, true], nobody: 0, hook: ["PUT", "?q=1", "1", "hello ada <ü>"],
  first: { twice: 40, x: "1" }, failed: [false, true], b: "b",
};

const js = await endpoint();
const child = createWorkflow(double);
const relayed = await endpoint({ apart: true }); // as their requests name the address of the relay
relayed.mount("/js", serveMany({ double: child, saga: createWorkflow(saga(child)) }));
relayed.workflow("/mixed/relayed", relayedWorkflow);
relayed.mount("/mixed", serveMany({ jsdouble: createWorkflow(double), jssaga: createWorkflow(saga({ workflowId: "double" })) }));
const relay = (query) => fetch(`${url}/js?${query}`, { method: "PUT" });
await fetch(`${url}/js?to=${encodeURIComponent(relayed.url)}`, { method: "PUT" });
js.on("/mail", (req, res) => res.status(201).json({ sent: req.body.to }));
js.workflow("/interop", interop);

describe("a workflow in Go", { concurrency: true }, () => {
  test("leaves the log that one in JavaScript leaves", async () => {
    const [go, other] = await Promise.all([
      start().then(ended),
      workflow.trigger({ url: `${js.url}/interop`, headers, body: payload }).then((r) => ended(r.workflowRunId)),
    ]);
    assert.deepEqual(JSON.parse(go.workflowRunResponse), want);
    assert.deepEqual(JSON.parse(other.workflowRunResponse), want);
    assert.deepEqual(essence(go), essence(other));
    assert.deepEqual(outline(go).slice(1), [
      success("create user"), ["parallel", "prepare home Run STEP_SUCCESS", "send mail Call STEP_SUCCESS"],
      success("settle in", "SleepFor"), success("a date", "SleepUntil"), success("nothing"),
    ]);
  });

  test("leaves the log that one in JavaScript leaves, of what the server writes", async () => {
    const first = (path) => workflow.trigger({ url: url + path, body: payload }).then((r) => ended(r.workflowRunId));
    const [go, other] = await Promise.all([first("/go/saga"), first("/js/saga")]);
    assert.deepEqual(JSON.parse(go.workflowRunResponse), wantSaga);
    assert.deepEqual(JSON.parse(other.workflowRunResponse), wantSaga);
    assert.deepEqual(essence(go), essence(other));
    const children = async (run) => {
      const steps = run.steps.at(-1).steps.filter((s) => s.invokedWorkflowRunId);
      return (await Promise.all(steps.map((s) => ended(s.invokedWorkflowRunId)))).map((child) => ({
        steps: essence(child).map(({ type, steps }) => ({ type, steps: type === "next" ? steps.length : steps })),
        state: child.workflowState, response: child.workflowRunResponse, labels: child.labels, invoker: child.invoker.workflowRunId === run.workflowRunId,
      }));
    };
    assert.deepEqual(await children(go), await children(other));
  });

  test("invokes one in JavaScript, and the reverse", async () => {
    for (const name of ["gosaga", "jssaga"]) {
      const { workflowRunId } = await workflow.trigger({ url: `${url}/mixed/${name}`, body: payload });
      assert.deepEqual(JSON.parse((await ended(workflowRunId)).workflowRunResponse), wantSaga, name);
    }
  });

  test("goes on with what one in JavaScript has begun, and the reverse", async () => {
    for (const [from, query, then] of [["js", "", "here=1"], ["go", "here=1", ""]]) {
      await relay(query);
      const { workflowRunId } = await workflow.trigger({ url: `${url}/mixed/relayed?fails=${from}`, retries: 0 });
      const failed = await ended(workflowRunId);
      assert.equal(failed.workflowState, "RUN_FAILED");
      const two = failed.steps[2].steps[0];
      await relay(then);
      const resumed = await workflow.dlq.resume({ dlqId: failed.dlqId });
      const run = await ended(resumed.workflowRunId);
      const other = { js: "go", go: "js" }[from];
      assert.deepEqual(JSON.parse(run.workflowRunResponse), [from, two.out ? from : other, other, other]);
      assert.deepEqual(outline(run), [init, success("one"), ["parallel", "two Run STEP_SUCCESS", "three Run STEP_SUCCESS"], success("four")]);
    }
  });

  test("through the trigger API", async () => {
    const { status, body } = await raw("POST", `/v2/trigger/${url}/interop`, {
      headers: { "Content-Type": "application/json", "Upstash-Forward-Authorization": "Bearer secret" }, body: JSON.stringify(payload),
    });
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse((await ended(body.workflowRunId)).workflowRunResponse), want);
  });

  test("through the trigger API, which asks what it is", async () => {
    const { body } = await raw("POST", `/v2/trigger/${url}/interop`, {
      headers: {
        "Content-Type": "application/json", "Upstash-Forward-Authorization": "Bearer secret", "Upstash-Workflow-Unknown-Sdk": "true",
      },
      body: JSON.stringify(payload),
    });
    assert.deepEqual(JSON.parse((await ended(body.workflowRunId)).workflowRunResponse), want);
  });

  test("started by a message", async () => {
    await qstash.publishJSON({ url: `${url}/interop?published`, headers, body: payload });
    const run = await until("the run", async () => {
      const { runs } = await workflow.logs({ workflowUrl: `${url}/interop?published`, state: "RUN_SUCCESS" });
      return runs[0];
    });
    assert.deepEqual(JSON.parse(run.workflowRunResponse), want);
  });

  test("called by a workflow in JavaScript", async () => {
    js.workflow("/calls", async (context) => {
      const { status, body } = await context.call("go", {
        url: `${url}/interop`, method: "POST", body: JSON.stringify(payload), headers: { ...headers, "Content-Type": "application/json" },
      });
      return [status, body.workflowRunId];
    });
    const { workflowRunId } = await workflow.trigger({ url: `${js.url}/calls` });
    const [status, id] = JSON.parse((await ended(workflowRunId)).workflowRunResponse);
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse((await ended(id)).workflowRunResponse), want);
  });

  test("fails, and handles it", async () => {
    const id = await start({ body: { name: "eve", fail: true }, retries: 1, retryDelay: "10" });
    const run = await failureHandled(id);
    assert.equal(run.workflowState, "RUN_FAILED");
    assert.equal(run.failureFunction.state, "CALLBACK_SUCCESS");
    assert.equal(run.failureFunction.responseBody, '{"result":"sorry, eve: no user eve"}');
    const [next] = run.steps[1].steps;
    assert.equal(next.stepName, "create user");
    assert.equal(next.errors.length, 2);
    assert.equal(JSON.parse(next.errors[0].body).message, "no user eve");
  });

  test("refuses who is not authorized", async () => {
    const id = await start({ headers: { Authorization: "Bearer guess" }, retries: 0 });
    const run = await failureHandled(id);
    assert.equal(run.workflowState, "RUN_FAILED");
    assert.equal(run.steps[1].steps[0].errors[0].status, 401);
    assert.equal(run.failureFunction.state, "CALLBACK_FAIL");
  });

  test("is canceled", async () => {
    const { workflowRunId: id } = await workflow.trigger({ url: `${url}/sleeps` });
    await until("the sleep", async () => (await runLog(id))?.steps.length === 2);
    assert.deepEqual(await workflow.cancel(id), { cancelled: 1 });
    assert.equal((await ended(id)).workflowState, "RUN_CANCELED");
  });

  test("with a payload too large to be delivered each time", async () => {
    const text = "x".repeat(5 << 20);
    const { workflowRunId } = await workflow.trigger({ url: `${url}/measure`, body: text });
    assert.equal((await ended(workflowRunId)).workflowRunResponse, String(text.length));
  });
});

verifySignatures();
