import { AssertionError } from "node:assert";
import { setTimeout as pause } from "node:timers/promises";

// until calls probe until it gives something truthy, and returns that. A failed
// assertion in probe is not the end, but the reason given when time is up.
export async function until(what, probe, timeout = 20_000) {
  const deadline = Date.now() + timeout;
  for (;;) {
    let reason = "";
    try {
      const value = await probe();
      if (value) return value;
    } catch (error) {
      if (!(error instanceof AssertionError)) throw error;
      reason = `: ${error.message}`;
    }
    if (Date.now() > deadline) throw new Error(`gave up waiting for ${what}${reason}`);
    await pause(15);
  }
}
