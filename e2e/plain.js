// plain.js is an endpoint that knows nothing of signatures: it prints each
// request as a line of JSON, until its standard input ends.
import { createServer } from "node:http";

const server = createServer(async (req, res) => {
  let body = "";
  for await (const chunk of req.setEncoding("utf8")) body += chunk;
  console.log(JSON.stringify({ target: req.url, host: req.headers.host, verified: req.headers["signpost-verified"], body }));
  res.end("done");
});
server.listen(0, "127.0.0.1", () => console.log(`serving at http://127.0.0.1:${server.address().port}`));

process.stdin.resume();
process.on("SIGTERM", () => {});
process.stdin.on("end", () => process.exit());
