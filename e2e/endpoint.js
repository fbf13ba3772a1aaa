// endpoint.js serves workflows of the official SDK until its standard input
// ends. Then it verifies every request it got.
import { endpoint, verifyAll } from "./lib/endpoint.js";
import { interop } from "./lib/workflows.js";

const app = await endpoint();
app.on("/mail", (req, res) => res.status(201).json({ sent: req.body.to }));
app.workflow("/interop", interop, {
  failureFunction: ({ context, failResponse }) => `sorry, ${context.requestPayload.name}: ${failResponse}`,
});
app.workflow("/steps", async (context) => {
  const done = [];
  for (let n = 0; n < 10; n++) done.push(await context.run(`step ${n}`, () => n));
  const both = await Promise.all([context.run("left", () => "l"), context.run("right", () => "r")]);
  return [...done, ...both];
});
app.workflow("/waits", async (context) => {
  const hook = await context.createWebhook("hook");
  const event = await context.waitForEvent("all", "all");
  const kept = await context.waitForEvent("kept", "kept");
  const call = await context.waitForWebhook("call", hook, "1h");
  const late = await context.waitForEvent("late", "never", { timeout: "2s" });
  return [event.eventData, kept.eventData, await call.request.text(), late.timeout];
});
console.log(`serving at ${app.url}`);

process.stdin.resume();
process.on("SIGTERM", () => {});
process.stdin.on("end", async () => {
  console.log(`verified ${await verifyAll()}`);
  process.exit();
});
