// verify.js checks recorded requests, one line of JSON each on its standard
// input, with the official Receiver, and prints how many there were.
import { createInterface } from "node:readline";
import { Receiver } from "@upstash/qstash";

const receiver = new Receiver();
let count = 0;
for await (const line of createInterface(process.stdin)) {
  const { url, signature, body } = JSON.parse(line);
  await receiver.verify({ signature, body: Buffer.from(body ?? "", "base64").toString(), url });
  count++;
}
console.log(`verified ${count}`);
