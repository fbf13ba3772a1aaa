// The server under test, known by the variables its "export" lines set, and
// the official clients of it, configured by nothing but those variables.
import { Client as QStash, Receiver } from "@upstash/qstash";
import { Client as Workflow } from "@upstash/workflow";
import { until } from "./until.js";

export const url = process.env.QSTASH_URL;
export const token = process.env.QSTASH_TOKEN;

export const qstash = new QStash();
export const workflow = new Workflow();
export const receiver = new Receiver();

// raw calls the API without an SDK; path begins with /v2. It does not throw on
// an error status.
export async function raw(method, path, { headers, body, as = token } = {}) {
  const response = await fetch(url + path, {
    method,
    body,
    headers: { Authorization: `Bearer ${as}`, ...headers },
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const ends = ["DELIVERED", "FAILED", "CANCELED"];

// settled waits until a message has come to its end, and gives its events,
// oldest first.
export function settled(messageId, timeout) {
  return until(
    `message ${messageId} to end`,
    async () => {
      const { logs } = await qstash.logs({ messageIds: [messageId] });
      return ends.includes(logs[0]?.state) && logs.reverse();
    },
    timeout,
  );
}

// allSettled waits until all of the messages have come to their ends.
export function allSettled(messageIds) {
  return until(`${messageIds.length} messages to end`, async () => {
    const { logs } = await qstash.logs({ messageIds });
    return logs.filter((event) => ends.includes(event.state)).length === messageIds.length;
  });
}

export const states = (events) => events.map((event) => event.state);

// reached waits until a message has an event of the state.
export function reached(messageId, state) {
  return until(`message ${messageId} to be ${state}`, async () => {
    const { logs } = await qstash.logs({ messageIds: [messageId] });
    return logs.find((event) => event.state === state);
  });
}

// dead waits for a message's entry in the DLQ.
export function dead(messageId) {
  return until(`message ${messageId} in the DLQ`, async () => {
    const { messages } = await qstash.dlq.listMessages({ filter: { messageId } });
    return messages[0];
  });
}

// runLog is a workflow run's history, or undefined.
export async function runLog(workflowRunId) {
  const { runs } = await workflow.logs({ workflowRunId });
  return runs[0];
}

const runEnds = ["RUN_SUCCESS", "RUN_FAILED", "RUN_CANCELED"];

// ended waits until a workflow run has come to its end, and gives its history.
export async function ended(workflowRunId) {
  try {
    return await until(
      `run ${workflowRunId} to end`,
      async () => (await workflow.logs({ workflowRunId, state: runEnds })).runs[0],
    );
  } catch (error) {
    const short = (_, value) => (typeof value === "string" ? value.slice(0, 300) : value);
    throw new Error(JSON.stringify(await runLog(workflowRunId), short, 1), { cause: error });
  }
}

// failureHandled waits until the failure callback of a run has come to its end.
export function failureHandled(workflowRunId) {
  return until(`failure callback of run ${workflowRunId} to end`, async () => {
    const run = await runLog(workflowRunId);
    const state = run?.failureFunction?.state;
    return state && state !== "CALLBACK_INPROGRESS" && run;
  });
}

// outline is what a run's history says of its steps, in short.
export const outline = (run) =>
  run.steps.map(({ type, steps }) => [type, ...steps.map((s) => [s.stepName, s.stepType, s.state].filter(Boolean).join(" "))]);

// success is the history of a sequential step that went well, in short.
export const success = (name, type = "Run") => ["sequential", `${name} ${type} STEP_SUCCESS`];
export const init = success("init", "Initial");
