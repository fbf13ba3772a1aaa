package workflow_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/workflow"
)

// stage is a program with workflows that a real server calls: the one that the
// Examples have.
type stage struct {
	client *client.Client
	url    string // at which workflows are, below

	calls   sync.RWMutex // read while the server makes one
	handler http.Handler
}

func newStage(t testing.TB) *stage {
	s := &stage{client: server().Client()}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.RLock()
		h := s.handler
		h.ServeHTTP(w, r)
		s.calls.RUnlock()
	}))
	s.url = app.URL
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		app.Close()
	})
	return s
}

func (s *stage) options() *workflow.Options {
	return &workflow.Options{Client: s.client, Receiver: server().Receiver(exampleT), RequireBinding: true, Logger: quiet}
}

// handle has h be called from the next call on that is made.
func (s *stage) handle(h http.Handler) {
	s.calls.Lock()
	defer s.calls.Unlock()
	s.handler = h
}

// serveOn makes fn what s serves; change may be nil.
func serveOn[In, Out any](t testing.TB, s *stage, change func(*workflow.Options), fn func(*workflow.Context, In) (Out, error)) *workflow.Endpoint {
	t.Helper()
	o := s.options()
	if change != nil {
		change(o)
	}
	e, err := workflow.Serve(fn, o)
	if err != nil {
		t.Fatal(err)
	}
	s.handle(e)
	return e
}

// serveMany makes workflows what s serves.
func serveMany(t testing.TB, s *stage, workflows ...workflow.Definition) {
	t.Helper()
	m, err := workflow.ServeMany(s.options(), workflows...)
	if err != nil {
		t.Fatal(err)
	}
	s.handle(m)
}

// trigger starts a run, "wfr_1" at /onboard unless r says otherwise, and waits
// until it has ended and nothing is called for it any more.
func (s *stage) trigger(t testing.TB, r client.TriggerRequest) client.Run {
	t.Helper()
	if r.URL == "" {
		r.URL = s.url + "/onboard"
	}
	if r.RunID == "" {
		r.RunID = "wfr_1"
	}
	if r.RetryDelay == "" {
		r.RetryDelay = "10"
	}
	if _, err := s.client.Trigger(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return s.ended(t, r.RunID)
}

func (s *stage) ended(t testing.TB, runID string) client.Run {
	t.Helper()
	run := server().WaitRun(t, runID, client.RunSuccess, client.RunFailed, client.RunCanceled)
	for deadline := time.Now().Add(15 * time.Second); run.FailureFunction != nil && run.FailureFunction.State == client.CallbackInProgress; {
		if time.Now().After(deadline) {
			t.Fatalf("the failure function of run %s is not called", runID)
		}
		time.Sleep(5 * time.Millisecond)
		var err error
		if run, err = s.client.Run(t.Context(), runID); err != nil {
			t.Fatal(err)
		}
	}
	s.calls.Lock() // when the last one is over
	defer s.calls.Unlock()
	return run
}

// steps lists what a run has done after its start, as "place name".
func steps(run client.Run) (all []string) {
	for i, group := range run.Steps {
		for _, s := range group.Steps {
			if i > 0 {
				all = append(all, fmt.Sprint(s.StepID, " ", s.StepName))
			}
		}
	}
	return all
}
