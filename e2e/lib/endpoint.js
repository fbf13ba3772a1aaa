// Endpoints for the server to deliver to. Whatever reaches them is kept as it
// came, byte for byte, so that each request's signature can be checked with the
// official Receiver when all is over.
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { createServer } from "node:http";
import { after, test } from "node:test";
import express from "express";
import { Hono } from "hono";
import { serve as serveExpress } from "@upstash/workflow/express";
import { serve as serveHono } from "@upstash/workflow/hono";
import { serve as serveFetch } from "@upstash/workflow";
import { receiver } from "./signpost.js";
import { until } from "./until.js";

const limit = "64mb";
const endpoints = [];

// endpoint listens on a free loopback port. What is delivered to one that is
// apart, verifySignatures does not look at.
export async function endpoint({ apart = false } = {}) {
  const app = express();
  app.disable("x-powered-by");
  app.use(express.json({ limit, strict: false }), express.text({ limit, type: "text/*" }));
  app.use(express.raw({ limit, type: () => true }));
  const self = {
    apart,
    requests: [],
    // on answers requests to path with handler(request, response); the request
    // has the body as bytes in request.record.
    on: (path, handler) => app.all(path, handler),
    mount: (path, handler) => app.use(path, handler),
    // workflow serves a workflow as an Express application does.
    workflow: (path, fn, options) => app.use(path, serveExpress(fn, options)),
    // fetchWorkflow serves a workflow as frameworks do that speak Request and
    // Response: the SDK sees the very bytes that came.
    fetchWorkflow: (path, fn, options) => {
      const { handler } = serveFetch(fn, options);
      app.post(path, (req, res) => bridge(handler, req, res));
    },
    // honoWorkflow serves a workflow as a Hono application does.
    honoWorkflow: (path, fn, options) => {
      const hono = new Hono().post(path, serveHono(fn, options));
      app.post(path, (req, res) => bridge((request) => hono.fetch(request, process.env), req, res));
    },
    // received are the requests to a path so far.
    received: (path) => self.requests.filter((request) => request.path === path),
    // arrived waits for the n-th request to a path to be there completely.
    arrived: (path, n = 1) =>
      until(`request ${n} to ${path}`, () => self.received(path).filter((request) => request.body)[n - 1]),
  };
  const server = createServer((req, res) => {
    record(self, req);
    app(req, res);
  });
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  self.url = `http://127.0.0.1:${server.address().port}`;
  self.close = () => {
    server.closeAllConnections();
    server.close();
  };
  endpoints.push(self);
  return self;
}

function record(self, req) {
  const { method, headers, rawHeaders } = req;
  const url = self.url + req.url;
  const kept = { method, url, path: new URL(url).pathname, headers, rawHeaders, at: Date.now() };
  req.record = kept;
  self.requests.push(kept);
  const chunks = [];
  req.on("data", (chunk) => chunks.push(chunk));
  req.on("end", () => (kept.body = Buffer.concat(chunks)));
}

async function bridge(handler, req, res) {
  const { method, url, body } = req.record;
  const response = await handler(new Request(url, { method, headers: new Headers(req.headers), body }));
  res.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
}

// verifySignatures is the last test of a suite: every request that the suite's
// endpoints received was signed for its URL and its bytes. Requests that the
// suite itself made to its endpoints are told apart by the header "x-suite".
export function verifySignatures() {
  test("every request received carries a valid signature", async () => {
    const count = await verifyAll();
    assert.notEqual(count, 0, "nothing was received");
  });
  after(() => endpoints.forEach((e) => e.close()));
}

// verifyAll verifies what all endpoints of this process received, and says how
// much that was.
export async function verifyAll() {
  const watched = endpoints.filter((e) => !e.apart);
  const all = watched.flatMap((e) => e.requests).filter((request) => !request.headers["x-suite"]);
  for (const request of all) await verify(request);
  return all.length;
}

async function verify({ method, url, headers, body }) {
  const what = `${method} ${url} as ${headers["upstash-message-id"]}`;
  const signature = headers["upstash-signature"];
  assert.ok(body, `${what} was cut off`);
  assert.equal(typeof signature, "string", `${what} has no signature`);
  const text = body.toString();
  try {
    if (Buffer.from(text).equals(body)) {
      assert.equal(await receiver.verify({ signature, body: text, url }), true);
    } else {
      verifyBytes(signature, body, url);
    }
  } catch (error) {
    throw new Error(`${what}: ${error.message}`, { cause: error });
  }
}

// verifyBytes is for bodies that are not text: the Receiver takes strings only.
function verifyBytes(signature, body, url) {
  const [header, payload, mac] = signature.split(".");
  const key = process.env.QSTASH_CURRENT_SIGNING_KEY;
  assert.equal(createHmac("sha256", key).update(`${header}.${payload}`).digest("base64url"), mac);
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  assert.equal(claims.iss, "Upstash");
  assert.equal(claims.sub, url);
  assert.equal(claims.body.replace(/=+$/, ""), createHash("sha256").update(body).digest("base64url"));
}
