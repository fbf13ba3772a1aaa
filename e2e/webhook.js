// webhook.js checks Standard Webhooks, one line of JSON each on its standard input,
// with the published library, and prints what came of each: "ok" or the reason.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface(process.stdin)) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(body, headers);
    console.log("ok");
  } catch (e) {
    console.log(e.message);
  }
}
