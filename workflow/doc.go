// Package workflow writes workflow endpoints: HTTP handlers around a function
// whose steps are executed once and remembered by a QStash-compatible server,
// Signpost or Upstash's cloud.
//
//	onboard := workflow.MustServe(func(ctx *workflow.Context, in SignUp) (Receipt, error) {
//		user, err := workflow.Run(ctx, "create user", func(ctx context.Context) (User, error) {
//			return users.Create(ctx, in.Email)
//		})
//		if err != nil {
//			return Receipt{}, err
//		}
//		if err := ctx.Sleep("wait a day", 24*time.Hour); err != nil {
//			return Receipt{}, err
//		}
//		…
//	}, nil)
//	http.Handle("/onboard", onboard)
//
// # How a run proceeds
//
// The server calls the endpoint once per step. Each call starts the function
// from its beginning with the log of what is already done: a step in the log
// returns its recorded result at once, the first one that is not is executed,
// its result is sent to the server, and the function ends there. So code
// outside steps runs many times and must always come to the same steps in the
// same order, while what is done within a step is done once. (Precisely: at
// least once. A step whose report is lost is executed again, like every
// delivery of a message.) Let anything that differs between two calls, such
// as the time, randomness or a database, happen within [Run]. Package
// workflowtest finds what does not.
//
// A function ends inside a step by [runtime.Goexit]: its deferred calls run,
// and no recover or error check can mistake the end of one call for the
// failure of the run. Steps are used from the goroutine the function was
// called in; [RunAsync] and its like make steps run in parallel.
//
// A step returns an error when its own function failed. The server then
// calls again later, as often as the run's retries allow; [NonRetryable]
// and [RetryAfter] change that. The error may be wrapped or replaced, not
// ignored: no step follows a failed one. When the retries are used up the run
// has failed, and [Options.OnFailure] is called.
//
// # Steps
//
// What a function can do once:
//
//   - [Run] does something here.
//   - [Context.Sleep] and [Context.SleepUntil] wait for a time.
//   - [Call] and [CallJSON] have the server make an HTTP request.
//   - [WaitForEvent] waits until somebody tells of an event, and
//     [Context.Notify] and [Context.NotifyRun] do so.
//   - [Context.CreateWebhook] makes an address for somebody who can do no more
//     than call one, and [Context.WaitForWebhook] waits for that.
//   - [Invoke] runs another workflow to its end: of the same [ServeMany], or at
//     a URL.
//
// [Version] notes which code a run goes by, and [Context.Cancel] ends the run.
// Whatever waits, waits at the server: nothing of the endpoint runs meanwhile.
// Each step has a twin, with Async in its name, that starts it in parallel to
// others; [All] and [Parallel] wait for those.
//
// # Who may call
//
// Every request must be signed by the server, whatever it claims to be: keys
// come from QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY, and [Serve]
// refuses to work without. The keys that every development server has need
// SIGNPOST_DEV=1 (or [Options.Development]), and serve this machine only.
//
// The signature is bound to the endpoint's URL. Set [Options.BaseURL] (or
// UPSTASH_WORKFLOW_URL) to the address under which the server reaches this one:
// the Host header is believed for loopback addresses and behind
// [Options.TrustedProxies] only, since whoever sends a request chooses it.
//
// A Signpost server binds it to what the request is for, too. Such a signature
// covers the Upstash-* headers, and serves one kind of call, run and attempt:
//
//	call                    kind in the token                      run in the token
//	step, first call,       step                                   that of the headers
//	  what a step waited for
//	result of a Call        callback                               that of the headers
//	report of a failure     failure                                that of the headers
//	plain request (start)   message, callback, failure or call     none
//	check of a run's log    check                                  that of the headers
//
// The call that is in none of these rows is the server's probe for the keys the
// endpoint holds: nothing is executed, as in a check. Whatever does not fit is refused, so that
// a captured step does not become a failure callback, nor a request that a
// third party got for a Call anything but a plain request. Other servers of the
// protocol bind nothing but URL and body; [Options.RequireBinding] refuses those.
//
// Who may start a run is the application's own question.
// [Options.Authorize] answers it on every call with the headers and payload
// the run began with. The function can answer it, too: one that returns, with
// an error or without, before its first step has refused the call. Nothing is
// executed, and OnFailure is not called. (Where the reason may pass, the error
// may be a [RetryAfter].) A function without any step therefore never succeeds.
//
// A refused call is answered 401 with the header Upstash-NonRetryable-Error,
// which asks the server not to try again. (Not so a signature that has expired or
// was seen before: the retry has another.) A server that knows this header
// with the status 489 only does so nonetheless, and is refused again. A panic
// refuses like an error, but with a 500: it is the endpoint that is to be mended.
//
// On the calls that would not come to the function otherwise, which are the
// one that starts a run, the one that brings the result of a [Call], and the
// one that reports a failure, it is called up to its first step for this answer
// alone. The result of a Call comes without the run's payload: for it the
// endpoint fetches the run's log, one more request per Call.
//
// The package imports the standard library, client, receiver and internal/wire.
package workflow
