// Operating runs with the official client: the runs of the DLQ go on, start over
// and are deleted; runs are cancelled and found by what they are.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WorkflowNonRetryableError } from "@upstash/workflow";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, failureHandled, init, outline, raw, runLog, success, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const app = await endpoint();
const ran = {}; // by run, the names of steps that were run
const broken = new Set(); // names of steps that fail
const note = (context, name) => {
  (ran[context.workflowRunId] ??= []).push(name);
  if (broken.has(name)) throw new WorkflowNonRetryableError(`${name} is broken`);
  return name;
};
const start = async (path, options) =>
  (await workflow.trigger({ url: app.url + path, retries: 0, retryDelay: "10", ...options })).workflowRunId;
const failed = async (id) => {
  const run = await ended(id);
  assert.equal(run.workflowState, "RUN_FAILED");
  return run.dlqId;
};
const listed = async (filter) => (await workflow.dlq.list({ filter })).messages;

describe("runs that failed", { concurrency: false }, () => {
  test("one goes on where it failed", async () => {
    app.workflow("/sequence", async (context) => {
      const one = await context.run("one", () => note(context, "one"));
      const two = await context.run("two", () => note(context, "two"));
      return [one, two, context.headers.get("x-user"), context.requestPayload];
    });
    broken.add("two");
    const id = await start("/sequence", { body: { n: 1 }, headers: { "X-User": "ada" }, label: "sequence" });
    const dlqId = await failed(id);
    const [entry] = await listed({ workflowRunId: id });
    assert.deepEqual([entry.dlqId, entry.workflowRunId, entry.workflowUrl, entry.label], [dlqId, id, `${app.url}/sequence`, "sequence"]);
    broken.clear();

    const resumed = await workflow.dlq.resume({ dlqId, retries: 2, flowControl: { key: "resumed", parallelism: 3 } });
    assert.notEqual(resumed.workflowRunId, id);
    const run = await ended(resumed.workflowRunId);
    assert.equal(run.workflowState, "RUN_SUCCESS");
    assert.equal(run.workflowRunCreatedAt, resumed.workflowCreatedAt);
    assert.deepEqual(JSON.parse(run.workflowRunResponse), ["one", "two", "ada", { n: 1 }]);
    assert.deepEqual(outline(run), [init, success("one"), success("two")]);
    assert.equal(run.flowControlKey, "resumed");
    assert.equal(run.label, "sequence");
    assert.equal(run.steps[2].steps[0].retries, 2);
    assert.deepEqual([ran[id], ran[resumed.workflowRunId]], [["one", "two"], ["two"]]);
    assert.deepEqual(await listed({ workflowRunId: id }), []);
    assert.equal(await workflow.dlq.resume({ dlqId }), undefined);
  });

  test("parallel steps go on that had no result", async () => {
    app.workflow("/parallel", async (context) => {
      const all = await Promise.all(["left", "middle", "right"].map((name) => context.run(name, async () => {
        if (broken.has(name)) await until("the others", () => ran[context.workflowRunId]?.includes("left"));
        return note(context, name);
      })));
      return [...all, await context.run("last", () => note(context, "last"))];
    });
    broken.add("middle");
    const id = await start("/parallel");
    const dlqId = await failed(id);
    const shape = outline(await runLog(id));
    assert.equal(shape[1][0], "parallel");
    assert.ok(shape[1].includes("middle Run STEP_FAILED"), `${shape[1]}`);
    broken.clear();
    const { workflowRuns: [{ workflowRunId }] } = await workflow.dlq.resume([dlqId]);
    const run = await ended(workflowRunId);
    assert.deepEqual(JSON.parse(run.workflowRunResponse), ["left", "middle", "right", "last"]);
    const results = shape[1].filter((line) => line.endsWith("STEP_SUCCESS")).map((line) => line.split(" ")[0]);
    for (const name of results) assert.ok(!ran[workflowRunId].includes(name), `${name} ran again`);
    assert.ok(ran[workflowRunId].includes("middle"));
  });

  test("a call is not made twice that succeeds after its run has failed", async () => {
    let paid = 0;
    let answer;
    app.on("/pay", (_, res) => {
      paid++;
      answer = () => res.json({ receipt: 17 });
    });
    app.workflow("/order", (context) => Promise.all([
      context.call("pay", { url: `${app.url}/pay`, method: "POST", body: "1" }).then(({ body }) => body),
      context.run("reserve", async () => {
        if (broken.has("reserve")) await until("the payment", () => answer);
        return note(context, "reserve");
      }),
    ]));
    broken.add("reserve");
    const id = await start("/order");
    const dlqId = await failed(id);
    broken.clear();
    answer();
    await until("the payment's end", async () => {
      const { body } = await raw("GET", `/v2/workflows/events?workflowRunId=${id}`);
      return body.events.some((event) => event.url === `${app.url}/pay` && event.state === "DELIVERED");
    });
    const { workflowRunId } = await workflow.dlq.resume({ dlqId });
    const run = await ended(workflowRunId);
    assert.deepEqual(JSON.parse(run.workflowRunResponse), [{ receipt: 17 }, "reserve"]);
    assert.equal(paid, 1);
  });

  test("one starts over", async () => {
    broken.add("two");
    const id = await start("/sequence", { body: "text" });
    const dlqId = await failed(id);
    broken.clear();
    const { workflowRunId } = await workflow.dlq.restart({ dlqId });
    const run = await ended(workflowRunId);
    assert.deepEqual(JSON.parse(run.workflowRunResponse), ["one", "two", null, "text"]);
    assert.deepEqual(ran[workflowRunId], ["one", "two"]);
  });

  test("one goes on with another result", async () => {
    broken.add("two");
    const id = await start("/sequence");
    const dlqId = await failed(id);
    broken.clear();
    const answer = await raw("POST", `/v2/workflows/dlq/resume/${dlqId}`, {
      body: JSON.stringify({ payload: "edited", steps: [{ stepId: 1, out: { of: "an operator" } }] }),
    });
    assert.equal(answer.status, 200);
    const run = await ended(answer.body.workflowRunId);
    assert.deepEqual(JSON.parse(run.workflowRunResponse), [{ of: "an operator" }, "two", null, "edited"]);
  });

  test("one goes on over the step that it failed at", async () => {
    broken.add("two");
    const id = await start("/sequence");
    const dlqId = await failed(id);
    const resume = (step) => raw("POST", `/v2/workflows/dlq/resume/${dlqId}`, { body: JSON.stringify({ steps: [step] }) });
    assert.equal((await resume({ stepId: 2, out: "by hand" })).status, 400);
    assert.equal((await resume({ stepId: 3, stepName: "two", out: "by hand" })).status, 400);
    const answer = await resume({ stepId: 2, stepName: "two", out: { by: "hand" } });
    assert.equal(answer.status, 200);
    const run = await ended(answer.body.workflowRunId);
    assert.equal(run.workflowState, "RUN_SUCCESS");
    assert.deepEqual(JSON.parse(run.workflowRunResponse).slice(0, 2), ["one", { by: "hand" }]);
    assert.deepEqual(outline(run), [init, success("one"), success("two")]);
    assert.equal(ran[run.workflowRunId], undefined);
    broken.clear();
  });

  test("one is the first step that failed", async () => {
    broken.add("one");
    const id = await start("/sequence", { body: "text", headers: { "Content-Type": "text/plain" } });
    const dlqId = await failed(id);
    broken.clear();
    const answer = await raw("POST", `/v2/workflows/dlq/resume/${dlqId}`, { body: JSON.stringify({ steps: [{ stepId: 1, stepName: "one", out: 1 }] }) });
    const run = await ended(answer.body.workflowRunId);
    assert.deepEqual(JSON.parse(run.workflowRunResponse), [1, "two", null, "text"]);
  });

  test("many by a filter, page by page", async () => {
    broken.add("two");
    const ids = await Promise.all([1, 2, 3].map(() => start("/sequence", { label: "many" })));
    await Promise.all(ids.map(failed));
    broken.clear();
    const runs = [];
    let cursor;
    do {
      const page = await workflow.dlq.resume({ filter: { label: "many" }, count: 2, cursor });
      runs.push(...page.workflowRuns);
      cursor = page.cursor;
    } while (cursor);
    assert.equal(new Set(runs.map((run) => run.workflowRunId)).size, 3);
    for (const { workflowRunId } of runs) assert.equal((await ended(workflowRunId)).workflowState, "RUN_SUCCESS");
  });

  test("a failure function is called again", async () => {
    let works = false;
    const calls = [];
    app.workflow("/handled", (context) => context.run("step", () => Promise.reject(new WorkflowNonRetryableError("never"))), {
      failureFunction: ({ context }) => {
        calls.push(context.workflowRunId);
        if (!works) throw new Error("not yet");
        return "handled";
      },
    });
    const id = await start("/handled");
    const run = await failureHandled(id);
    assert.equal(run.failureFunction.state, "CALLBACK_FAIL");
    const [entry] = await listed({ failureFunctionState: "CALLBACK_FAIL", workflowRunId: id });
    assert.equal(entry.failureCallbackInfo.responseStatus, 500);
    works = true;
    assert.deepEqual(await workflow.dlq.retryFailureFunction({ dlqId: entry.dlqId }),
      { workflowRunId: id, workflowCreatedAt: run.workflowRunCreatedAt });
    await until("the failure function", async () => (await runLog(id)).failureFunction.state === "CALLBACK_SUCCESS");
    assert.deepEqual(calls, [id, id]);
    await assert.rejects(workflow.dlq.retryFailureFunction({ dlqId: entry.dlqId }), { status: 400 });
  });

  test("they are deleted", async () => {
    broken.add("two");
    const ids = await Promise.all(["one", "two", "three"].map((label) => start("/sequence", { label: `gone-${label}` })));
    const entries = await Promise.all(ids.map(failed));
    broken.clear();
    assert.equal((await workflow.dlq.delete(entries[0])).deleted, 1);
    assert.equal((await workflow.dlq.delete({ filter: { label: "gone-two" } })).deleted, 1);
    assert.ok((await workflow.dlq.delete({ all: true })).deleted >= 1);
    assert.deepEqual(await listed(), []);
    assert.equal((await workflow.dlq.resume(entries)).workflowRuns.length, 0);
  });
});

describe("runs under way", { concurrency: false }, () => {
  const delayed = (path, options) => start(path, { delay: "1h", ...options });

  test("are cancelled by what they are", async () => {
    const flowControl = { key: "cancelled", parallelism: 1 };
    const ids = [
      await delayed("/sequence", { flowControl }), await delayed("/sequence", { label: "cancelled" }), await delayed("/sequence/a"),
      await delayed("/sequence/b"), await delayed("/other"), await delayed("/last"),
    ];
    const cancelled = async (request) => (await workflow.cancel(request)).cancelled;
    assert.equal(await cancelled({ filter: { flowControlKey: "nobody's" } }), 0);
    assert.equal(await cancelled({ filter: { flowControlKey: "cancelled" } }), 1);
    assert.equal(await cancelled({ filter: { label: ["cancelled", "x"] } }), 1);
    assert.equal(await cancelled({ filter: { workflowUrl: `${app.url}/seq` } }), 0);
    assert.equal(await cancelled({ filter: { workflowUrlStartingWith: [`${app.url}/seq`, `${app.url}/oth`] }, count: 2 }), 2);
    assert.equal(await cancelled({ filter: { host: new URL(app.url).host, path: "/other" } }), 1);
    assert.equal(await cancelled([ids[0], ids[5], "unknown"]), 1);
    assert.equal(await cancelled({ all: true }), 0);
    for (const id of ids) assert.equal((await runLog(id)).workflowState, "RUN_CANCELED");
  });

  test("are found by what they are", async () => {
    const id = await delayed("/found", { label: "found", flowControl: { key: "found", rate: 1 } });
    const other = await delayed("/found");
    const found = async (filter) => (await workflow.logs({ filter })).runs.map((run) => run.workflowRunId);
    const [{ messageId }] = (await runLog(id)).steps[0].steps;
    for (const filter of [{ label: "found" }, { flowControlKey: "found" }, { messageId }, { workflowRunId: id }]) {
      assert.deepEqual(await found(filter), [id]);
    }
    assert.deepEqual(await found({ workflowUrl: `${app.url}/found`, state: "RUN_STARTED" }), [other, id]);
    assert.deepEqual(await found({ path: "/found", host: new URL(app.url).host }), [other, id]);
    assert.deepEqual(await found({ flowControlKey: "unknown" }), []);
    await workflow.cancel([id, other]);
  });
});

verifySignatures();
