// Schedules made, changed and seen by the official client. Those that tick are
// made first: the next minute comes while the others are tested.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, qstash, raw, settled, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const target = await endpoint();
target.on("/broken", (_, res) => res.status(500).send());
target.workflow("/workflow", async (context) => {
  const upper = await context.run("upper", () => context.requestPayload.name.toUpperCase());
  await context.sleep("a moment", 1);
  return context.run("greet", () => `hello ${upper}`);
});
target.on(/^\//, (_, res) => res.send("fine"));
const { schedules } = qstash;
const far = "https://example.com/";

await qstash.urlGroups.addEndpoints({
  name: "members",
  endpoints: [{ url: `${target.url}/member/1` }, { name: "two", url: `${target.url}/member/2` }],
});
const before = Date.now();
const minutely = async (path, more) =>
  (await schedules.create({ destination: path.startsWith("/") ? target.url + path : path, cron: "* * * * *", ...more })).scheduleId;
const ticking = {
  plain: await minutely("/tick", {
    body: "tock", method: "PUT", headers: { "Content-Type": "text/css", "X-Tick": "yes" }, queueName: "ticks",
    callback: `${target.url}/callback`, label: ["one", "two"], flowControl: { key: "ticks", parallelism: 1 },
  }),
  delayed: await minutely("/delayed", { delay: 3 }),
  failing: await minutely("/broken", { retries: 0, failureCallback: `${target.url}/failed` }),
  group: await minutely("members", { body: "to all", headers: { "Content-Type": "text/plain" } }),
  workflow: await minutely("/workflow", { body: JSON.stringify({ name: "ada" }) }),
  paused: await minutely("/never"),
};
await schedules.pause({ schedule: ticking.paused });

describe("create", () => {
  test("with nothing but what has to be", async () => {
    const { scheduleId } = await schedules.create({ destination: far, cron: "0 0 1 1 *" });
    assert.match(scheduleId, /^scd_\w+$/);
    const { createdAt, nextScheduleTime, ...rest } = await schedules.get(scheduleId);
    assert.deepEqual(rest, {
      scheduleId, cron: "0 0 1 1 *", destination: far, method: "POST", isPaused: false, retries: 3,
      header: { "Content-Type": ["application/json"] }, callerIP: "127.0.0.1", callerIp: "127.0.0.1",
    });
    assert.ok(createdAt >= before && createdAt <= Date.now());
    const next = new Date(nextScheduleTime);
    assert.equal(next.getTime(), Date.UTC(new Date().getUTCFullYear() + 1, 0));
    await schedules.delete(scheduleId);
  });

  test("with everything there is", async () => {
    const { scheduleId } = await schedules.create({
      destination: `${far}?a=b`, cron: " CRON_TZ=Asia/Tokyo */10 * * * * ", body: "body", method: "PATCH", scheduleId: "-my_schedule.1",
      headers: { "Content-Type": "text/plain", "Bypass-Tunnel-Reminder": "true", Authorization: "Bearer theirs" },
      delay: "1h30m", timeout: 30, retries: 7, retryDelay: "1000 * (1 + retried)", callback: `${far}cb?x=y`, failureCallback: `${far}failed`,
      queueName: "q-1", flowControl: { key: "k", rate: 10, parallelism: 2, period: "1d" }, label: ["a", "b"],
    });
    assert.equal(scheduleId, "-my_schedule.1");
    const { createdAt, nextScheduleTime, callerIP, callerIp, ratePerSecond, ...rest } = await schedules.get(scheduleId);
    assert.deepEqual(rest, {
      scheduleId, cron: "CRON_TZ=Asia/Tokyo */10 * * * *", destination: `${far}?a=b`, body: "body", method: "PATCH", isPaused: false,
      header: { "Content-Type": ["text/plain"], "Bypass-Tunnel-Reminder": ["true"], Authorization: ["Bearer theirs"] },
      delay: 5400, timeout: 30, retries: 7, retryDelayExpression: "1000 * (1 + retried)", callback: `${far}cb?x=y`, failureCallback: `${far}failed`,
      queueName: "q-1", flowControlKey: "k", rate: 10, parallelism: 2, period: 86400, label: "a", labels: ["a", "b"],
    });
    assert.ok(nextScheduleTime > Date.now() && nextScheduleTime <= Date.now() + 600_000 && nextScheduleTime % 600_000 === 0);
  });

  test("again under the same id, in the place of all of it", async () => {
    const old = await schedules.get("-my_schedule.1");
    const answer = await schedules.create({ destination: `${far}other`, cron: "0 0 * * *", scheduleId: "-my_schedule.1" });
    assert.deepEqual(answer, { scheduleId: "-my_schedule.1" });
    const all = (await schedules.list()).filter((s) => s.scheduleId === "-my_schedule.1");
    assert.equal(all.length, 1);
    const [{ destination, cron, body, header, queueName, createdAt, retries }] = all;
    assert.deepEqual({ destination, cron, body, header, queueName, createdAt, retries }, {
      destination: `${far}other`, cron: "0 0 * * *", body: undefined, header: { "Content-Type": ["application/json"] },
      queueName: undefined, createdAt: old.createdAt, retries: 3,
    });
  });

  test("with fields to redact", async () => {
    const { scheduleId } = await schedules.create({
      destination: far, cron: "@daily", body: "a secret", headers: { Authorization: "a secret", "X-Open": "open" },
      redact: { body: true, header: ["Authorization"] },
    });
    const { body, header } = await schedules.get(scheduleId);
    assert.match(body, /^REDACTED:/);
    assert.match(header.Authorization[0], /^REDACTED:/);
    assert.deepEqual(header["X-Open"], ["open"]);
  });

  test("what can't be is refused", async () => {
    const count = (await schedules.list()).length;
    for (const [request, says] of [
      [{ destination: far, cron: "60 * * * *" }, /Upstash-Cron: minute/],
      [{ destination: far, cron: "0 0 31 2 *" }, /Upstash-Cron: /],
      [{ destination: far, cron: "0 0 0 * * *" }, /Upstash-Cron: .*seconds/],
      [{ destination: far, cron: "CRON_TZ=Mars/Base 0 0 * * *" }, /Upstash-Cron: time zone/],
      [{ destination: far, cron: "0 0 * * *", scheduleId: "a b" }, /Upstash-Schedule-Id: /],
      [{ destination: "no-such-group", cron: "0 0 * * *" }, /topic no-such-group not found/],
      [{ destination: "example.com/x", cron: "0 0 * * *" }, /invalid destination url/],
    ]) {
      await assert.rejects(schedules.create(request), says);
    }
    assert.equal((await raw("POST", `/v2/schedules/${far}`)).status, 400);
    assert.equal((await schedules.list()).length, count);
  });
});

test("pause and resume", async () => {
  const { scheduleId } = await schedules.create({ destination: far, cron: "0 0 * * *" });
  for (const pause of [true, true, false, false, true]) {
    await schedules[pause ? "pause" : "resume"]({ schedule: scheduleId });
    const { isPaused, nextScheduleTime } = await schedules.get(scheduleId);
    assert.equal(isPaused, pause);
    assert.equal(nextScheduleTime === undefined, pause);
  }
  await schedules.create({ destination: far, cron: "0 1 * * *", scheduleId });
  assert.equal((await schedules.get(scheduleId)).isPaused, true);
  await assert.rejects(schedules.pause({ schedule: "nothing" }), /schedule nothing not found/);
});

test("delete", async () => {
  const { scheduleId } = await schedules.create({ destination: far, cron: "0 0 * * *" });
  await schedules.delete(scheduleId);
  await assert.rejects(schedules.get(scheduleId), /not found/);
  assert.ok(!(await schedules.list()).some((s) => s.scheduleId === scheduleId));
  await schedules.delete(scheduleId);
});

describe("when the minute comes", () => {
  const ticked = (id) => until(`schedule ${id} to publish`, async () => {
    const s = await schedules.get(id);
    return s.lastScheduleTime && s;
  });
  const finished = (id, ...states) => until(`the messages of schedule ${id} to end`, async () => {
    const { lastScheduleStates } = await schedules.get(id);
    const all = Object.values(lastScheduleStates ?? {});
    return all.length === states.length && all.every((state, i) => state === states[i]) && Object.keys(lastScheduleStates);
  });

  test("each schedule publishes, at once", { timeout: 100_000 }, async () => {
    const minute = Math.ceil(before / 60_000) * 60_000;
    await new Promise((resolve) => setTimeout(resolve, minute + 100 - Date.now()));
    for (const [name, id] of Object.entries(ticking)) {
      if (name === "paused") continue;
      const { lastScheduleTime, nextScheduleTime, error } = await ticked(id);
      assert.ok(lastScheduleTime >= minute && lastScheduleTime < minute + 60_000, `${name} published at ${lastScheduleTime}`);
      assert.equal(nextScheduleTime % 60_000, 0);
      assert.ok(nextScheduleTime > lastScheduleTime);
      assert.equal(error, undefined);
      await schedules.pause({ schedule: id }); // one is enough
    }
  });

  test("with all that it was given", async () => {
    const [id] = await finished(ticking.plain, "SUCCESS");
    const { method, headers, body } = target.received("/tick")[0];
    assert.equal(method, "PUT");
    assert.equal(body.toString(), "tock");
    assert.equal(headers["content-type"], "text/css");
    assert.equal(headers["x-tick"], "yes");
    assert.equal(headers["upstash-message-id"], id);
    assert.equal(headers["upstash-schedule-id"], ticking.plain);
    assert.equal(headers["upstash-caller-ip"], "127.0.0.1");
    assert.equal(headers["upstash-cron"], undefined);
    const message = await qstash.messages.get(id);
    assert.equal(message.scheduleId, ticking.plain);
    assert.equal(message.queueName, "ticks");
    assert.deepEqual(message.labels, ["one", "two"]);
    const callback = JSON.parse((await target.arrived("/callback")).body);
    assert.equal(callback.scheduleId, ticking.plain);
    const { logs } = await qstash.logs({ filter: { scheduleId: ticking.plain } });
    assert.ok(logs.length > 0 && logs.every((log) => log.messageId === id));
  });

  test("later, with a delay", async () => {
    const [id] = await finished(ticking.delayed, "SUCCESS");
    const message = await qstash.messages.get(id);
    assert.equal(message.notBefore, message.createdAt + 3000);
    assert.ok(target.received("/delayed")[0].at >= message.notBefore);
  });

  test("to an endpoint that fails", async () => {
    const [id] = await finished(ticking.failing, "FAIL");
    const told = JSON.parse((await target.arrived("/failed")).body);
    assert.equal(told.sourceMessageId, id);
    assert.equal(told.scheduleId, ticking.failing);
    const { messages } = await qstash.dlq.listMessages({ filter: { scheduleId: ticking.failing } });
    assert.deepEqual(messages.map((m) => m.messageId), [id]);
  });

  test("to each endpoint of a URL group", async () => {
    const ids = await finished(ticking.group, "SUCCESS", "SUCCESS");
    await Promise.all(ids.map(settled));
    for (const path of ["/member/1", "/member/2"]) {
      const [{ headers, body }] = target.received(path);
      assert.equal(headers["upstash-schedule-id"], ticking.group);
      assert.equal(headers["upstash-topic-name"], "members");
      assert.equal(body.toString(), "to all");
    }
  });

  test("to a workflow, which runs", async () => {
    const run = await until("a run", async () => (await workflow.logs({ filter: { workflowUrl: `${target.url}/workflow` } })).runs[0]);
    const { workflowState, workflowRunResponse } = await ended(run.workflowRunId);
    assert.equal(workflowState, "RUN_SUCCESS");
    assert.equal(JSON.parse(workflowRunResponse), "hello ADA");
  });

  test("but not while it is paused", async () => {
    assert.equal(target.received("/never").length, 0);
    assert.equal((await schedules.get(ticking.paused)).lastScheduleTime, undefined);
  });
});

verifySignatures();
