// A reporter of node's test runner: one line of JSON for each test that has no
// tests inside it. node_test.go reads them.
export default async function* report(source) {
  const path = [];
  for await (const { type, data } of source) {
    if (type === "test:start") {
      path.length = data.nesting;
      path.push(data.name);
    }
    if (type !== "test:pass" && type !== "test:fail") continue;
    const failure = data.details.error;
    if (data.details.type === "suite" && failure?.failureType !== "hookFailed") continue;
    yield JSON.stringify({
      name: [...path.slice(0, data.nesting), data.name],
      seconds: data.details.duration_ms / 1000,
      failed: type === "test:fail" && !data.todo,
      skipped: data.skip !== undefined,
      error: failure ? describe(failure.cause ?? failure) : "",
    }) + "\n";
  }
}

function describe(error) {
  if (!(error instanceof Error)) return String(error);
  const stack = error.stack?.includes(error.message) ? error.stack : `${error.message}\n${error.stack}`;
  return error.cause ? `${stack}\ncaused by: ${describe(error.cause)}` : stack;
}
