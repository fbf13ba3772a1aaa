// Workflow endpoints written with the official SDK: what the server delivers
// to them, and what it tells of their runs.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, init, outline, qstash, raw, runLog, success, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const stub = await endpoint();
stub.on("/ask", (req, res) => res.status(201).set("X-Answer", "a<b>&c").json({ asked: req.body.q ?? null, 2: "b", 1: "a" }));

// deliveries are the requests of a run that reached a path, in order.
const deliveries = (app, path, id) => app.received(path).filter((r) => r.headers["upstash-workflow-runid"] === id);
const entries = (request) => JSON.parse(request.body).map((entry) => entry.messageId);

for (const [name, style] of [["Express", "workflow"], ["Hono", "honoWorkflow"], ["fetch", "fetchWorkflow"]]) {
  describe(name, { concurrency: true }, async () => {
    const app = await endpoint();
    const serve = (path, fn, options) => app[style](path, fn, options);
    const start = async (path, options) => (await workflow.trigger({ url: app.url + path, ...options })).workflowRunId;

    test("every kind of step", async () => {
      serve("/all", async (context) => {
        const { n, until } = context.requestPayload;
        const one = await context.run("one", () => ({ n, text: "<ü> & 'quotes'" }));
        await context.sleep("nap", 1);
        await context.sleepUntil("a date", until);
        const answer = await context.call("ask", {
          url: `${stub.url}/ask?of=${context.workflowRunId}`, method: "POST", body: JSON.stringify({ q: one.n }),
          headers: { "Content-Type": "application/json", "X-Ask": "1" },
        });
        const both = await Promise.all([context.run("left", () => "l"), context.run("right", async () => "r")]);
        const nothing = await context.run("nothing", () => {});
        const empty = await context.run("null", () => null);
        return { one, answer: answer.body, status: answer.status, both, nothing: nothing === undefined, empty };
      });
      const from = Date.now();
      const until = Math.floor(from / 1000) + 3.25;
      const id = await start("/all", { body: { n: 1, until }, headers: { "X-User": "ada" } });
      const run = await ended(id);
      const one = { n: 1, text: "<ü> & 'quotes'" };
      assert.equal(run.workflowState, "RUN_SUCCESS");
      assert.deepEqual(JSON.parse(run.workflowRunResponse), {
        one, answer: { asked: 1, 1: "a", 2: "b" }, status: 201, both: ["l", "r"], nothing: true, empty: null,
      });

      // The history.
      assert.equal(run.workflowRunId, id);
      assert.equal(run.workflowUrl, `${app.url}/all`);
      assert.equal(run.workflowRunCallerIp, "127.0.0.1");
      assert.ok(run.workflowRunCreatedAt >= from && run.workflowRunCompletedAt >= from + 2000);
      for (const name of ["dlqId", "label", "labels", "invoker", "failureFunction"]) assert.equal(run[name], undefined, name);
      assert.deepEqual(outline(run), [
        init, success("one"), success("nap", "SleepFor"), success("a date", "SleepUntil"), success("ask", "Call"),
        ["parallel", "left Run STEP_SUCCESS", "right Run STEP_SUCCESS"], success("nothing"), success("null"),
      ]);
      const steps = run.steps.flatMap((group) => group.steps);
      assert.deepEqual(steps.map((s) => s.stepId), [undefined, 1, 2, 3, 4, 5, 6, 7, 8]);
      assert.deepEqual(steps.map((s) => s.concurrent), [1, 1, 1, 1, 1, 2, 2, 1, 1]);
      const [first, , nap, date, ask, left, , nothing, empty] = steps;
      assert.equal(first.out, JSON.stringify({ n: 1, until }));
      assert.equal(first.callType, "step");
      assert.equal(first.retries, 3);
      assert.deepEqual(first.headers, {
        "Content-Type": ["application/json"], "Upstash-Workflow-Sdk-Version": ["1"], "X-User": ["ada"],
      });
      assert.deepEqual(JSON.parse(steps[1].out), one);
      assert.equal(nap.sleepFor, 1);
      assert.equal(nap.out, undefined);
      assert.equal(date.sleepUntil, Math.round(until));
      assert.equal(ask.callUrl, `${stub.url}/ask?of=${id}`);
      assert.equal(ask.callMethod, "POST");
      assert.equal(ask.callBody, '{"q":1}');
      assert.deepEqual(ask.callHeaders["X-Ask"], ["1"]);
      assert.equal(ask.callResponseStatus, 201);
      assert.deepEqual(JSON.parse(ask.callResponseBody), { asked: 1, 1: "a", 2: "b" });
      assert.deepEqual(ask.callResponseHeaders["X-Answer"], ["a<b>&c"]);
      assert.equal(left.out, '"l"');
      assert.equal(nothing.out, undefined);
      assert.equal(empty.out, "null");
      for (const step of steps) assert.ok(step.createdAt >= from && step.createdAt <= Date.now(), "no creation time");
      assert.equal(new Set(steps.map((s) => s.messageId)).size, steps.length);

      // The deliveries.
      const requests = deliveries(app, "/all", id);
      assert.ok(requests.length === 12 || requests.length === 11, `${requests.length} deliveries`); // one of the two results may be late
      assert.equal(new Set(requests.map((r) => r.headers["upstash-message-id"])).size, requests.length);
      const back = requests.filter((r) => r.headers["upstash-workflow-callback"]);
      assert.equal(back.length, 1);
      for (const { method, headers } of requests) {
        assert.equal(method, "POST");
        assert.equal(headers["upstash-workflow-url"], `${app.url}/all`);
        assert.equal(headers["upstash-workflow-createdat"], String(run.workflowRunCreatedAt));
        assert.equal(headers["upstash-retried"], "0");
        assert.equal(headers["content-type"], "application/json");
        assert.equal(headers["x-user"], "ada");
        assert.equal(headers.authorization, undefined);
      }
      assert.equal(back[0].headers["upstash-workflow-sdk-version"], undefined);
      const plain = requests.filter((r) => r !== back[0]);
      const longest = entries(plain.at(-1));
      for (const request of plain) {
        assert.equal(request.headers["upstash-workflow-sdk-version"], "1");
        const prefix = entries(request);
        assert.equal(prefix.at(-1), request.headers["upstash-message-id"], "a message that is not the last of its log");
        assert.deepEqual(prefix, longest.slice(0, prefix.length), "no prefix of the log");
      }
      const naps = plain.filter((r) => entries(r).length === 3 || entries(r).length === 4);
      assert.ok(naps[0].at - plain[1].at >= 1000 && naps[1].at >= Math.round(until) * 1000, "too early");
    });

    test("what the third party gets", async () => {
      serve("/calls", (context) => context.call("ask", {
        url: `${stub.url}/ask?third=${style}`, method: "PUT", body: "q", headers: { "X-Ask": "yes" },
      }));
      const id = await start("/calls", { headers: { "X-User": "ada", Authorization: "Bearer of-the-user" } });
      assert.equal((await ended(id)).workflowState, "RUN_SUCCESS");
      const { method, headers, body } = stub.requests.find((r) => r.url.endsWith(`third=${style}`));
      assert.equal(method, "PUT");
      assert.equal(body.toString(), "q");
      assert.equal(headers["x-ask"], "yes");
      assert.equal(headers["x-user"], undefined);
      assert.equal(headers.authorization, undefined);
      assert.deepEqual(Object.keys(headers).filter((name) => name.startsWith("upstash-workflow")), []);
      for (const request of deliveries(app, "/calls", id)) {
        assert.equal(request.headers.authorization, "Bearer of-the-user");
      }
    });

    test("a cancel from inside", async () => {
      serve("/cancels", async (context) => {
        await context.run("first", () => 1);
        await context.cancel();
        await context.run("never", () => assert.fail());
      });
      const id = await start("/cancels");
      const run = await ended(id);
      assert.equal(run.workflowState, "RUN_CANCELED");
      assert.ok(run.workflowRunCompletedAt >= run.workflowRunCreatedAt);
      assert.deepEqual(outline(run).slice(0, 2), [init, success("first")]);
      assert.equal(run.dlqId, undefined);
      assert.equal(run.failureFunction, undefined);
      assert.equal((await raw("GET", `/v2/workflows/runs/${id}`)).status, 404);
    });

    test("no steps at all are a refusal", async () => {
      serve("/none", () => "done");
      const id = await start("/none", { retries: 0 });
      const run = await ended(id);
      assert.equal(run.workflowState, "RUN_FAILED");
      assert.equal(run.steps[1].steps[0].errors[0].status, 400);
    });

    test("authorization before the first step", async () => {
      const refused = [];
      serve("/auth", async (context) => {
        if (context.headers.get("authorization") !== "Bearer secret") {
          refused.push(context.workflowRunId);
          return;
        }
        const { body } = await context.call("ask", { url: `${stub.url}/ask`, method: "POST", body: '{"q":"?"}' });
        return context.run("one", () => body.asked);
      });
      const good = await start("/auth", { headers: { Authorization: "Bearer secret" } });
      const bad = await start("/auth", { headers: { Authorization: "Bearer guess" }, retries: 1, retryDelay: "10" });
      assert.equal((await ended(good)).workflowRunResponse, '"?"');
      const run = await ended(bad);
      assert.equal(run.workflowState, "RUN_FAILED");
      assert.deepEqual(outline(run), [init, ["next", "STEP_FAILED"]]);
      const { errors } = run.steps[1].steps[0];
      assert.equal(errors.length, 2);
      assert.equal(errors[0].status, 400);
      assert.equal(errors[0].error, "400 Bad Request");
      assert.match(errors[0].body, /Failed to authenticate Workflow request/);
      assert.ok(!refused.includes(good) && refused.includes(bad));
    });

    test("a published message starts a run", async () => {
      serve("/plain", async (context) => {
        const { requestPayload, headers } = context;
        return context.run("one", () => ({ requestPayload, user: headers.get("x-user") }));
      });
      const { messageId } = await qstash.publishJSON({ url: `${app.url}/plain`, body: { a: [1] }, headers: { "X-User": "ada" } });
      const run = await until("the run", async () => {
        const { runs } = await workflow.logs({ workflowUrl: `${app.url}/plain`, state: "RUN_SUCCESS" });
        return runs[0];
      });
      assert.deepEqual(JSON.parse(run.workflowRunResponse), { requestPayload: { a: [1] }, user: "ada" });
      assert.deepEqual(outline(run), [init, success("one")]);
      const [first, second] = app.received("/plain");
      assert.equal(first.headers["upstash-message-id"], messageId);
      assert.equal(first.headers["upstash-workflow-runid"], undefined);
      assert.equal(second.headers["upstash-message-id"], entries(second)[0]);
      assert.notEqual(second.headers["upstash-signature"], first.headers["upstash-signature"]);
      assert.equal(second.headers.host, new URL(app.url).host);
    });

    test("an unsigned request starts nothing", async () => {
      let called = 0;
      serve("/unsigned", async (context) => {
        called++;
        await context.run("one", () => 1);
      });
      for (const signature of [undefined, "a.b.c", app.requests[0]?.headers["upstash-signature"] ?? "x"]) {
        const response = await fetch(`${app.url}/unsigned`, {
          method: "POST", body: "{}",
          headers: { "Content-Type": "application/json", "X-Suite": "1", ...(signature && { "Upstash-Signature": signature }) },
        });
        assert.equal(response.status, 500);
        assert.match((await response.json()).message, /Failed to verify that the Workflow request comes from QStash/);
      }
      assert.equal(called, 0);
    });

    test("steps that change their names fail", async () => {
      let name = "before";
      serve("/renamed", async (context) => {
        await context.run(name, () => (name = "after"));
        await context.run("last", () => {});
      });
      const run = await ended(await start("/renamed", { retries: 0 }));
      assert.equal(run.workflowState, "RUN_FAILED");
      assert.deepEqual(outline(run), [init, success("before"), ["next", "STEP_FAILED"]]);
      assert.match(run.steps[2].steps[0].errors[0].body, /Incompatible step name/);
    });
  });
}

describe("trigger API", { concurrency: true }, async () => {
  const app = await endpoint();
  app.workflow("/echo", (context) => context.run("echo", () => [context.requestPayload, context.headers.get("x-user")]));
  app.on("/old", (_, res) => res.set("Upstash-Workflow-Sdk-Version", "1").send("{}"));
  app.on("/none", (_, res) => res.send("hello"));
  const trigger = (path, headers, body) => raw("POST", `/v2/trigger/${app.url}${path}`, { headers, body });

  test("starts a run", async () => {
    const { status, body } = await trigger("/echo?q=1", {
      "Content-Type": "application/json", "Upstash-Forward-X-User": "ada", "Upstash-Label": "rest", "Upstash-Retries": "1",
    }, '{"a":1}');
    assert.equal(status, 200);
    assert.match(body.workflowRunId, /^wfr_/);
    assert.equal(typeof body.workflowCreatedAt, "number");
    const run = await ended(body.workflowRunId);
    assert.equal(run.workflowRunCreatedAt, body.workflowCreatedAt);
    assert.equal(run.workflowUrl, `${app.url}/echo?q=1`);
    assert.deepEqual(JSON.parse(run.workflowRunResponse), [{ a: 1 }, "ada"]);
    assert.equal(run.label, "rest");
    assert.equal(run.steps[0].steps[0].retries, 1);
  });

  test("shakes hands with an unknown SDK", async () => {
    const { body } = await trigger("/echo", { "Upstash-Workflow-Unknown-Sdk": "true", "Upstash-Forward-X-User": "eve" }, "text");
    const run = await ended(body.workflowRunId);
    assert.equal(run.workflowState, "RUN_SUCCESS");
    assert.deepEqual(JSON.parse(run.workflowRunResponse), ["text", "eve"]);
    const { runs } = await workflow.logs({ workflowRunId: body.workflowRunId });
    assert.equal(runs.length, 1);
    const asked = deliveries(app, "/echo", body.workflowRunId).map((r) => r.headers["upstash-workflow-unknown-sdk"]);
    assert.deepEqual(asked, ["true", undefined, undefined]);
  });

  test("starts many", async () => {
    const items = ["x", "y"].map((body) => ({ destination: `${app.url}/echo`, body }));
    const { status, body } = await raw("POST", "/v2/batch/trigger", { body: JSON.stringify(items) });
    assert.equal(status, 201);
    const runs = await Promise.all(body.map((started) => ended(started.workflowRunId)));
    assert.deepEqual(runs.map((run) => JSON.parse(run.workflowRunResponse)[0]), ["x", "y"]);
  });

  test("notices what is no workflow, or too old a one", async () => {
    for (const [path, message] of [
      ["/none", /detected a non-workflow destination for trigger\/invoke/],
      ["/old", /trigger rest api is only usable with sdk versions after v1.0.0 major version/],
    ]) {
      const { body } = await trigger(path, { "Upstash-Retries": "2" });
      const run = await ended(body.workflowRunId);
      assert.equal(run.workflowState, "RUN_FAILED");
      assert.match(run.steps[1].steps[0].errors[0].error, message);
      assert.equal(run.steps[1].steps[0].errors.length, 1);
    }
  });
});

verifySignatures();
