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
