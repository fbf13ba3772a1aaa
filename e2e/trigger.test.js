// Runs started, canceled and listed by the official workflow client.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WorkflowNonRetryableError } from "@upstash/workflow";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, failureHandled, qstash, raw, runLog, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const app = await endpoint();
const seen = [];
app.workflow("/echo", async (context) => {
  const { requestPayload, labels, workflowRunId, retried, workflowRunCreatedAt, url } = context;
  seen.push({ workflowRunId, requestPayload, labels, retried, workflowRunCreatedAt, url, headers: Object.fromEntries(context.headers) });
  return context.run("echo", () => requestPayload ?? null);
});
app.workflow("/waits", async (context) => {
  await context.sleep("a day", "1d");
});
let broken = true;
app.workflow("/flaky", async (context) => {
  await context.run("step", () => {
    if (broken) throw new TypeError("not yet");
    return context.retried;
  });
});
app.on("/failed", (_, res) => res.send("noted"));
app.on("/not-a-workflow", (_, res) => res.status(200).send("<html>"));
app.on("/other/waits", (_, res) => res.status(500).send());

const start = async (path, options) => (await workflow.trigger({ url: app.url + path, ...options })).workflowRunId;
const response = async (id) => {
  const run = await ended(id);
  assert.equal(run.workflowState, "RUN_SUCCESS");
  return JSON.parse(run.workflowRunResponse);
};

describe("trigger", () => {
  test("with a payload", async () => {
    const before = Date.now();
    const id = await start("/echo", { body: { text: "<ü>", n: [1, null] } });
    assert.match(id, /^wfr_[\w-]{21}$/);
    assert.deepEqual(await response(id), { text: "<ü>", n: [1, null] });
    const calls = seen.filter((call) => call.workflowRunId === id);
    assert.ok(calls.length >= 2);
    for (const call of calls) {
      assert.deepEqual(call.requestPayload, { text: "<ü>", n: [1, null] });
      assert.equal(call.retried, 0);
      assert.equal(call.url, `${app.url}/echo`);
      assert.ok(call.workflowRunCreatedAt >= before && call.workflowRunCreatedAt <= Date.now(), "no creation time");
    }
  });
  test("with text", async () => assert.equal(await response(await start("/echo", { body: "just text" })), "just text"));
  test("with nothing", async () => assert.equal(await response(await start("/echo")), null));

  test("with headers and labels, which every call gets", async () => {
    const id = await start("/echo", { headers: { "X-User": "ada" }, label: ["one", "two"] });
    await ended(id);
    const calls = seen.filter((call) => call.workflowRunId === id);
    for (const call of calls) {
      assert.equal(call.headers["x-user"], "ada");
      assert.deepEqual(call.labels, ["one", "two"]);
    }
    const run = await runLog(id);
    assert.equal(run.label, "one");
    assert.deepEqual(run.labels, ["one", "two"]);
    const { runs } = await workflow.logs({ filter: { label: "two" } });
    assert.deepEqual(runs.map((r) => r.workflowRunId), [id]);
  });

  test("with a run id of one's own", async () => {
    const id = await start("/waits", { workflowRunId: "order-7" });
    assert.equal(id, "wfr_order-7");
    await until("the sleep", async () => (await runLog(id))?.steps.length === 2);
    assert.equal(await start("/waits", { workflowRunId: "order-7" }), id);
    const { runs } = await workflow.logs({ workflowRunId: id });
    assert.equal(runs.length, 1, "a second run of an active id");
    assert.deepEqual(await workflow.cancel(id), { cancelled: 1 });
    const again = await workflow.trigger({ url: `${app.url}/waits`, workflowRunId: "order-7" });
    assert.equal(again.workflowRunId, id);
    await until("two runs of the id", async () => (await workflow.logs({ workflowRunId: id })).runs.length === 2);
    const [newer, older] = (await workflow.logs({ workflowRunId: id })).runs;
    assert.ok(newer.workflowRunCreatedAt > older.workflowRunCreatedAt);
    const only = await workflow.logs({ workflowRunId: id, workflowCreatedAt: older.workflowRunCreatedAt });
    assert.deepEqual(only.runs.map((r) => r.workflowState), ["RUN_CANCELED"]);
    assert.deepEqual(await workflow.cancel(id), { cancelled: 1 });
  });

  test("a batch", async () => {
    const started = await workflow.trigger([
      { url: `${app.url}/echo`, body: "first" },
      { url: `${app.url}/echo`, body: "second", workflowRunId: "batched", label: "batched" },
    ]);
    assert.equal(started[1].workflowRunId, "wfr_batched");
    assert.deepEqual(await Promise.all(started.map((s) => response(s.workflowRunId))), ["first", "second"]);
  });

  test("later", async () => {
    const from = Date.now();
    const id = await start("/echo", { delay: 1, body: "late" });
    const { steps } = await runLog(id);
    assert.deepEqual(steps.map((group) => [group.type, group.steps[0].state]), [
      ["sequential", "STEP_SUCCESS"], ["next", "STEP_PROGRESS"],
    ]);
    assert.ok(steps[1].steps[0].nextDeliveryTime >= from + 1000, "no time of the delivery");
    assert.equal(await response(id), "late");
    assert.ok(app.requests.find((r) => r.headers["upstash-workflow-runid"] === id).at - from >= 1000, "too early");
  });

  test("not before", async () => {
    const id = await start("/echo", { notBefore: Math.floor(Date.now() / 1000) + 3600 });
    assert.deepEqual(await workflow.cancel(id), { cancelled: 1 });
    assert.equal((await ended(id)).workflowState, "RUN_CANCELED");
    assert.ok(!seen.some((call) => call.workflowRunId === id));
  });

  test("with retries and a failure URL", async () => {
    const id = await start("/flaky", {
      body: { a: 1 }, retries: 2, retryDelay: "20 + retried", failureUrl: `${app.url}/failed`, label: "flaky",
      headers: { "X-User": "ada" },
    });
    const run = await failureHandled(id);
    assert.equal(run.workflowState, "RUN_FAILED");
    assert.equal(run.failureFunction.state, "CALLBACK_SUCCESS");
    const attempts = app.received("/flaky").filter((r) => r.headers["upstash-workflow-runid"] === id);
    assert.deepEqual(attempts.map((r) => r.headers["upstash-retried"]), ["0", "1", "2"]);
    const [init, next] = run.steps.map((group) => group.steps[0]);
    assert.equal(init.retries, 2);
    assert.equal(init.retryDelay, "20 + retried");
    assert.equal(next.errors.length, 3);

    const [told] = app.received("/failed");
    assert.equal(told.headers["upstash-workflow-is-failure"], "true");
    assert.equal(told.headers["upstash-workflow-runid"], id);
    assert.equal(told.headers["x-user"], "ada");
    const failure = JSON.parse(told.body);
    assert.equal(failure.status, 500);
    assert.equal(Buffer.from(failure.sourceBody, "base64").toString(), '{"a":1}');
    assert.equal(failure.workflowRunId, id);
    assert.equal(failure.workflowCreatedAt, run.workflowRunCreatedAt);
    assert.equal(failure.dlqId, run.dlqId);
  });

  test("is retried until it works", async () => {
    broken = true;
    const id = await start("/flaky", { retries: 5, retryDelay: "100" });
    await until("an error", async () => (await runLog(id))?.steps[1]?.steps[0].errors?.length > 0);
    const retrying = (await runLog(id)).steps[1];
    assert.equal(retrying.type, "next");
    assert.equal(retrying.steps[0].state, "STEP_RETRY");
    broken = false;
    const run = await ended(id);
    assert.equal(run.workflowState, "RUN_SUCCESS");
    assert.ok(Number(run.steps[1].steps[0].out) > 0, "retried is not told");
  });

  test("of what is no workflow", async () => {
    const id = await start("/not-a-workflow", { retries: 3, retryDelay: "10" });
    const run = await ended(id);
    assert.equal(run.workflowState, "RUN_FAILED");
    assert.equal(run.steps.length, 2);
    const [error] = run.steps[1].steps[0].errors;
    assert.match(error.error, /detected a non-workflow destination for trigger\/invoke/);
    assert.equal(error.body, "<html>");
    assert.equal(app.received("/not-a-workflow").filter((r) => !r.headers["upstash-workflow-is-failure"]).length, 1);
  });

  test("with what is refused", async () => {
    await assert.rejects(start("/echo", { flowControl: { key: "k", rate: 0 } }), { status: 400 });
    await assert.rejects(start("/echo", { retries: 100_000 }), { status: 412 });
    await assert.rejects(start("/echo", { label: "a b" }), WorkflowNonRetryableError);
  });
});

describe("cancel", () => {
  const sleeping = async (path, options) => {
    const id = await start(path, options);
    await until("the sleep", async () => (await runLog(id))?.steps.length === 2);
    return id;
  };
  const state = async (id) => (await runLog(id)).workflowState;

  test("one, many, and all", async () => {
    const ids = [];
    for (let n = 0; n < 4; n++) ids.push(await sleeping("/waits"));
    assert.deepEqual(await workflow.cancel(ids[0]), { cancelled: 1 });
    assert.deepEqual(await workflow.cancel(ids[0]), { cancelled: 0 });
    assert.deepEqual(await workflow.cancel([ids[0], ids[1], "wfr_unknown"]), { cancelled: 1 });
    assert.deepEqual(await workflow.cancel({ all: true }), { cancelled: 2 });
    assert.deepEqual(await workflow.cancel({ all: true }), { cancelled: 0 });
    for (const id of ids) {
      const run = await runLog(id);
      assert.equal(run.workflowState, "RUN_CANCELED");
      assert.ok(run.workflowRunCompletedAt >= run.workflowRunCreatedAt);
      assert.equal(run.steps.at(-1).steps[0].state, "STEP_CANCELED");
      assert.equal(run.failureFunction, undefined);
      assert.equal(run.dlqId, undefined);
    }
  });

  test("what has not begun", async () => {
    const id = await start("/echo", { delay: "1h" });
    assert.deepEqual(await workflow.cancel(id), { cancelled: 1 });
    assert.equal(await state(id), "RUN_CANCELED");
  });

  test("what has ended", async () => {
    const id = await start("/echo");
    await ended(id);
    assert.deepEqual(await workflow.cancel(id), { cancelled: 0 });
    assert.equal(await state(id), "RUN_SUCCESS");
  });

  test("by filter", async () => {
    const urls = { a: "/waits", b: "/waits?b", c: "/waits?c" };
    const cases = [
      [{ workflowUrl: `${app.url}/waits` }, "a"],
      [{ workflowUrlStartingWith: `${app.url}/waits` }, "abc"],
      [{ workflowUrlStartingWith: `${app.url}/waits?` }, "bc"],
      [{ label: "a" }, "a"],
      [{ label: ["a", "c"] }, "ac"],
      [{ label: "a", workflowUrl: `${app.url}/waits?b` }, ""],
      [{ fromDate: Date.now() - 60_000, callerIp: "127.0.0.1" }, "abc"],
      [{ toDate: Date.now() - 60_000 }, ""],
    ];
    for (const [filter, want] of cases) {
      const ids = {};
      for (const [name, path] of Object.entries(urls)) ids[name] = await start(path, { label: name, delay: "1h" });
      const { cancelled } = await workflow.cancel({ filter });
      let canceled = "";
      for (const [name, id] of Object.entries(ids)) if ((await state(id)) === "RUN_CANCELED") canceled += name;
      assert.equal(canceled, want, `canceled by ${JSON.stringify(filter)}`);
      assert.equal(cancelled, want.length, `count by ${JSON.stringify(filter)}`);
      await workflow.cancel({ all: true });
    }
  });

  test("a mistyped filter cancels nothing", async () => {
    const id = await start("/waits", { delay: "1h" });
    await assert.rejects(workflow.cancel({ filter: { labeel: "x" } }), { status: 400 });
    assert.equal(await state(id), "RUN_STARTED");
    await workflow.cancel(id);
  });

  test("a run that is over takes no more steps", async () => {
    const id = await sleeping("/waits");
    await workflow.cancel(id);
    const { status } = await raw("POST", `/v2/publish/${app.url}/waits`, {
      headers: { "Upstash-Workflow-Init": "false", "Upstash-Workflow-RunId": id, "Upstash-Workflow-Url": `${app.url}/waits` },
      body: '{"stepId":9,"stepName":"late","stepType":"Run","concurrent":1}',
    });
    assert.equal(status, 400);
    assert.equal((await raw("GET", `/v2/workflows/runs/${id}`)).status, 404);
    assert.equal((await raw("DELETE", `/v2/workflows/runs/${id}?cancel=false`)).status, 200);
    assert.equal(await state(id), "RUN_CANCELED");
  });
});

describe("logs", () => {
  test("pages and filters", async () => {
    const from = Date.now();
    const ids = [];
    for (let n = 0; n < 3; n++) {
      ids.push(await start("/echo?logs", { body: n }));
      await ended(ids[n]);
    }
    const newest = ids.toReversed();
    const found = async (query) => (await workflow.logs(query)).runs.map((r) => r.workflowRunId);
    const workflowUrl = `${app.url}/echo?logs`;
    assert.deepEqual(await found({ filter: { workflowUrl } }), newest);
    assert.deepEqual(await found({ workflowUrl, state: "RUN_SUCCESS" }), newest);
    assert.deepEqual(await found({ workflowUrl, state: "RUN_FAILED" }), []);
    assert.deepEqual(await found({ filter: { fromDate: from, workflowUrl } }), newest);
    assert.deepEqual(await found({ filter: { toDate: from - 1, workflowUrl } }), []);
    assert.deepEqual(await found({ filter: { workflowUrl: `${app.url}/ech` } }), [], "a prefix is no exact match");
    const walked = [];
    let cursor;
    do {
      const page = await workflow.logs({ workflowUrl, count: 2, cursor });
      walked.push(...page.runs.map((r) => r.workflowRunId));
      ({ cursor } = page);
    } while (cursor);
    assert.deepEqual(walked, newest);
    const [{ steps }] = (await workflow.logs({ workflowRunId: ids[0] })).runs;
    const byMessage = await workflow.logs({ filter: { messageId: steps[1].steps[0].messageId } });
    assert.deepEqual(byMessage.runs.map((r) => r.workflowRunId), [ids[0]]);
    const other = await raw("GET", `/v2/workflows/logs?workflowRunId=${ids[0]}`);
    assert.equal(other.body.runs[0].workflowRunId, ids[0]);
  });

  test("the first page is of ten", async () => {
    await workflow.trigger(Array.from({ length: 12 }, () => ({ url: `${app.url}/waits`, label: "many" })));
    const page = await workflow.logs({ filter: { label: "many" } });
    assert.equal(page.runs.length, 10);
    assert.notEqual(page.cursor ?? "", "");
    await workflow.cancel({ filter: { label: "many" } });
  });
});

describe("DLQ", () => {
  test("of runs", async () => {
    await qstash.dlq.delete({ all: true });
    broken = true;
    const id = await start("/flaky", { retries: 0, label: "dead", body: "payload" });
    const run = await ended(id);
    const plain = await qstash.publish({ url: `${app.url}/other/waits`, retries: 0 });
    await until("both entries", async () => (await qstash.dlq.listMessages()).messages.length === 2);
    const { messages, cursor } = await workflow.dlq.list();
    assert.equal(cursor, undefined);
    assert.deepEqual(messages.map((m) => m.workflowRunId), [id]);
    const [entry] = messages;
    assert.equal(entry.dlqId, run.dlqId);
    assert.equal(entry.workflowUrl, `${app.url}/flaky`);
    assert.equal(entry.workflowCreatedAt, run.workflowRunCreatedAt);
    assert.equal(entry.responseStatus, 500);
    assert.equal(JSON.parse(entry.responseBody).message, "not yet");
    assert.equal(entry.failureCallback, `${app.url}/flaky`);
    assert.equal(entry.label, "dead");
    const found = async (filter) => (await workflow.dlq.list({ filter })).messages.length;
    assert.equal(await found({ workflowRunId: id }), 1);
    assert.equal(await found({ workflowRunId: "wfr_other" }), 0);
    assert.equal(await found({ label: "dead" }), 1);
    assert.equal(await found({ label: "alive" }), 0);
    assert.equal(await found({ workflowUrl: `${app.url}/flaky` }), 1);
    assert.equal(await found({ responseStatus: 500 }), 1);
    assert.equal(await found({ workflowRunId: id, workflowCreatedAt: entry.workflowCreatedAt }), 1);
    assert.equal(await found({ workflowCreatedAt: 1 }), 0);
    assert.equal(await found({ workflowUrl: `${app.url}/other/waits` }), 0);
    assert.equal(await found({ failureFunctionState: "CALLBACK_FAIL" }), 0);
    assert.equal(await found({ fromDate: run.workflowRunCreatedAt, toDate: Date.now() }), 1);
    assert.ok(plain.messageId);
  });
});

verifySignatures();
