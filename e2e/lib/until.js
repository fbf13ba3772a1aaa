import { AssertionError } from "node:assert";
import { setTimeout as pause } from "node:timers/promises";

// patience is more than anything takes on a machine with much else to do, in ms:
// nothing waits so long but what hangs.
const patience = 90_000;

// until calls probe until it gives something truthy, and returns that. A failed
// assertion in probe is not the end, but the reason given when time is up.
export async function until(what, probe, timeout = patience) {
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
