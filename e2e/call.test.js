// context.call: third parties of all sorts, and the one callback about them.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, qstash, workflow } from "./lib/signpost.js";

const stub = await endpoint();
stub.on("/json", (req, res) => res.json({ method: req.method, query: req.query, text: "ü <&>" }));
stub.on("/text", (_, res) => res.type("text/plain").send("grüß €"));
const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
stub.on("/bytes", (_, res) => res.type("application/octet-stream").send(bytes));
stub.on("/missing", (_, res) => res.status(404).json({ error: "missing" }));
stub.on("/broken", (_, res) => res.status(500).type("text").send("out of order"));
stub.on("/empty", (_, res) => res.status(204).end());
stub.on("/headers", (_, res) => res.set({ "X-Html": "<a href=\"?a=1&b=2\">", "X-Latin": "café", "X-Unicode": Buffer.from("€").toString("latin1"), "X-Many": ["1", "2"] }).send("x"));
stub.on("/hang", () => {});
let broken = 2;
stub.on("/flaky", (_, res) => (broken-- > 0 ? res.status(503).send("not now") : res.send("now")));
stub.on("/v1/chat/completions", (req, res) => res.json({ choices: [{ message: req.body.messages[0].content }] }));

for (const style of ["workflow", "fetchWorkflow"]) {
  describe(style === "workflow" ? "Express" : "fetch", { concurrency: true }, async () => {
    const app = await endpoint();
    // called runs a workflow that calls, and gives what the call gave.
    const called = async (path, settings) => {
      const { url = stub.url + path, ...others } = settings ?? {};
      const own = `/call${++count}?a=1&b=<2>`;
      app[style](own.slice(0, own.indexOf("?")), async (context) => {
        const { status, body, header } = await context.call("call", { url, ...others });
        return { status, body, header };
      });
      const { workflowRunId } = await workflow.trigger({ url: app.url + own });
      const run = await ended(workflowRunId);
      assert.equal(run.workflowState, "RUN_SUCCESS");
      const callbacks = app.requests.filter(
        (r) => r.headers["upstash-workflow-runid"] === workflowRunId && r.headers["upstash-workflow-callback"],
      );
      assert.equal(callbacks.length, 1, "callbacks");
      return { ...JSON.parse(run.workflowRunResponse), run, callback: JSON.parse(callbacks[0].body) };
    };
    let count = 0;

    test("JSON", async () => {
      const { status, body } = await called("/json?x=1&y=%20");
      assert.equal(status, 200);
      assert.deepEqual(body, { method: "GET", query: { x: "1", y: " " }, text: "ü <&>" });
    });
    test("text", async () => assert.equal((await called("/text", { method: "POST" })).body, "grüß €"));
    test("bytes", async () => {
      const { body, callback } = await called("/bytes");
      assert.deepEqual(Buffer.from(body, "latin1"), bytes);
      assert.deepEqual(Buffer.from(callback.body, "base64"), bytes);
    });
    test("an error is a result", async () => {
      const { status, body, run } = await called("/missing");
      assert.equal(status, 404);
      assert.deepEqual(body, { error: "missing" });
      const [step] = run.steps[1].steps;
      assert.deepEqual([step.state, step.stepType, step.callResponseStatus], ["STEP_SUCCESS", "Call", 404]);
    });
    test("nothing", async () => {
      const { status, body } = await called("/empty");
      assert.deepEqual([status, body], [204, ""]);
    });
    test("headers", async () => {
      const { header } = await called("/headers");
      assert.deepEqual(header["X-Html"], ['<a href="?a=1&b=2">']);
      assert.deepEqual(header["X-Many"], ["1", "2"]);
        assert.deepEqual(header["X-Latin"], ["café"]);
    });
    test("nobody there", async () => {
      const gone = await endpoint();
      gone.close();
      const { status, body } = await called("", { url: `${gone.url}/x` });
      assert.equal(status, 0);
      assert.equal(body, "");
    });
    test("no answer in time", async () => {
      const { status } = await called("/hang", { timeout: 1 });
      assert.equal(status, 0);
    });
    test("retries that do not help", async () => {
      const before = stub.received("/broken").length;
      const { status, body, callback } = await called("/broken", { retries: 2, retryDelay: "10" });
      assert.deepEqual([status, body], [500, "out of order"]);
      assert.equal(stub.received("/broken").length - before, 3);
      assert.deepEqual([callback.retried, callback.maxRetries], [2, 2]);
      const { messages } = await qstash.dlq.listMessages({ filter: { messageId: callback.sourceMessageId } });
      assert.deepEqual(messages, [], "a call in the DLQ");
    });
    test("two at once", async () => {
      app[style]("/two", async (context) => {
        const answers = await Promise.all([
          context.call("left", { url: `${stub.url}/text` }), context.call("right", { url: `${stub.url}/missing` }),
        ]);
        return answers.map((answer) => answer.status);
      });
      const { workflowRunId } = await workflow.trigger({ url: `${app.url}/two` });
      assert.equal((await ended(workflowRunId)).workflowRunResponse, "[200,404]");
    });
    test("another workflow", async () => {
      app[style]("/inner", (context) => context.run("inner", () => `got ${context.requestPayload.text}`));
      const { body } = await called("", {
        url: `${app.url}/inner`, method: "POST", body: '{"text":"it"}', headers: { "Content-Type": "application/json" },
      });
      assert.equal((await ended(body.workflowRunId)).workflowRunResponse, '"got it"');
    });
  });
}

test("retries that help", async () => {
  const app = await endpoint();
  app.workflow("/flaky", async (context) => {
    const { status, body } = await context.call("call", { url: `${stub.url}/flaky`, retries: 3, retryDelay: "10 * (1 + retried)" });
    return [status, body];
  });
  const { workflowRunId } = await workflow.trigger({ url: `${app.url}/flaky` });
  assert.equal((await ended(workflowRunId)).workflowRunResponse, '[200,"now"]');
  assert.deepEqual(stub.received("/flaky").map((r) => r.headers["upstash-retried"]), ["0", "1", "2"]);
  assert.equal(app.requests.filter((r) => r.headers["upstash-workflow-callback"]).length, 1);
});

test("a language model's API", async () => {
  const app = await endpoint();
  app.workflow("/llm", async (context) => {
    const { status, body } = await context.api.openai.call("complete", {
      baseURL: stub.url, token: "secret", operation: "chat.completions.create",
      body: { model: "m", messages: [{ role: "user", content: "hello" }] },
    });
    return [status, body.choices[0].message];
  });
  const { workflowRunId } = await workflow.trigger({ url: `${app.url}/llm` });
  assert.equal((await ended(workflowRunId)).workflowRunResponse, '[200,"hello"]');
  assert.equal(stub.received("/v1/chat/completions")[0].headers.authorization, "Bearer secret");
});

verifySignatures();
