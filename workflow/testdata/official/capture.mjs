// Records what the official TypeScript SDK (@upstash/workflow 1.3.3) puts on the
// wire, so that golden_test.go can compare this package with it field by field.
//
//	npm install --prefix DIR @upstash/workflow@1.3.3
//	node capture.mjs DIR > exchanges.json
//
// Every exchange is one delivery to an endpoint, the requests the endpoint made
// while it answered, and its answer. The workflows here have twins of the same
// name in golden_test.go.
import http from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const dir = path.resolve(process.argv[2] ?? ".");
const require = createRequire(path.join(dir, "node_modules", "x.js"));
const load = (name) => import(pathToFileURL(require.resolve(name).replace(/\.js$/, ".mjs")));
const { serve, WorkflowNonRetryableError, WorkflowRetryAfterError } = await load("@upstash/workflow");
const { Client } = await load("@upstash/qstash");

const workflowURL = "https://app.example/api/wf?v=1";
const b64 = (text) => Buffer.from(text).toString("base64");

const workflows = {
  sequential: async (ctx) => {
    const user = await ctx.run("create user", () => ({ id: 7, name: "<Ada & co>", email: ctx.requestPayload.email }));
    await ctx.sleep("wait", 90);
    await ctx.sleepUntil("until", 1767225600);
    const text = await ctx.run("text", () => `hi ${user.name}`);
    await ctx.run("void", () => {});
    return { text };
  },
  parallel: async (ctx) => {
    const before = await ctx.run("before", () => 1);
    const [a, , c] = await Promise.all([
      ctx.run("a", () => before + 1),
      ctx.sleep("b", 60),
      ctx.run("c", () => "three"),
    ]);
    await ctx.run("after", () => [a, c]);
  },
  parallelTimers: async (ctx) => {
    await Promise.all([
      ctx.sleepUntil("u", 1767225600),
      ctx.call("k", { url: "https://api.third/k?x=1" }),
    ]);
  },
  call: async (ctx) => {
    const answer = await ctx.call("ask", {
      url: "https://api.third/x?y=1", method: "PATCH", body: "raw string",
      headers: { "my-header": "v", "content-type": "text/plain" },
      retries: 2, retryDelay: "2000", timeout: 10,
    });
    await ctx.run("after", () => answer.status);
  },
  plainCall: async (ctx) => {
    await ctx.call("ask", { url: "https://api.third/" });
  },
  threeRetries: async (ctx) => {
    await ctx.call("ask", { url: "https://api.third/", method: "POST", body: "b", retries: 3 });
  },
  cancel: async (ctx) => {
    await ctx.run("one", () => 1);
    await ctx.cancel();
  },
  fails: async (ctx) => {
    await ctx.run("breaks", () => { throw new Error("no luck"); });
  },
  failsForGood: async (ctx) => {
    await ctx.run("breaks", () => { throw new WorkflowNonRetryableError("never"); });
  },
  waits: async (ctx) => {
    const { eventData, timeout } = await ctx.waitForEvent("w", "evt 1ü", { timeout: 600 });
    return { eventData, timeout };
  },
  parallelWaits: async (ctx) => {
    const [a] = await Promise.all([ctx.waitForEvent("a", "evt_a"), ctx.run("b", () => 1)]);
    return a.eventData;
  },
  webhook: async (ctx) => {
    const { timeout, request } = await ctx.waitForWebhook("h", { eventId: "evt_h", webhookUrl: "" }, "1h");
    return { timeout, url: request?.url, method: request?.method, body: request && await request.text(), x: request?.headers.get("x-a") };
  },
  notifies: async (ctx) => {
    const { notifyResponse } = await ctx.notify("n", "evt_n", { amount: 1.5 });
    return notifyResponse.length;
  },
  notifiesText: async (ctx) => {
    await ctx.notify("n", "evt_n", "paid <&>");
  },
  notifiesRun: async (ctx) => {
    await ctx.notify("n", "evt_n", "paid", "wfr_9");
  },
  invokes: async (ctx) => {
    const { body, isFailed, isCanceled } = await ctx.invoke("i", {
      workflow: { workflowId: "child" }, body: { count: 42 }, headers: { "x-child": "1" }, workflowRunId: "own", retries: 1, retryDelay: "10",
      flowControl: { key: "k", parallelism: 2, rate: 5, period: 60 }, label: "l3",
    });
    return { body, isFailed, isCanceled };
  },
  invokesPlainly: async (ctx) => {
    const { body, isFailed } = await ctx.invoke("i", { workflow: { workflowId: "child" } });
    return { body, isFailed };
  },
  parallelInvokes: async (ctx) => {
    await Promise.all([ctx.invoke("i", { workflow: { workflowId: "child" }, body: "text" }), ctx.run("b", () => 1)]);
  },
  failsForNow: async (ctx) => {
    await ctx.run("breaks", () => { throw new WorkflowRetryAfterError("later", 30); });
  },
};

const step = (n) => ({ "upstash-workflow-sdk-version": "1", "upstash-workflow-runid": "wfr_1", "upstash-workflow-url": workflowURL,
  "upstash-workflow-createdat": "1700000000000", "upstash-message-id": `msg_${n}`, "upstash-retried": "0",
  "content-type": "application/json", "user-header": "v", "authorization": "Bearer user", "upstash-label": "l1,l2" });
const init = JSON.stringify({ email: "ada@example.com" });
const log = (...steps) => JSON.stringify([init, ...steps].map((s, i) => ({
  messageId: `msg_${i}`, body: b64(typeof s === "string" ? s : JSON.stringify(s)), callType: "step" })));
const at = (...steps) => ({ headers: step(steps.length), body: log(...steps) });

const S = {
  user: { stepId: 1, stepName: "create user", stepType: "Run", out: JSON.stringify({ id: 7, name: "<Ada & co>", email: "ada@example.com" }), concurrent: 1 },
  wait: { stepId: 2, stepName: "wait", stepType: "SleepFor", sleepFor: 90, concurrent: 1 },
  until: { stepId: 3, stepName: "until", stepType: "SleepUntil", sleepUntil: 1767225600, concurrent: 1 },
  text: { stepId: 4, stepName: "text", stepType: "Run", out: '"hi <Ada & co>"', concurrent: 1 },
  void: { stepId: 5, stepName: "void", stepType: "Run", concurrent: 1 },
  before: { stepId: 1, stepName: "before", stepType: "Run", out: "1", concurrent: 1 },
  pa: { stepId: 0, stepName: "a", stepType: "Run", concurrent: 3, targetStep: 2 },
  pb: { stepId: 0, stepName: "b", stepType: "SleepFor", sleepFor: 60, concurrent: 3, targetStep: 3 },
  pc: { stepId: 0, stepName: "c", stepType: "Run", concurrent: 3, targetStep: 4 },
  ra: { stepId: 2, stepName: "a", stepType: "Run", out: "2", concurrent: 3 },
  rb: { stepId: 3, stepName: "b", stepType: "SleepFor", sleepFor: 60, concurrent: 3 },
  rc: { stepId: 4, stepName: "c", stepType: "Run", out: '"three"', concurrent: 3 },
  after: { stepId: 5, stepName: "after", stepType: "Run", out: '[2,"three"]', concurrent: 1 },
  pu: { stepId: 0, stepName: "u", stepType: "SleepUntil", sleepUntil: 1767225600, concurrent: 2, targetStep: 1 },
  pk: { stepId: 0, stepName: "k", stepType: "Call", concurrent: 2, targetStep: 2 },
  ask: { stepId: 1, stepName: "ask", stepType: "Call", out: JSON.stringify({ status: 401, body: "Ã©", header: { "Content-Type": ["text/plain"] } }), concurrent: 1 },
  one: { stepId: 1, stepName: "one", stepType: "Run", out: "1", concurrent: 1 },
  onlyA: { stepId: 1, stepName: "other", stepType: "Run", out: "1", concurrent: 1 },
  asSleep: { stepId: 1, stepName: "create user", stepType: "SleepFor", sleepFor: 3, concurrent: 1 },
};
const waited = (more) => ({ stepId: 1, stepName: "w", stepType: "Wait", waitEventId: "evt 1ü", concurrent: 1, ...more });
const hooked = (more) => ({ stepId: 1, stepName: "h", stepType: "WaitForWebhook", waitEventId: "evt_h", concurrent: 1, ...more });
const invoked = (out) => ({ stepId: 1, stepName: "i", stepType: "Invoke", out: JSON.stringify(out), concurrent: 1 });
const planned = (targetStep, stepName, stepType, more) => ({ stepId: 0, stepName, stepType, concurrent: 2, targetStep, ...more });
const hook = { method: "POST", header: { "X-A": ["1"] }, body: b64("é"), proto: "https", host: "h.example", url: "/hook?q=1" };
const told = [{ waiter: { url: workflowURL, headers: { "Upstash-Workflow-Runid": ["wfr_2"] }, deadline: 1767225600, timeoutUrl: workflowURL },
  messageId: "msg_N", deduplicated: false, error: "", workflowRunId: "wfr_2", workflowCreatedAt: 1700000000000 }];
const callback = JSON.stringify({ status: 401, header: { K: ["v"], "Content-Type": ["text/plain"] },
  body: Buffer.from([0x68, 0xc3, 0xa9, 0x00, 0xff, 0x22]).toString("base64"),
  retried: 1, maxRetries: 1, sourceMessageId: "msg_T", url: "https://api.third/x", method: "PATCH" });
const fromCallback = { "upstash-workflow-callback": "true", "upstash-workflow-stepid": "1", "upstash-workflow-stepname": "ask",
  "upstash-workflow-steptype": "Call", "upstash-workflow-concurrent": "1", "upstash-workflow-contenttype": "text/plain",
  "upstash-workflow-runid": "wfr_1", "upstash-message-id": "msg_C", "content-type": "application/json", "user-header": "v" };
const withHeaders = (d, more) => ({ ...d, headers: { ...d.headers, ...more } });

const exchanges = [
  ["first invocation", "sequential", { headers: { "content-type": "application/json", "user-header": "v", authorization: "Bearer user",
    "upstash-label": "l1,l2", "x-forwarded-for": "1.2.3.4", "x-vercel-id": "x", "cf-ray": "r", "upstash-region": "us-east-1" }, body: init }],
  ["first invocation, text payload", "sequential", { headers: { "content-type": "text/plain" }, body: "not json" }],
  ["unknown sdk", "sequential", withHeaders(at(), { "upstash-workflow-unknown-sdk": "true" })],
  ["run", "sequential", at()],
  ["run, invoked", "sequential", withHeaders(at(), { "upstash-workflow-invoke-count": "2" })],
  ["sleep", "sequential", at(S.user)],
  ["sleepUntil", "sequential", at(S.user, S.wait)],
  ["run, text", "sequential", at(S.user, S.wait, S.until)],
  ["run, no value", "sequential", at(S.user, S.wait, S.until, S.text)],
  ["finish", "sequential", at(S.user, S.wait, S.until, S.text, S.void)],
  ["duplicate step", "sequential", at(S.user, S.wait, S.user)],
  ["duplicate before the last", "sequential", at(S.user, { ...S.user, out: '{"name":"other"}' }, S.wait, S.until)],
  ["plan", "parallel", at(S.before)],
  ["partial, first of three", "parallel", at(S.before, S.pa)],
  ["partial, a timer", "parallel", at(S.before, S.pa, S.pb)],
  ["partial, last of three", "parallel", at(S.before, S.pa, S.pb, S.pc)],
  ["discard, one result", "parallel", at(S.before, S.pa, S.pb, S.pc, S.rc)],
  ["discard, two results", "parallel", at(S.before, S.pa, S.pb, S.pc, S.rc, S.ra)],
  ["last", "parallel", at(S.before, S.pa, S.pb, S.pc, S.rc, S.ra, S.rb)],
  ["duplicate plan before the last", "parallel", at(S.before, S.pa, S.pb, S.pa, S.pc)],
  ["duplicate plan", "parallel", at(S.before, S.pa, S.pb, S.pa)],
  ["duplicate result of three", "parallel", at(S.before, S.pa, S.pb, S.pc, S.rc, S.ra, S.rc)],
  ["late timer plan", "parallel", at(S.before, S.pa, S.pc, S.rc, S.ra, S.pb)],
  ["finish after parallel, no result", "parallel", at(S.before, S.pa, S.pb, S.pc, S.rc, S.ra, S.rb, S.after)],
  ["plan of a timer and a call", "parallelTimers", at()],
  ["partial, sleepUntil", "parallelTimers", at(S.pu)],
  ["partial, call", "parallelTimers", at(S.pu, S.pk)],
  ["call", "call", at()],
  ["call, invoked", "call", withHeaders(at(), { "upstash-workflow-invoke-count": "2" })],
  ["call with defaults", "plainCall", at()],
  ["call with three retries", "threeRetries", at()],
  ["call result", "call", { headers: fromCallback, body: callback }],
  ["call result, invoked", "call", { headers: { ...fromCallback, "upstash-workflow-invoke-count": "2" }, body: callback }],
  ["after call", "call", at(S.ask)],
  ["cancel", "cancel", at(S.one)],
  ["append refused", "sequential", at(), { "POST /v2/batch": 400 }],
  ["over the limit", "sequential", at(), { "POST /v2/batch": 412 }],
  ["over the limit in parallel", "parallel", at(S.before, S.pa), { "POST /v2/batch": 412 }],
  ["append refused in parallel", "parallel", at(S.before, S.pa), { "POST /v2/batch": 400 }],
  ["append not found", "sequential", at(), { "POST /v2/batch": 404 }],
  ["step fails", "fails", at()],
  ["step fails for good", "failsForGood", at()],
  ["step asks for a later retry", "failsForNow", at()],
  ["other step name", "sequential", at(S.onlyA)],
  ["other step type", "sequential", at(S.asSleep)],
  ["lazy", "sequential", { headers: step(1), body: "" }, { "GET /v2/workflows/runs/wfr_1": JSON.parse(log(S.user, S.wait)) }],
  ["lazy, run ended", "sequential", { headers: step(1), body: "" }, { "GET /v2/workflows/runs/wfr_1": 404 }],
  ["wait", "waits", at()],
  ["wait, invoked", "waits", withHeaders(at(), { "upstash-workflow-invoke-count": "2" })],
  ["waited", "waits", at(waited({ out: b64('{"a":[1]}') }))],
  ["waited, text", "waits", at(waited({ out: b64("ü <&>") }))],
  ["waited, nothing", "waits", at(waited({ out: "" }))],
  ["waited in vain", "waits", at(waited({ waitTimeout: true }))],
  ["wait refused", "waits", at(), { "POST /v2/wait/evt%201%C3%BC": 400 }],
  ["plan of a wait", "parallelWaits", at()],
  ["partial, wait", "parallelWaits", at(planned(1, "a", "Wait", { waitEventId: "evt_a", timeout: "7d" }))],
  ["last, waited", "parallelWaits", at(planned(1, "a", "Wait"), planned(2, "b", "Run"), { stepId: 2, stepName: "b", stepType: "Run", out: "1", concurrent: 2 },
    { stepId: 1, stepName: "a", stepType: "Wait", waitEventId: "evt_a", out: b64('"x"'), concurrent: 2 })],
  ["wait for a webhook", "webhook", at()],
  ["webhook called", "webhook", at(hooked({ out: b64(JSON.stringify(hook)) }))],
  ["webhook not called", "webhook", at(hooked({ waitTimeout: true }))],
  ["notify", "notifies", at(), { "POST /v2/notify/evt_n": told }],
  ["notify with text", "notifiesText", at(), { "POST /v2/notify/evt_n": [] }],
  ["notify a run", "notifiesRun", at(), { "POST /v2/notify/wfr_9/evt_n": told }],
  ["notified", "notifies", at({ stepId: 1, stepName: "n", stepType: "Notify", out: JSON.stringify({ eventId: "evt_n", eventData: { amount: 1.5 }, notifyResponse: told }), concurrent: 1 })],
  ["invoke", "invokes", at()],
  ["invoke, invoked", "invokes", withHeaders(at(), { "upstash-workflow-invoke-count": "2" })],
  ["invoke with defaults", "invokesPlainly", at()],
  ["invoke, without a time", "invokesPlainly", { headers: { ...step(0), "upstash-workflow-createdat": "" }, body: log() }],
  ["invoked", "invokes", at(invoked({ body: '{"z":1}', isCanceled: false, isFailed: false }))],
  ["invoked, failed", "invokes", at(invoked({ isCanceled: false, isFailed: true }))],
  ["invoked, text", "invokesPlainly", at(invoked({ body: "no json", isCanceled: false, isFailed: false }))],
  ["plan of an invocation", "parallelInvokes", at()],
  ["partial, invoke", "parallelInvokes", at(planned(1, "i", "Invoke"))],
  ["failure without a function", "sequential", { headers: { "upstash-workflow-is-failure": "true", "upstash-workflow-failure-callback": "true",
    "upstash-workflow-runid": "wfr_1", "upstash-message-id": "msg_F" },
    body: JSON.stringify({ status: 500, header: {}, body: b64('{"error":"Error","message":"no luck"}'), url: workflowURL, method: "POST",
      sourceBody: b64(init), retried: 3, maxRetries: 3, dlqId: "1-0", workflowRunId: "wfr_1", workflowCreatedAt: 1700000000000 }) }],
];

let sent, script;
const stub = http.createServer((req, res) => {
  const chunks = [];
  req.on("data", (c) => chunks.push(c)).on("end", () => {
    const body = Buffer.concat(chunks).toString();
    const headers = Object.fromEntries(Object.entries(req.headers).filter(([k]) => /^(upstash-|content-type$|authorization$)/.test(k)));
    const item = { method: req.method, path: req.url, headers };
    if (req.url === "/v2/batch") item.batch = JSON.parse(body);
    else if (body) item.body = body;
    sent.push(item);
    const scripted = script[`${req.method} ${req.url}`];
    res.setHeader("content-type", "application/json");
    if (typeof scripted === "number") { res.statusCode = scripted; res.end(JSON.stringify({ error: "scripted" })); return; }
    if (scripted) { res.end(JSON.stringify(scripted)); return; }
    const id = (n) => ({ messageId: `msg_new${n}` });
    res.end(JSON.stringify(item.batch ? item.batch.map((_, i) => id(i)) : id(0)));
  });
});
await new Promise((resolve) => stub.listen(0, "127.0.0.1", resolve));
const client = new Client({ baseUrl: `http://127.0.0.1:${stub.address().port}`, token: "TOKEN", retry: false });
console.warn = console.error = () => {};

const out = [];
for (const [name, workflow, delivery, replies] of exchanges) {
  sent = []; script = replies ?? {};
  const { handler } = serve(workflows[workflow], { qstashClient: client, receiver: undefined, url: workflowURL, env: {} });
  const answer = await handler(new Request(workflowURL, { method: "POST", headers: delivery.headers, body: delivery.body || undefined }));
  const body = JSON.parse(await answer.text());
  delete body.stack;
  out.push({ name, workflow, delivery: { headers: delivery.headers, body: delivery.body }, replies: replies ?? {}, sent,
    answer: { status: answer.status, headers: Object.fromEntries([...answer.headers].filter(([k]) => k !== "content-type")), body } });
}
stub.close();
console.log(JSON.stringify(out, null, 1));
