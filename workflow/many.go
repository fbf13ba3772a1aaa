package workflow

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/signposthq/signpost/internal/wire"
)

// Workflow is a workflow function with a name, for [ServeMany]. Its Ref is how
// others invoke it.
type Workflow[In, Out any] struct {
	Ref[In, Out]
	fn   func(ctx *Context, in In) (Out, error)
	opts *Options
}

// Define names a workflow function. What opts leaves out, or all if it is nil, is
// that of ServeMany's options. The function is that of [Serve].
//
//	var charge = workflow.Define("charge", chargeCustomer, nil)
//
// A function that refers to a variable which it initialises, directly or through
// others, does not compile: [Named] makes a reference without it.
func Define[In, Out any](name string, fn func(ctx *Context, in In) (Out, error), opts *Options) *Workflow[In, Out] {
	return &Workflow[In, Out]{Ref: Named[In, Out](name), fn: fn, opts: opts}
}

// Definition is a [Workflow] of any types.
type Definition interface {
	definition() (name string, b binder, opts *Options)
}

func (w *Workflow[In, Out]) definition() (string, binder, *Options) {
	return w.name, binding(w.fn), w.opts
}

// Endpoints is an HTTP handler for several workflows, made by [ServeMany]. It is
// safe for concurrent use.
type Endpoints struct{ named map[string]*Endpoint }

// ServeMany makes the endpoints of workflows that invoke each other. Each is
// served where the last segment of a request's path is its name:
//
//	many, err := workflow.ServeMany(nil, onboard, charge)
//	http.Handle("/workflows/", many) // /workflows/onboard, /workflows/charge
//
// Any other request is answered 404. Workflows with the same options, nil
// included, share one client and one receiver. ServeMany fails where [Serve]
// does, and on names that are empty, there twice, or have a '/'.
func ServeMany(opts *Options, workflows ...Definition) (*Endpoints, error) {
	m := &Endpoints{named: make(map[string]*Endpoint, len(workflows))}
	settled := map[*Options]*settings{} // those who share options share what they hold
	for _, w := range workflows {
		name, b, own := w.definition()
		switch {
		case name == "" || name == "." || name == ".." || strings.Contains(name, "/"):
			return nil, fmt.Errorf("serve workflows: %q can't be the name of a workflow: it is a segment of a path", name)
		case m.named[name] != nil:
			return nil, fmt.Errorf("serve workflows: there are two of the name %q", name)
		}
		if own == nil {
			own = opts
		}
		if settled[own] == nil {
			s, err := own.over(opts).settle()
			if err != nil {
				return nil, fmt.Errorf("serve workflows: %q: %w", name, err)
			}
			settled[own] = &s
		}
		m.named[name] = serve(b, settled[own])
	}
	if len(m.named) == 0 {
		return nil, errors.New("serve workflows: there are none")
	}
	return m, nil
}

// MustServeMany is [ServeMany] for package variables and main functions: it
// panics where ServeMany fails.
func MustServeMany(opts *Options, workflows ...Definition) *Endpoints {
	m, err := ServeMany(opts, workflows...)
	if err != nil {
		panic(err)
	}
	return m
}

// ServeHTTP answers as the [Endpoint] of the workflow does that the path names.
func (m *Endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	name := path[strings.LastIndexByte(path, '/')+1:]
	if text, err := url.PathUnescape(name); err == nil {
		name = text
	}
	if e := m.named[name]; e != nil {
		e.ServeHTTP(w, r)
		return
	}
	w.Header().Set(wire.HeaderWorkflowSDKVersion, protocolVersion)
	w.Header().Set(wire.HeaderWorkflowSDK, sdkLevel)
	http.Error(w, fmt.Sprintf("There is no workflow '%s' here. Its name is the last segment of the URL.", name), http.StatusNotFound)
}
