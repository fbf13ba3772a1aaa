// URL groups and what is published to them, through the official client.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { allSettled, dead, qstash, raw, settled } from "./lib/signpost.js";

const target = await endpoint();
target.on("/broken", (_, res) => res.status(500).send("no"));
target.on(/^\//, (_, res) => res.send("fine"));
const at = (path) => `${target.url}/${path}`;
const urls = (group) => group.endpoints.map((e) => e.url);
let count = 0;

// made makes a group of endpoints whose paths are given.
async function made(...paths) {
  const name = `group-${++count}_.${Math.random().toString(36).slice(2)}`;
  await qstash.urlGroups.addEndpoints({ name, endpoints: paths.map((path) => ({ url: at(path) })) });
  return name;
}

const refused = (status, message) => (error) => {
  assert.equal(error.status, status);
  assert.match(JSON.parse(error.message).error, message);
  return true;
};

describe("urlGroups", () => {
  test("add, get, list, remove and delete", async () => {
    const before = Date.now();
    const name = "-all_of.them";
    const first = { name: "my first endpoint", url: at("first") };
    const second = { name: "second", url: at("second") };
    await qstash.urlGroups.addEndpoints({ name, endpoints: [first] });
    const group = await qstash.urlGroups.get(name);
    assert.equal(group.name, name);
    assert.deepEqual(group.endpoints, [first]);
    assert.ok(group.createdAt >= before && group.updatedAt >= group.createdAt);

    await qstash.urlGroups.addEndpoints({ name, endpoints: [second, { url: at("third") }] });
    assert.deepEqual((await qstash.urlGroups.get(name)).endpoints, [first, second, { url: at("third") }]);
    const listed = (await qstash.urlGroups.list()).filter((g) => g.name === name);
    assert.deepEqual(listed, [await qstash.urlGroups.get(name)]);

    await qstash.urlGroups.removeEndpoints({ name, endpoints: [{ name: "second" }, { url: at("third") }] });
    assert.deepEqual((await qstash.urlGroups.get(name)).endpoints, [first]);
    await qstash.urlGroups.removeEndpoints({ name, endpoints: [first] });
    await assert.rejects(qstash.urlGroups.get(name), refused(404, /topic -all_of.them not found/));

    await qstash.urlGroups.addEndpoints({ name, endpoints: [first] });
    await qstash.urlGroups.delete(name);
    await qstash.urlGroups.delete(name);
    assert.equal((await qstash.urlGroups.list()).some((g) => g.name === name), false);
  });

  test("topics is the same", async () => {
    const name = "old-name";
    await qstash.topics.addEndpoints({ name, endpoints: [{ url: at("old") }] });
    assert.deepEqual(urls(await qstash.topics.get(name)), [at("old")]);
    assert.ok((await qstash.topics.list()).some((g) => g.name === name));
    await qstash.topics.removeEndpoints({ name, endpoints: [{ url: at("old") }] });
    await qstash.topics.delete(name);
  });

  test("what is no group and no endpoint is refused", async () => {
    await assert.rejects(qstash.urlGroups.addEndpoints({ name: "a b", endpoints: [{ url: at("x") }] }), refused(400, /name/));
    await assert.rejects(qstash.urlGroups.addEndpoints({ name: "g", endpoints: [{ url: "/x" }] }), refused(400, /endpoints\[0\]\.url/));
    await assert.rejects(qstash.urlGroups.removeEndpoints({ name: "none", endpoints: [{ url: at("x") }] }), refused(404, /topic none not found/));
    await assert.rejects(qstash.publish({ urlGroup: "none", body: "x" }), refused(404, /topic none not found/));
  });
});

describe("publish to a group", () => {
  test("each endpoint gets a message of its own", async () => {
    const group = await made("one", "two?q=1");
    const answers = await qstash.publishJSON({ urlGroup: group, body: { n: 1 }, headers: { "X-Mine": "1" }, retries: 1 });
    assert.ok(Array.isArray(answers));
    assert.deepEqual(answers.map((a) => a.url), [at("one"), at("two?q=1")]);
    const ids = answers.map((a) => a.messageId);
    assert.notEqual(ids[0], ids[1]);
    await allSettled(ids);
    for (const [i, url] of [at("one"), at("two?q=1")].entries()) {
      const request = target.requests.find((r) => r.headers["upstash-message-id"] === ids[i]);
      assert.equal(request.url, url);
      assert.equal(request.headers["upstash-topic-name"], group);
      assert.equal(request.headers["x-mine"], "1");
      assert.equal(request.body.toString(), '{"n":1}');
      assert.equal((await qstash.messages.get(ids[i])).urlGroup, group);
    }
    const { logs } = await qstash.logs({ filter: { urlGroup: group, state: "DELIVERED" } });
    assert.deepEqual(logs.map((l) => l.messageId).sort(), [...ids].sort());
  });

  test("topic is the same", async () => {
    const group = await made("topic");
    const [{ messageId }] = await qstash.publish({ topic: group, body: "x" });
    await settled(messageId);
  });

  test("through a queue", async () => {
    const group = await made("queued/1", "queued/2");
    const answers = await qstash.queue({ queueName: "of-groups" }).enqueueJSON({ urlGroup: group, body: 1 });
    assert.deepEqual(answers.map((a) => a.url), [at("queued/1"), at("queued/2")]);
    await allSettled(answers.map((a) => a.messageId));
    const message = await qstash.messages.get(answers[1].messageId);
    assert.equal(message.queueName, "of-groups");
    assert.equal(message.urlGroup, group);
    await qstash.queue({ queueName: "of-groups" }).delete();
  });

  test("in a batch, among others", async () => {
    const group = await made("batch/1", "batch/2");
    const answers = await qstash.batch([
      { url: at("batch/alone"), body: "x" },
      { urlGroup: group, body: "y" },
      { urlGroup: "none", body: "z" },
      { urlGroup: group, queueName: "of-batches", body: "y" },
    ]);
    assert.equal(answers.length, 4);
    assert.equal(answers[0].url, at("batch/alone"));
    assert.deepEqual(answers[1].map((a) => a.url), [at("batch/1"), at("batch/2")]);
    assert.deepEqual(answers[2], { error: "topic none not found" });
    await allSettled([answers[0], ...answers[1], ...answers[3]].map((a) => a.messageId));
    assert.equal(target.received("/batch/2").length, 2);
  });

  for (const [name, options] of Object.entries({
    "by id": { deduplicationId: `id-${Math.random()}` }, "by content": { contentBasedDeduplication: true },
  })) {
    test(`duplicates are found for each endpoint, ${name}`, async () => {
      const group = await made("dedup/1", "dedup/2");
      const publish = () => qstash.publish({ urlGroup: group, body: "x", ...options });
      const first = await publish();
      assert.deepEqual(first.map((a) => a.deduplicated), [undefined, undefined]);
      await qstash.urlGroups.removeEndpoints({ name: group, endpoints: [{ url: at("dedup/1") }] });
      await qstash.urlGroups.addEndpoints({ name: group, endpoints: [{ url: at("dedup/3") }] });
      const second = await publish();
      assert.deepEqual(second[0], { ...first[1], deduplicated: true });
      assert.equal(second[1].deduplicated, undefined);
      await allSettled([first[0], first[1], second[1]].map((a) => a.messageId));
    });
  }

  test("a failure tells of the group, and so does its retry", async () => {
    const name = "failing";
    await qstash.urlGroups.addEndpoints({ name, endpoints: [{ name: "the broken one", url: at("broken") }] });
    const [{ messageId }] = await qstash.publish({
      urlGroup: name, body: "x", retries: 0, callback: at("told"), failureCallback: at("failed"),
    });
    const entry = await dead(messageId);
    assert.equal(entry.urlGroup, name);
    for (const path of ["/told", "/failed"]) {
      const told = JSON.parse((await target.arrived(path)).body);
      assert.equal(told.topicName, name);
      assert.equal(told.endpointName, "the broken one");
      assert.equal(told.sourceMessageId, messageId);
    }
    const { messages } = await qstash.dlq.listMessages({ filter: { urlGroup: name } });
    assert.deepEqual(messages.map((m) => m.dlqId), [entry.dlqId]);
    const { responses } = await qstash.dlq.retry(entry.dlqId);
    const events = await settled(responses[0].messageId);
    assert.equal(events[0].urlGroup ?? events[0].topicName, name);
  });

  test("the group's settings hold where the publish has none", async () => {
    const group = await made("settings");
    const headers = { "Upstash-Retries": "7", "Upstash-Forward-X-Group": ["yes"], "Upstash-Label": "of-the-group" };
    const { status } = await raw("PATCH", `/v2/topics/${group}`, { body: JSON.stringify({ headers }) });
    assert.equal(status, 200);
    assert.deepEqual((await qstash.urlGroups.get(group)).headers["Upstash-Retries"], ["7"]);
    const [one] = await qstash.publish({ urlGroup: group, body: "x" });
    const [two] = await qstash.publish({ urlGroup: group, body: "x", retries: 1, label: "own" });
    await allSettled([one.messageId, two.messageId]);
    const [first, second] = await Promise.all([one, two].map((a) => qstash.messages.get(a.messageId)));
    assert.deepEqual([first.maxRetries, first.labels, second.maxRetries, second.labels], [7, ["of-the-group"], 1, ["own"]]);
    assert.equal(target.received("/settings")[0].headers["x-group"], "yes");
  });

  test("what was published is delivered after the group is gone, or cancelled by its name", async () => {
    const group = await made("gone/1", "gone/2");
    const answers = await qstash.publish({ urlGroup: group, body: "x", delay: "1s" });
    const later = await qstash.publish({ urlGroup: group, body: "x", delay: "1h" });
    await qstash.urlGroups.delete(group);
    await allSettled(answers.map((a) => a.messageId));
    assert.deepEqual(await qstash.messages.cancel({ filter: { urlGroup: group } }), { cancelled: later.length });
  });
});

verifySignatures();
