// A workflow endpoint in a process of its own, which kills itself when it is
// about to give its n-th answer; n is the argument, 0 for never. It prints its
// port, and then each step it runs.
import express from "express";
import { serve } from "@upstash/workflow/express";

const fatal = Number(process.argv[2]);
let answers = 0;
const app = express();
app.use(express.json());
app.use((_, res, next) => {
  const { end } = res;
  res.end = function (...args) {
    if (++answers === fatal) process.kill(process.pid, "SIGKILL");
    return end.apply(this, args);
  };
  next();
});
const ran = (name) => (console.log(name), name);
app.use(serve(async (context) => {
  const one = await context.run("one", () => ran("one"));
  const two = await context.run("two", () => ran("two"));
  return [one, two];
}));
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
