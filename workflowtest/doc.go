// Package workflowtest tests workflows without a server, a network or a
// database, and without waiting: a sleep of 30 days is over at once.
//
//	func TestOnboard(t *testing.T) {
//		env := workflowtest.New(t)
//		env.OnCall("https://mail.example.com/", workflowtest.Reply(200, nil))
//		env.Notify("confirmed", Confirmation{By: "ada"}).After(2 * time.Hour)
//		env.FailStep("create user", 1, errors.New("database is away"))
//
//		run := workflowtest.Run(env, onboard, SignUp{Email: "ada@example.com"})
//
//		if run.Err != nil || run.Value.UserID != 7 {
//			t.Errorf("got %v, %v", run.Value, run.Err)
//		}
//		if want := []string{"create user", "send mail", "wait for confirmation", "sleep"}; !slices.Equal(run.Names(), want) {
//			t.Errorf("steps %v, want %v", run.Names(), want)
//		}
//		if run.Elapsed < 30*24*time.Hour {
//			t.Error("it did not sleep")
//		}
//	}
//
// What runs is the real SDK, an endpoint with all it checks, that a model of the
// server calls within the process. Steps are retried with the delays that the
// server would take, a run that fails comes to Options.OnFailure, and who is not
// authorized is refused. Only the time is virtual. Within a bubble of
// testing/synctest the code under test sees it, too, if [Env.Sleep] is time.Sleep.
//
// Whatever a run asks others for, the test says what comes of it: [Env.OnCall],
// [Env.OnInvoke] (or the workflow itself, by [Env.Serve]), [Env.Notify] and
// [Env.Webhook]. What goes wrong, too: [Env.FailStep], [Env.LoseStep] and
// [Env.Twice].
//
// Each time before it executes a step, and at the end for the whole of the log,
// [Run] calls the function several times just to see where it goes. One that does
// not always come to the same steps fails the test, and so do its other mistakes
// that no retry mends. So code outside of steps runs far more often in a test
// than on a server. Steps run one at a time, parallel ones in an order that
// [Env.Seed] decides.
//
// The package imports the standard library, client, receiver, workflow and
// internal/wire.
package workflowtest
