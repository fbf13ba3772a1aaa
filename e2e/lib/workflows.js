import { WorkflowNonRetryableError } from "@upstash/workflow";

// The workflow that endpoint_test.go has, too: both must leave the same log.
export async function interop(context) {
  const { name, fail } = context.requestPayload;
  if (context.headers.get("authorization") !== "Bearer secret") return;
  const user = await context.run("create user", () => {
    if (fail) throw new Error(`no user ${name}`);
    return { name, id: 7 };
  });
  const [home, mail] = await Promise.all([
    context.run("prepare home", () => `/home/${user.name}`),
    context.call("send mail", {
      url: `${new URL(context.url).origin}/mail`, method: "POST", body: JSON.stringify({ to: user.name }),
      headers: { "X-Mail": "1" }, retries: 1, retryDelay: "10",
    }),
  ]);
  await context.sleep("settle in", 1);
  await context.sleepUntil("a date", 1_600_000_000);
  await context.run("nothing", () => {});
  return { home, mail: mail.status, answer: mail.body, user };
}

// So does this one with the steps whose results the server writes: double
// is what it invokes.
export const saga = (child) => async (context) => {
  const { name } = context.requestPayload;
  const own = context.workflowRunId;
  const told = await context.notify("tell", `paid ${own}`, { amount: 3.5, by: name }, own);
  const paid = await context.waitForEvent("wait for payment", `paid ${own}`, { timeout: 3600 });
  const late = await context.waitForEvent("wait in vain", `never ${own}`, { timeout: 1 });
  const nobody = await context.notify("tell nobody", "nobody", "text <&>");
  const hook = await context.createWebhook("make webhook");
  await context.run("call webhook", async () => {
    const response = await fetch(`${hook.webhookUrl}?q=1`, { method: "PUT", body: `hello ${name}`, headers: { "X-Hook": "1" } });
    if (!response.ok) throw new Error(`webhook answered ${response.status}`);
  });
  const { request } = await context.waitForWebhook("wait for webhook", hook, 3600);
  const [first, second, b] = await Promise.all([
    context.invoke("first", { workflow: child, body: { n: 20 }, headers: { "X-Child": "1" }, retries: 0, label: "of-saga" }),
    context.invoke("second", { workflow: child, body: { n: -1 }, retries: 0 }),
    context.run("between", () => "b"),
  ]);
  return {
    told: told.notifyResponse.length, paid: paid.eventData, timeouts: [paid.timeout, late.timeout], nobody: nobody.notifyResponse.length,
    hook: [request.method, new URL(request.url).search, request.headers.get("x-hook"), await request.text()],
    first: first.body, failed: [first.isFailed, second.isFailed], b,
  };
};

export async function double(context) {
  const { n } = context.requestPayload;
  const x = context.headers.get("x-child") ?? "none";
  return context.run("double", () => {
    if (n < 0) throw new WorkflowNonRetryableError(`${n} is negative`);
    return { twice: 2 * n, x };
  });
}

// relayed says which language ran each of its steps; the third fails while that
// is asked for.
export async function relayed(context) {
  const one = await context.run("one", () => "js");
  const both = await Promise.all([
    context.run("two", () => "js"),
    context.run("three", () => {
      if (context.url.endsWith("fails=js")) throw new WorkflowNonRetryableError("not in JavaScript");
      return "js";
    }),
  ]);
  return [one, ...both, await context.run("four", () => "js")];
}
