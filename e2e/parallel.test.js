// Steps side by side: Promise.all in workflows of the official SDK.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WorkflowNonRetryableError } from "@upstash/workflow";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, init, outline, success, workflow } from "./lib/signpost.js";

const stub = await endpoint();
stub.on("/ask", (_, res) => res.json({ answer: 42 }));
const app = await endpoint();
const start = async (path, options) => (await workflow.trigger({ url: app.url + path, ...options })).workflowRunId;
const deliveries = (id) => app.requests.filter((r) => r.headers["upstash-workflow-runid"] === id);
// log names the steps that a delivery shows: P3 is the plan of step 3, R3 its result.
const log = (request) => JSON.parse(request.body).flatMap(({ body, callType }, n) => {
  if (n === 0) return "init";
  if (callType !== "step") return [];
  const { stepId, targetStep } = JSON.parse(Buffer.from(body, "base64"));
  return targetStep ? `P${targetStep}` : `R${stepId}`;
});
const parallel = (...steps) => ["parallel", ...steps];

describe("Promise.all", { concurrency: true }, () => {
  test("each step is run once, and seen in the order of the log", async () => {
    const ran = [];
    app.workflow("/three", (context) =>
      Promise.all(["a", "b", "c"].map((name) => context.run(name, () => (ran.push(name), name)))),
    );
    const id = await start("/three");
    const run = await ended(id);
    assert.equal(run.workflowRunResponse, '["a","b","c"]');
    assert.deepEqual(ran.sort(), ["a", "b", "c"]);
    assert.deepEqual(outline(run), [init, parallel("a Run STEP_SUCCESS", "b Run STEP_SUCCESS", "c Run STEP_SUCCESS")]);
    assert.deepEqual(run.steps[1].steps.map((s) => [s.stepId, s.concurrent, s.out]), [
      [1, 3, '"a"'], [2, 3, '"b"'], [3, 3, '"c"'],
    ]);
    const logs = deliveries(id).map(log);
    // The delivery that sees all results ends the run; what is then still to be
    // delivered of the other results is dropped.
    assert.ok(logs.length >= 5 && logs.length <= 7, `${logs.length} deliveries`);
    const plans = logs.filter((entries) => entries.at(-1).startsWith("P")).sort((a, b) => a.length - b.length);
    assert.deepEqual(plans, [["init", "P1"], ["init", "P1", "P2"], ["init", "P1", "P2", "P3"]]);
    const results = logs.filter((entries) => entries.at(-1).startsWith("R")).sort((a, b) => a.length - b.length);
    assert.equal(results.at(-1).length, 7);
    assert.equal(new Set(results.map((entries) => entries.length)).size, results.length);
    for (const entries of results) {
      assert.deepEqual(entries.slice(0, 4), ["init", "P1", "P2", "P3"]);
      assert.deepEqual(entries, results.at(-1).slice(0, entries.length));
    }
  });

  test("of several kinds", async () => {
    app.workflow("/kinds", async (context) => {
      const before = await context.run("before", () => "before");
      const [text, , answer] = await Promise.all([
        context.run("text", () => "text"),
        context.sleep("nap", 1),
        context.call("ask", { url: `${stub.url}/ask` }),
        context.sleepUntil("past", 1_600_000_000),
      ]);
      const after = await Promise.all([context.run("left", () => 1), context.run("right", () => 2)]);
      return [before, text, answer.body.answer, ...after, await context.run("end", () => "end")];
    });
    const from = Date.now();
    const id = await start("/kinds", { headers: { "X-User": "ada" } });
    const run = await ended(id);
    assert.deepEqual(JSON.parse(run.workflowRunResponse), ["before", "text", 42, 1, 2, "end"]);
    assert.ok(run.workflowRunCompletedAt - from >= 1000, "the sleep was cut short");
    assert.deepEqual(outline(run), [
      init, success("before"),
      parallel("text Run STEP_SUCCESS", "nap SleepFor STEP_SUCCESS", "ask Call STEP_SUCCESS", "past SleepUntil STEP_SUCCESS"),
      parallel("left Run STEP_SUCCESS", "right Run STEP_SUCCESS"), success("end"),
    ]);
    const [text, nap, ask] = run.steps[2].steps;
    assert.deepEqual([text.stepId, nap.stepId, ask.stepId], [2, 3, 4]);
    assert.equal(nap.sleepFor, 1);
    assert.equal(ask.callUrl, `${stub.url}/ask`);
    assert.equal(ask.callResponseStatus, 200);
    // A plan that sleeps is delivered late, and still without anything newer.
    const plan = deliveries(id).map((r) => !r.headers["upstash-workflow-callback"] && log(r)).find((l) => l && l.at(-1) === "P3");
    assert.deepEqual(plan, ["init", "R1", "P2", "P3"]);
  });

  test("sleeps side by side", async () => {
    app.workflow("/sleeps", async (context) => {
      await Promise.all([context.sleep("a", 4), context.sleep("b", 4), context.sleep("c", 4)]);
    });
    const id = await start("/sleeps");
    const run = await ended(id);
    assert.equal(run.workflowState, "RUN_SUCCESS");
    const took = run.workflowRunCompletedAt - run.workflowRunCreatedAt;
    assert.ok(took >= 4000 && took < 11_000, `took ${took} ms`);
  });

  test("of many", async () => {
    app.workflow("/many", async (context) => {
      const parts = await Promise.all(Array.from({ length: 20 }, (_, n) => context.run(`part ${n}`, () => n)));
      return parts.reduce((a, b) => a + b);
    });
    const run = await ended(await start("/many"));
    assert.equal(run.workflowRunResponse, "190");
    assert.equal(run.steps[1].steps.length, 20);
  });

  test("a branch that fails", async () => {
    app.workflow("/branch", async (context) => {
      await Promise.all([
        context.run("good", () => "good"),
        context.run("bad", () => {
          throw new WorkflowNonRetryableError("no way");
        }),
        context.sleep("long", "1h"),
      ]);
    });
    const run = await ended(await start("/branch"));
    assert.equal(run.workflowState, "RUN_FAILED");
    const [, group] = run.steps;
    assert.equal(group.type, "parallel");
    const bad = group.steps.find((step) => step.stepName === "bad");
    assert.equal(bad.state, "STEP_FAILED");
    assert.equal(bad.errors.length, 1);
    assert.equal(bad.errors[0].status, 489);
    assert.match(bad.errors[0].body, /no way/);
    assert.equal(group.steps.find((step) => step.stepName === "long").state, "STEP_CANCELED");
    assert.ok(!run.steps.some((g) => g.type === "next"), "a next group beside the failed branch");
  });

  test("a branch that is retried", async () => {
    let broken = 1;
    app.workflow("/retried", (context) =>
      Promise.all([
        context.run("steady", () => "steady"),
        context.run("shaky", () => {
          if (broken-- > 0) throw new Error("not yet");
          return `after ${context.retried}`;
        }),
      ]),
    );
    const run = await ended(await start("/retried", { retryDelay: "20" }));
    assert.equal(run.workflowRunResponse, '["steady","after 1"]');
  });
});

verifySignatures();
