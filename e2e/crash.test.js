// Endpoints that die after they have reported a step and before they answer:
// the server delivers again, and the run goes on as if nothing had happened.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request as forward } from "node:http";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { endpoint, verifySignatures } from "./lib/endpoint.js";
import { ended, init, outline, qstash, runLog, success, workflow } from "./lib/signpost.js";
import { until } from "./lib/until.js";

const front = await endpoint();
const children = new Set();
after(() => children.forEach((child) => child.kill()));

// fragile runs an endpoint at path that dies at its n-th answer, and is then
// replaced by one that does not.
async function fragile(path, n) {
  const self = { deaths: 0, ran: [] };
  const boot = async (fatal) => {
    const child = spawn(process.execPath, ["lib/fragile.js", fatal], { stdio: ["ignore", "pipe", "inherit"] });
    children.add(child);
    const lines = createInterface(child.stdout);
    [self.port] = await once(lines, "line");
    lines.on("line", (name) => self.ran.push(name));
    child.once("exit", (_, signal) => {
      children.delete(child);
      if (signal !== "SIGKILL") return;
      self.deaths++;
      boot(0);
    });
  };
  await boot(n);
  front.on(path, (req, res) => {
    const { method, headers, body } = req.record;
    const hop = forward({ port: self.port, path, method, headers }, (answer) => {
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
    });
    hop.on("error", () => res.destroy());
    hop.end(body);
  });
  return self;
}

for (const [name, n] of [["the first", 1], ["a later", 2]]) {
  test(`death before ${name} answer`, async () => {
    const path = `/fragile${n}`;
    const child = await fragile(path, n);
    const { workflowRunId: id } = await workflow.trigger({ url: front.url + path, retries: 300, retryDelay: "100" });
    const run = await ended(id);
    assert.equal(run.workflowState, "RUN_SUCCESS");
    assert.equal(run.workflowRunResponse, '["one","two"]');
    assert.deepEqual(outline(run), [init, success("one"), success("two")]);
    await until("the death", () => child.deaths === 1);
    const [cut] = front.received(path).filter((r) => r.headers["upstash-retried"] === "1");
    assert.ok(cut, "nothing was delivered again");
    const again = front.received(path).filter((r) => r.headers["upstash-message-id"] === cut.headers["upstash-message-id"]);
    assert.deepEqual(new Set(again.map((r) => r.body.toString())).size, 1, "another body the second time");
  });
}

test("death before the last answer", async () => {
  const child = await fragile("/last", 3);
  const { workflowRunId: id } = await workflow.trigger({ url: `${front.url}/last`, retries: 300, retryDelay: "100" });
  const run = await ended(id);
  assert.equal(run.workflowRunResponse, '["one","two"]');
  await until("the death", () => child.deaths === 1);
  const last = front.received("/last").at(-1).headers["upstash-message-id"];
  await until("the end of the delivery", async () => {
    const { logs } = await qstash.logs({ messageIds: [last] });
    return ["CANCELED", "DELIVERED"].includes(logs[0].state);
  });
  assert.deepEqual(child.ran, ["one", "two"]);
  assert.equal((await runLog(id)).workflowState, "RUN_SUCCESS");
});

verifySignatures();
