package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// TestMain makes the test binary the command signpost when it is called by that
// name, as the scripts and the servers of "signpost bench" do.
func TestMain(m *testing.M) {
	time.Local = time.UTC // before anything else reads it
	testscript.Main(m, map[string]func(){"signpost": main})
}

// TestScript runs the manuals in testdata. Beside testscript's own commands they
// have:
//
//	start NAME args…          start "signpost args…" and go on
//	see NAME PATTERN          wait until its output matches
//	signal NAME TERM|INT|HUP|KILL  send it a signal
//	gone NAME STATUS          wait until it has ended: 0, 1, 2 or killed; its output is in NAME.out
//	paste NAME                put the "export" lines of its output into the environment; of -: of the last output
//	capture VARIABLE          put the last output into the environment
//	find VARIABLE PATTERN     put what the pattern's group matches in it into the environment
//	port VARIABLE             find a free port
//	endpoint                  start $ENDPOINT: /ok answers 200, /fail 500, /hold when told to, /guarded what verifies with
//	                          the keys that the environment has now
//	received N PATTERN        wait until it has got N requests whose "METHOD /path body" match; all must be signed
//	release                   let /hold answer
//	eventually PATTERN args…  run "signpost args…" until its output matches
//	sign VARIABLE URL BODY TIME [KEY] ['K: V'…]
//	                          make a signature as the server did then: RFC 3339, or how long ago;
//	                          KEY ed25519 is a key whose public part is put into PUBLIC_KEY
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			w := &world{processes: map[string]*background{}}
			env.Values[worldKey{}] = w
			env.Defer(w.end)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=10") // each command would take a second longer
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": scripted(2, (*world).start), "see": scripted(2, (*world).see), "signal": scripted(2, (*world).signal),
			"gone": scripted(2, (*world).gone), "paste": scripted(1, (*world).paste), "capture": scripted(1, (*world).capture), "find": scripted(2, (*world).find), "port": scripted(1, (*world).port),
			"endpoint": scripted(0, (*world).startEndpoint), "received": scripted(2, (*world).received), "release": scripted(0, (*world).release),
			"eventually": scripted(2, (*world).eventually), "sign": scripted(4, (*world).sign),
		},
	})
}

// patience bounds every wait of a script.
const patience = 20 * time.Second

// world is what a script has started.
type world struct {
	processes map[string]*background
	endpoint  *endpoint // the last one
	closers   []func()
}

type worldKey struct{}

func scripted(arguments int, do func(*world, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < arguments {
			ts.Fatalf("see TestScript for how to use this command")
		}
		do(ts.Value(worldKey{}).(*world), ts, args)
	}
}

func (w *world) end() {
	for _, p := range w.processes {
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	for _, closeIt := range w.closers {
		closeIt()
	}
}

// background is a running signpost.
type background struct {
	cmd   *exec.Cmd
	ended chan struct{}
	mu    sync.Mutex
	out   bytes.Buffer
}

func (p *background) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *background) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (w *world) process(ts *testscript.TestScript, name string) *background {
	p := w.processes[name]
	if p == nil {
		ts.Fatalf("no process %s was started", name)
	}
	return p
}

func (w *world) start(ts *testscript.TestScript, args []string) {
	p := &background{ended: make(chan struct{})}
	p.cmd = exec.Command("signpost", args[1:]...)
	p.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{
		"WORK", "HOME", "PATH", "TZ", "TMPDIR", "GOCOVERDIR", "GORACE",
		"QSTASH_URL", "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "SIGNPOST_PORT", "SIGNPOST_DATA",
		"SIGNPOST_MASTER_KEY", "SIGNPOST_MASTER_KEY_FILE",
	} {
		if value := ts.Getenv(name); value != "" {
			p.cmd.Env = append(p.cmd.Env, name+"="+value)
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its state tells
	}()
	if old := w.processes[args[0]]; old != nil {
		select {
		case <-old.ended:
		default:
			ts.Fatalf("%s is still running", args[0])
		}
	}
	w.processes[args[0]] = p
}

func (w *world) see(ts *testscript.TestScript, args []string) {
	p, re := w.process(ts, args[0]), compile(ts, args[1])
	poll(ts, func() bool { return re.MatchString(p.output()) }, func() string {
		return fmt.Sprintf("%s said:\n%s", args[0], p.output())
	})
}

func (w *world) signal(ts *testscript.TestScript, args []string) {
	how := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt, "KILL": os.Kill, "HUP": syscall.SIGHUP}[args[1]]
	ts.Check(w.process(ts, args[0]).cmd.Process.Signal(how))
}

func (w *world) gone(ts *testscript.TestScript, args []string) {
	p := w.process(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("%s has not ended; it said:\n%s", args[0], p.output())
	}
	status := strconv.Itoa(p.cmd.ProcessState.ExitCode())
	if status == "-1" {
		status = "killed"
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".out"), []byte(p.output()), 0o600))
	if status != args[1] {
		ts.Fatalf("%s ended with status %s; it said:\n%s", args[0], status, p.output())
	}
}

var exportLine = regexp.MustCompile(`(?m)^export (\w+)='(.*)'$`)

func (w *world) paste(ts *testscript.TestScript, args []string) {
	var text string
	if args[0] == "-" {
		text = ts.ReadFile("stdout")
	} else {
		w.see(ts, []string{args[0], "^Data is kept in "}) // behind them
		text = w.process(ts, args[0]).output()
	}
	lines := exportLine.FindAllStringSubmatch(text, -1)
	if lines == nil {
		ts.Fatalf("%s printed no export lines:\n%s", args[0], text)
	}
	for _, l := range lines {
		ts.Setenv(l[1], l[2])
	}
}

func (*world) capture(ts *testscript.TestScript, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func (*world) find(ts *testscript.TestScript, args []string) {
	found := compile(ts, args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("no %s in:\n%s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], found[1])
}

func (*world) port(ts *testscript.TestScript, args []string) {
	port, err := quietPort()
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(port))
}

func (*world) eventually(ts *testscript.TestScript, args []string) {
	re, last := compile(ts, args[0]), ""
	poll(ts, func() bool {
		err := ts.Exec("signpost", args[1:]...)
		last = ts.ReadFile("stdout")
		return err == nil && re.MatchString(last)
	}, func() string { return "it said:\n" + last })
}

func (*world) sign(ts *testscript.TestScript, args []string) {
	at, err := time.Parse(time.RFC3339, args[3])
	if ago, isAgo := time.ParseDuration(args[3]); isAgo == nil {
		at, err = time.Now().Add(-ago), nil
	}
	ts.Check(err)
	o := receiver.SignOptions{URL: args[1], Body: []byte(args[2]), Time: at}
	key := ts.Getenv("QSTASH_CURRENT_SIGNING_KEY")
	for _, arg := range args[4:] {
		name, value, isHeader := strings.Cut(arg, ": ")
		if !isHeader {
			key = arg
			continue
		}
		if o.Header == nil {
			o.Header = http.Header{}
		}
		o.Header.Add(name, value)
	}
	token, err := signAs(ts, key, o)
	ts.Check(err)
	ts.Setenv(args[0], token)
}

func signAs(ts *testscript.TestScript, key string, o receiver.SignOptions) (string, error) {
	if key != "ed25519" {
		return receiver.Sign(key, o)
	}
	signer, err := receiver.NewEd25519Signer([]byte("thirty-two bytes of this manual!"))
	ts.Check(err)
	ts.Setenv("PUBLIC_KEY", base64.RawURLEncoding.EncodeToString(signer.PublicKey()))
	return signer.Sign(o)
}

// endpoint records the requests it gets.
type endpoint struct {
	*httptest.Server
	mu       sync.Mutex
	requests []recorded
	letGo    context.CancelFunc
}

type recorded struct {
	method, url, signature string
	path                   string
	body                   []byte
}

func (w *world) startEndpoint(ts *testscript.TestScript, _ []string) {
	held, letGo := context.WithCancel(context.Background())
	e := &endpoint{letGo: letGo}
	guarded, workflows := verified(ts), map[string]http.Handler{
		"/workflow": workflowOf(ts, "second", "paid"), "/workflow/next": workflowOf(ts, "two", "paid"), "/workflow/later": workflowOf(ts, "second", "settled"),
	}
	e.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/guarded":
			guarded.ServeHTTP(rw, r)
			return
		case "/workflow", "/workflow/next", "/workflow/later":
			workflows[r.URL.Path].ServeHTTP(rw, r)
			return
		}
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		e.mu.Lock()
		e.requests = append(e.requests, recorded{r.Method, "http://" + r.Host + r.RequestURI, r.Header.Get(receiver.Header), r.RequestURI, content})
		e.mu.Unlock()
		switch r.URL.Path {
		case "/fail":
			rw.WriteHeader(http.StatusInternalServerError)
		case "/hold":
			<-held.Done()
		}
	}))
	w.endpoint, w.closers = e, append(w.closers, func() { letGo(); e.Close() })
	ts.Setenv("ENDPOINT", e.URL)
}

// verified accepts what the keys in the environment have signed.
func verified(ts *testscript.TestScript) http.Handler {
	if ts.Getenv("QSTASH_CURRENT_SIGNING_KEY") == "" {
		return http.NotFoundHandler()
	}
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: ts.Getenv("QSTASH_CURRENT_SIGNING_KEY"), NextSigningKey: ts.Getenv("QSTASH_NEXT_SIGNING_KEY"),
		Development: true,
	})
	ts.Check(err)
	return rc.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// workflowOf is a workflow whose second and last step have names, for the server
// in the environment.
func workflowOf(ts *testscript.TestScript, second, last string) http.Handler {
	if ts.Getenv("QSTASH_CURRENT_SIGNING_KEY") == "" || ts.Getenv("QSTASH_TOKEN") == "" {
		return http.NotFoundHandler()
	}
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: ts.Getenv("QSTASH_CURRENT_SIGNING_KEY"), Development: true})
	ts.Check(err)
	type payload struct {
		Sleep int
		Fail  bool
		Break bool   // the first step fails
		Event string // to wait for in the end
	}
	return workflow.MustServe(func(ctx *workflow.Context, in payload) (string, error) {
		first, err := workflow.Run(ctx, "first", func(context.Context) (string, error) {
			if in.Break {
				return "", workflow.NonRetryable(errors.New("no start"))
			}
			return "one", nil
		})
		if err != nil {
			return "", err
		}
		left := workflow.RunAsync(ctx, second, func(context.Context) (string, error) { return "two", nil })
		right := workflow.RunAsync(ctx, "third", func(context.Context) (string, error) {
			if in.Fail {
				return "", workflow.NonRetryable(errors.New("no luck"))
			}
			return "three", nil
		})
		if err := workflow.All(ctx, left, right); err != nil {
			return "", err
		}
		if err := ctx.Sleep("nap", time.Duration(in.Sleep)*time.Second); err != nil || in.Event == "" {
			return first + " two three", err
		}
		paid, err := workflow.WaitForEvent[string](ctx, last, in.Event, time.Hour)
		return first + " " + paid.Data, err
	}, &workflow.Options{
		Client:   client.New(client.Options{URL: ts.Getenv("QSTASH_URL"), Token: ts.Getenv("QSTASH_TOKEN")}),
		Receiver: rc, Development: true, Logger: slog.New(slog.DiscardHandler),
	})
}

func (w *world) release(*testscript.TestScript, []string) { w.endpoint.letGo() }

func (w *world) received(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	re := compile(ts, args[1])
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: ts.Getenv("QSTASH_CURRENT_SIGNING_KEY"), NextSigningKey: ts.Getenv("QSTASH_NEXT_SIGNING_KEY"),
		Development: true,
	})
	ts.Check(err)
	e, n, all := w.endpoint, 0, ""
	poll(ts, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		n, all = 0, ""
		for _, r := range e.requests {
			line := fmt.Sprintf("%s %s %s", r.method, r.path, r.body)
			all += line + "\n"
			if !re.MatchString(line) {
				continue
			}
			n++
			if _, err := rc.Verify(receiver.Request{Signature: r.signature, URL: r.url, Body: r.body}); err != nil {
				ts.Fatalf("%s: %v", line, err)
			}
		}
		return n >= want
	}, func() string { return fmt.Sprintf("%d of these do:\n%s", n, all) })
	if n != want {
		ts.Fatalf("%d requests match, want %d:\n%s", n, want, all)
	}
}

func compile(ts *testscript.TestScript, pattern string) *regexp.Regexp {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	return re
}

func poll(ts *testscript.TestScript, done func() bool, state func() string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			ts.Fatalf("gave up waiting; %s", cmp.Or(state(), "nothing"))
		}
	}
}
