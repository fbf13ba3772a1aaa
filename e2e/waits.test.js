// Workflows of the official SDK that wait: for events, and for calls of their
// webhooks.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, init, outline, runLog, success, token, url, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

// waiting waits until n runs wait for an event, and gives who waits.
const waiting = (eventId, n = 1) =>
  until(`${n} to wait for ${eventId}`, async () => {
    const waiters = await workflow.getWaiters({ eventId });
    return waiters.length === n && waiters;
  });
const result = (run) => JSON.parse(run.workflowRunResponse);
const stepOf = (run, name) => run.steps.flatMap((group) => group.steps).find((s) => s.stepName === name);
// stepped waits until a step is in a run's history.
const stepped = (id, name, check = () => true) =>
  until(`step ${name} of ${id}`, async () => {
    const step = stepOf((await runLog(id)) ?? { steps: [] }, name);
    return step && check(step) && step;
  });

let ids = 0;
const fresh = (name) => `${name}-${process.pid}-${++ids}`;

for (const [name, style] of [["Express", "workflow"], ["Hono", "honoWorkflow"], ["fetch", "fetchWorkflow"]]) {
  describe(name, { concurrency: true }, async () => {
    const app = await endpoint();
    const serve = (path, fn, options) => app[style](path, fn, options);
    const start = async (path, options) => (await workflow.trigger({ url: app.url + path, ...options })).workflowRunId;

    serve("/event", async (context) => {
      const { eventId, timeout } = context.requestPayload;
      await context.run("before", () => 1);
      const waited = await context.waitForEvent("the event", eventId, { timeout });
      const after = await context.run("after", () => waited.timeout);
      return { ...waited, after };
    });

    for (const [what, data] of [
      ["an object", { amount: 1, text: "<ü> & 'quotes'" }], ["text", "plain text"], ["a number", 7], ["a list", [1, "2"]], ["nothing", undefined],
    ]) {
      test(`an event with ${what}`, async () => {
        const eventId = fresh("event");
        const id = await start("/event", { body: { eventId, timeout: "10d" } });
        const [waiter] = await waiting(eventId);
        assert.equal(waiter.url, `${app.url}/event`);
        assert.deepEqual(waiter.headers["Upstash-Workflow-Runid"], [id]);
        assert.ok(Math.abs(waiter.deadline - Date.now() / 1000 - 864_000) < 60);
        assert.ok(!JSON.stringify(waiter).includes(token), "the token is shown");
        const step = await stepped(id, "the event");
        assert.equal(step.state, "STEP_PROGRESS");
        assert.equal(step.waitEventId, eventId);
        assert.equal(step.waitTimeoutDuration, "10d");
        assert.equal(step.waitTimeoutDeadline, waiter.deadline);

        const told = await workflow.notify({ eventId, eventData: data });
        assert.equal(told.length, 1);
        assert.equal(told[0].workflowRunId, id);
        assert.deepEqual(told[0].waiter, waiter);
        assert.equal(told[0].error, "");
        assert.match(told[0].messageId, /^msg_/);
        const run = await ended(id);
        const expected = data === undefined ? {} : { eventData: data };
        assert.deepEqual(result(run), { ...expected, timeout: false, after: false });
        assert.deepEqual(outline(run), [init, success("before"), success("the event", "Wait"), success("after")]);
        assert.equal(stepOf(run, "the event").messageId, told[0].messageId);
        assert.deepEqual(await workflow.notify({ eventId, eventData: "late" }), []);
        assert.deepEqual(await workflow.getWaiters({ eventId }), []);
      });
    }

    test("an event whose id has slashes", async () => {
      const eventId = fresh("order/7") + "/paid";
      const [all, one] = [await start("/event", { body: { eventId } }), await start("/event", { body: { eventId } })];
      await waiting(eventId, 2);
      const told = await workflow.notify({ eventId, workflowRunId: one, eventData: "one" });
      assert.equal(told[0].workflowRunId, one);
      assert.deepEqual((await workflow.notify({ eventId, eventData: "all" })).map((n) => n.workflowRunId), [all]);
      assert.equal(result(await ended(one)).eventData, "one");
      assert.equal(result(await ended(all)).eventData, "all");
    });

    test("no event", async () => {
      const eventId = fresh("never");
      assert.deepEqual(await workflow.notify({ eventId, eventData: "nobody waits" }), []);
      const from = Date.now();
      const id = await start("/event", { body: { eventId, timeout: 1 } });
      const run = await ended(id);
      assert.deepEqual(result(run), { timeout: true, after: true });
      assert.ok(Date.now() - from >= 1000);
      const step = stepOf(run, "the event");
      assert.equal(step.state, "STEP_SUCCESS");
      assert.equal(step.waitTimeout, true);
      assert.equal(step.waitTimeoutDuration, "1s");
      assert.equal(step.out, undefined);
    });

    test("many who wait are all told", async () => {
      const eventId = fresh("all");
      const started = await workflow.trigger(Array.from({ length: 20 }, () => ({ url: `${app.url}/event`, body: { eventId, timeout: "1d" } })));
      await waiting(eventId, 20);
      const told = await workflow.notify({ eventId, eventData: "go" });
      const ids = started.map((run) => run.workflowRunId);
      assert.deepEqual(told.map((one) => one.workflowRunId).sort(), [...ids].sort());
      for (const id of ids) assert.equal(result(await ended(id)).eventData, "go");
    });

    test("events for one run are kept, in order", async () => {
      const eventId = fresh("kept");
      serve(`/${eventId}`, async (context) => {
        await context.waitForEvent("gate", `${eventId}-gate`);
        const all = [];
        for (let i = 0; i < 4; i++) all.push(await context.waitForEvent(`wait ${i}`, eventId, { timeout: i === 3 ? "1s" : "1d" }));
        return all;
      });
      const id = await start(`/${eventId}`);
      const other = await start("/event", { body: { eventId, timeout: "1d" } });
      await waiting(`${eventId}-gate`);
      await waiting(eventId);
      for (const n of [1, 2]) {
        const told = await workflow.notify({ eventId, eventData: { n }, workflowRunId: id });
        assert.equal(told.length, 1);
        assert.equal(told[0].messageId, "");
        assert.equal(told[0].workflowRunId, id);
      }
      await workflow.notify({ eventId: `${eventId}-gate` });
      await stepped(id, "wait 2", (step) => step.state === "STEP_PROGRESS");
      const [told] = await workflow.notify({ eventId, eventData: { n: 3 }, workflowRunId: id });
      assert.match(told.messageId, /^msg_/);
      assert.deepEqual(result(await ended(id)), [
        { eventData: { n: 1 }, timeout: false }, { eventData: { n: 2 }, timeout: false }, { eventData: { n: 3 }, timeout: false }, { timeout: true },
      ]);
      await waiting(eventId);
      await workflow.cancel({ ids: [other] });
      await waiting(eventId, 0);
      assert.equal(stepOf(await runLog(other), "the event").state, "STEP_CANCELED");
      await assert.rejects(workflow.notify({ eventId, workflowRunId: id }), (error) => {
        assert.equal(error.status, 404);
        assert.match(JSON.parse(error.message).error, /is not active/);
        return true;
      });
    });

    test("a workflow tells another", async () => {
      const eventId = fresh("told");
      serve(`/${eventId}`, async (context) => {
        const { notifyResponse, ...rest } = await context.notify("tell", eventId, { from: context.workflowRunId });
        const kept = await context.notify("tell one", `${eventId}-2`, "later", context.requestPayload);
        return { rest, told: notifyResponse.map((one) => one.workflowRunId), kept: kept.notifyResponse.length };
      });
      serve(`/${eventId}-waits`, async (context) => [
        await context.waitForEvent("first", eventId), await context.waitForEvent("second", `${eventId}-2`),
      ]);
      const waits = await start(`/${eventId}-waits`);
      await waiting(eventId);
      const id = await start(`/${eventId}`, { body: waits });
      const run = await ended(id);
      assert.deepEqual(result(run), { rest: { eventId, eventData: { from: id } }, told: [waits], kept: 1 });
      assert.deepEqual(outline(run), [init, success("tell", "Notify"), success("tell one", "Notify")]);
      assert.deepEqual(result(await ended(waits)), [{ eventData: { from: id }, timeout: false }, { eventData: "later", timeout: false }]);
    });

    test("in parallel", async () => {
      const eventId = fresh("parallel");
      serve(`/${eventId}`, async (context) => {
        const hook = await context.createWebhook("hook");
        const all = await Promise.all([
          context.waitForEvent("told", eventId),
          context.run("runs", () => "ran"),
          context.waitForEvent("in vain", `${eventId}-never`, { timeout: "1s" }),
          context.waitForWebhook("called", hook, "1d"),
          context.waitForEvent("told, too", eventId),
          context.sleep("sleeps", 1),
        ]);
        return [all[0], all[1], all[2], await all[3].request.text(), all[4]];
      });
      const id = await start(`/${eventId}`);
      await waiting(eventId, 2);
      const { out } = await stepped(id, "hook");
      await stepped(id, "called", (step) => step.waitEventId);
      const before = await stepped(id, "told");
      assert.equal(before.state, "STEP_PROGRESS");
      assert.equal(before.waitEventId, eventId);
      assert.equal(before.waitTimeoutDuration, "7d");
      await stepped(id, "in vain", (step) => step.waitTimeout);
      assert.equal((await fetch(JSON.parse(out).webhookUrl, { method: "POST", body: "hello" })).status, 200);
      assert.equal((await workflow.notify({ eventId, eventData: "x" })).length, 2);
      const run = await ended(id);
      const told = { eventData: "x", timeout: false };
      assert.deepEqual(result(run), [told, "ran", { timeout: true }, "hello", told]);
      assert.deepEqual(outline(run), [init, success("hook", "CreateWebhook"), [
        "parallel", "told Wait STEP_SUCCESS", "runs Run STEP_SUCCESS", "in vain Wait STEP_SUCCESS",
        "called WaitForWebhook STEP_SUCCESS", "told, too Wait STEP_SUCCESS", "sleeps SleepFor STEP_SUCCESS",
      ]]);
    });

    test("a webhook called twice, then waited for twice, and once in vain", async () => {
      const eventId = fresh("hooks");
      serve(`/${eventId}`, async (context) => {
        const hook = await context.createWebhook("hook");
        await context.waitForEvent("gate", eventId);
        const calls = [];
        for (let i = 0; i < 4; i++) {
          const { timeout, request } = await context.waitForWebhook(`call ${i}`, hook, i === 3 ? "1s" : "1d");
          calls.push(await context.run(`read ${i}`, async () => request
            ? { timeout, url: request.url, method: request.method, of: request.headers.get("x-of"), body: await request.text() }
            : { timeout }));
        }
        return { hook, calls };
      });
      const id = await start(`/${eventId}`);
      await waiting(eventId);
      const hook = JSON.parse((await stepped(id, "hook")).out);
      assert.ok(hook.webhookUrl.startsWith(`${url}/v2/workflows/hooks/`));
      assert.match(hook.eventId, /^evt_/);
      const call = async (query, options) => {
        const answer = await fetch(hook.webhookUrl + query, options);
        assert.equal(answer.status, 200, await answer.text());
      };
      await call("?n=1&text=%C3%BC", { method: "POST", body: '{"text":"ü"}', headers: { "X-Of": "one" } });
      await call("?n=2", { method: "GET", headers: { "X-Of": "two" } });
      await workflow.notify({ eventId });
      await stepped(id, "call 2", (step) => step.state === "STEP_PROGRESS");
      await call("", { method: "PUT", body: "three", headers: { "X-Of": "three" } });
      const run = await ended(id);
      assert.deepEqual(result(run), { hook, calls: [
        { timeout: false, url: `${hook.webhookUrl}?n=1&text=%C3%BC`, method: "POST", of: "one", body: '{"text":"ü"}' },
        { timeout: false, url: `${hook.webhookUrl}?n=2`, method: "GET", of: "two", body: "" },
        { timeout: false, url: hook.webhookUrl, method: "PUT", of: "three", body: "three" },
        { timeout: true },
      ] });
      assert.equal(stepOf(run, "call 3").waitTimeout, true);
      for (const gone of [hook.webhookUrl, `${hook.webhookUrl}x`]) {
        const answer = await fetch(gone, { method: "POST" });
        assert.equal(answer.status, 404);
        assert.deepEqual(await answer.json(), { error: "there is no such webhook" });
      }
    });

    test("cancelled while it waits", async () => {
      const eventId = fresh("cancelled");
      const id = await start("/event", { body: { eventId, timeout: "1d" } });
      await waiting(eventId);
      await workflow.cancel({ ids: [id] });
      assert.deepEqual(await workflow.notify({ eventId, eventData: 1 }), []);
      const run = await ended(id);
      assert.equal(run.workflowState, "RUN_CANCELED");
      assert.deepEqual(outline(run), [init, success("before"), ["sequential", "the event Wait STEP_CANCELED"]]);
    });
  });
}

verifySignatures();
