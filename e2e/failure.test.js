// Runs that fail, and the failure functions of the official SDK.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WorkflowNonRetryableError, WorkflowRetryAfterError } from "@upstash/workflow";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, failureHandled, init, outline, qstash, raw, runLog, success, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

for (const [name, style] of [["Express", "workflow"], ["Hono", "honoWorkflow"], ["fetch", "fetchWorkflow"]]) {
  describe(name, { concurrency: true }, async () => {
    const app = await endpoint();
    const serve = (path, fn, options) => app[style](path, fn, options);
    const start = async (path, options) =>
      (await workflow.trigger({ url: app.url + path, retries: 0, retryDelay: "10", ...options })).workflowRunId;
    const callbacks = (id) => app.requests.filter(
      (r) => r.headers["upstash-workflow-runid"] === id && r.headers["upstash-workflow-is-failure"],
    );

    // The SDK takes a 400 for the end of its run, and would leave it where it is.
    test("a step that can't be asked for", async () => {
      for (const [what, step, error] of [
        ["sleep", (context) => context.sleep("s", "soon"), /Upstash-Delay/],
        ["wait", (context) => context.waitForEvent("s", "e", { timeout: "soon" }), /timeout/],
        ["url", (context) => context.call("s", { url: "example.com/x" }), /destination/],
        ["method", (context) => context.call("s", { url: app.url, method: "HEAD" }), /Upstash-Method/],
        ["delay", (context) => context.call("s", { url: app.url, retryDelay: "x(" }), /Upstash-Retry-Delay/],
        ["notify", (context) => context.notify("s", "e", 1, "wfr_none"), /wfr_none is not active/],
      ]) {
        serve(`/unfit-${what}`, async (context) => {
          await context.run("first", () => 1);
          await step(context);
        });
        const run = await ended(await start(`/unfit-${what}`));
        assert.equal(run.workflowState, "RUN_FAILED", what);
        assert.match(run.steps.at(-1).steps[0].errors[0].body, error);
      }
    });

    test("a failure function", async () => {
      const calls = [];
      serve("/handled", async (context) => {
        await context.run("good", () => "good");
        await context.run("bad step", () => {
          throw new TypeError("broken <&> ü");
        });
      }, {
        failureFunction: async ({ context, failStatus, failResponse, failHeaders, failStack }) => {
          const { requestPayload, headers, workflowRunId, labels, url, workflowRunCreatedAt } = context;
          calls.push({
            requestPayload, workflowRunId, labels, url, workflowRunCreatedAt, failStatus, failResponse, failHeaders, failStack,
            user: headers.get("x-user"),
          });
          return "cleaned up";
        },
      });
      const id = await start("/handled?a=1&b=2", {
        body: { order: 7 }, retries: 1, headers: { "X-User": "ada" }, label: ["l1", "l2"],
      });
      const run = await failureHandled(id);
      assert.equal(calls.length, 1);
      const [call] = calls;
      assert.deepEqual(call.requestPayload, { order: 7 });
      assert.equal(call.workflowRunId, id);
      assert.equal(call.workflowRunCreatedAt, run.workflowRunCreatedAt);
      assert.deepEqual(call.labels, ["l1", "l2"]);
      assert.equal(call.url, `${app.url}/handled?a=1&b=2`);
      assert.equal(call.user, "ada");
      assert.equal(call.failStatus, 500);
      assert.equal(call.failResponse, "broken <&> ü");
      assert.match(call.failStack, /TypeError: broken/);
      assert.deepEqual(call.failHeaders["Upstash-Error-Step-Name"], ["bad step"]);

      assert.equal(run.workflowState, "RUN_FAILED");
      assert.ok(run.workflowRunCompletedAt >= run.workflowRunCreatedAt);
      assert.deepEqual(outline(run), [init, success("good"), ["next", "bad step STEP_FAILED"]]);
      const [next] = run.steps[2].steps;
      assert.equal(next.retries, 1);
      assert.equal(next.retryDelay, "10");
      assert.equal(next.errors.length, 2);
      for (const error of next.errors) {
        assert.equal(error.status, 500);
        assert.equal(error.error, "500 Internal Server Error");
        assert.equal(JSON.parse(error.body).message, "broken <&> ü");
        assert.ok(error.time >= run.workflowRunCreatedAt);
      }
      const failure = run.failureFunction;
      assert.equal(failure.state, "CALLBACK_SUCCESS");
      assert.equal(failure.url, `${app.url}/handled?a=1&b=2`);
      assert.equal(failure.dlqId, run.dlqId);
      assert.equal(failure.failStatus, 500);
      assert.equal(JSON.parse(failure.failResponse).error, "TypeError");
      assert.deepEqual(failure.failHeaders["Upstash-Error-Step-Name"], ["bad step"]);
      assert.equal(failure.responseStatus, 200);
      assert.equal(failure.responseBody, '{"result":"cleaned up"}');
      const [request] = callbacks(id);
      assert.equal(failure.messageId, request.headers["upstash-message-id"]);
      assert.equal(request.headers["upstash-workflow-failure-callback"], "true");
      assert.equal(request.headers["upstash-workflow-url"], `${app.url}/handled?a=1&b=2`);
      const { messages } = await workflow.dlq.list({ filter: { workflowRunId: id } });
      assert.deepEqual(messages.map((m) => [m.dlqId, m.failureFunctionState]), [[run.dlqId, "CALLBACK_SUCCESS"]]);
      assert.equal(messages[0].failureCallbackInfo.state, "CALLBACK_SUCCESS");
    });

    test("an error that is not to be retried", async () => {
      serve("/final", async (context) => {
        await context.run("step", () => {
          throw new WorkflowNonRetryableError("never");
        });
      });
      const id = await start("/final", { retries: 5 });
      const run = await ended(id);
      assert.equal(run.workflowState, "RUN_FAILED");
      const [next] = run.steps[1].steps;
      assert.equal(next.errors.length, 1);
      assert.equal(next.errors[0].status, 489);
      assert.equal(JSON.parse(next.errors[0].body).message, "never");
    });

    test("an error that says when to retry", async () => {
      let times = [];
      serve("/later", async (context) => {
        await context.run("step", () => {
          times.push(Date.now());
          if (times.length === 1) throw new WorkflowRetryAfterError("busy", 1);
          return "done";
        });
      });
      const id = await start("/later", { retries: 1 });
      await until("the error", async () => (await runLog(id))?.steps[1]?.steps[0].errors);
      const [next] = (await runLog(id)).steps[1].steps;
      assert.equal(next.state, "STEP_RETRY");
      assert.equal(next.errors[0].status, 429);
      assert.ok(next.nextDeliveryTime >= times[0] + 1000, "no time of the retry");
      assert.equal((await ended(id)).workflowState, "RUN_SUCCESS");
      assert.ok(times[1] - times[0] >= 1000 && times[1] - times[0] < 5000, `after ${times[1] - times[0]} ms`);
    });

    test("no failure function", async () => {
      serve("/unhandled", async (context) => {
        await context.run("step", () => Promise.reject(new Error("broken")));
      });
      const id = await start("/unhandled");
      const run = await ended(id);
      assert.equal(run.workflowState, "RUN_FAILED");
      const [request] = await until("the failure callback", () => callbacks(id)[0] && callbacks(id));
      await until("its answer", async () => (await runLog(id)).failureFunction === undefined);
      const { logs } = await qstash.logs({ messageIds: [request.headers["upstash-message-id"]] });
      assert.equal(logs[0].state, "DELIVERED");
    });

    test("a failure function that fails", async () => {
      serve("/worse", async (context) => {
        await context.run("step", () => Promise.reject(new Error("broken")));
      }, { failureFunction: () => Promise.reject(new RangeError("worse")) });
      const id = await start("/worse", { retries: 1 });
      const run = await failureHandled(id);
      assert.equal(run.failureFunction.state, "CALLBACK_FAIL");
      assert.equal(run.failureFunction.responseStatus, 500);
      assert.equal(JSON.parse(run.failureFunction.responseBody).message, "worse");
      assert.equal(run.failureFunction.errors.length, 2);
      assert.equal(callbacks(id).length, 2);
      assert.equal(run.workflowState, "RUN_FAILED");
    });

    test("a failure function is for those who are authorized", async () => {
      const handled = [];
      let revoked = false;
      serve("/guarded", async (context) => {
        if (revoked || context.headers.get("authorization") !== "Bearer secret") return;
        await context.run("step", () => {
          revoked = context.requestPayload === "revoke";
          throw new Error("broken");
        });
      }, { failureFunction: ({ context }) => void handled.push(context.workflowRunId) });
      const headers = { Authorization: "Bearer secret" };
      const allowed = await start("/guarded", { headers });
      assert.equal((await failureHandled(allowed)).failureFunction.state, "CALLBACK_SUCCESS");
      const refused = await start("/guarded", { headers, body: "revoke" });
      const run = await failureHandled(refused);
      assert.equal(run.failureFunction.state, "CALLBACK_FAIL");
      assert.match(run.failureFunction.responseBody, /Not authorized to run the failure function/);
      assert.deepEqual(handled, [allowed]);
    });

    test("a forged failure callback", async () => {
      let handled = 0;
      serve("/forged", async (context) => {
        await context.run("step", () => 1);
      }, { failureFunction: () => void handled++ });
      const response = await fetch(`${app.url}/forged`, {
        method: "POST",
        headers: {
          "Content-Type": "application/json", "X-Suite": "1", "Upstash-Workflow-Is-Failure": "true",
          "Upstash-Workflow-Failure-Callback": "true", "Upstash-Workflow-RunId": "wfr_forged",
        },
        body: JSON.stringify({ status: 500, header: {}, body: "", sourceBody: "", workflowRunId: "wfr_forged" }),
      });
      assert.equal(response.status, 500);
      assert.equal(handled, 0);
    });

    test("an endpoint that is gone", async () => {
      const gone = await endpoint();
      gone.close();
      const told = `/told-${style}`;
      app.on(told, (_, res) => res.send());
      const { workflowRunId: id } = await workflow.trigger({
        url: `${gone.url}/x`, body: "payload", retries: 1, retryDelay: "10", failureUrl: app.url + told,
      });
      const run = await failureHandled(id);
      assert.equal(run.workflowState, "RUN_FAILED");
      assert.deepEqual(outline(run), [init, ["next", "STEP_FAILED"]]);
      const { errors } = run.steps[1].steps[0];
      assert.equal(errors.length, 2);
      assert.notEqual(errors[0].error ?? "", "");
      const failure = JSON.parse(app.received(told)[0].body);
      assert.equal(failure.status, 0);
      assert.equal(Buffer.from(failure.sourceBody, "base64").toString(), "payload");
    });

    test("a failed run takes no more steps", async () => {
      serve("/over", async (context) => {
        await context.run("step", () => Promise.reject(new Error("broken")));
      });
      const id = await start("/over");
      await ended(id);
      assert.equal((await raw("GET", `/v2/workflows/runs/${id}`)).status, 404);
      const { status } = await raw("POST", `/v2/publish/${app.url}/over`, {
        headers: { "Upstash-Workflow-Init": "false", "Upstash-Workflow-RunId": id, "Upstash-Workflow-Url": `${app.url}/over` },
        body: '{"stepId":1,"stepName":"late","stepType":"Run","concurrent":1}',
      });
      assert.equal(status, 400);
      assert.deepEqual(await workflow.cancel(id), { cancelled: 0 });
    });
  });
}

verifySignatures();
