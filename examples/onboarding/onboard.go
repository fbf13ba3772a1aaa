package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

type config struct {
	BaseURL  string // of the handler
	Client   *client.Client
	Receiver *receiver.Receiver // for BaseURL
	Token    string             // that starts runs
	Pause    time.Duration
	Log      *log.Logger // one line per step
}

// newHandler serves the workflow at /onboard, and at /mail the mail service that
// it calls.
func newHandler(c config) (http.Handler, error) {
	if c.Token == "" {
		return nil, errors.New("no token to start runs with: set ONBOARDING_TOKEN")
	}
	o := &onboarding{config: c}
	endpoint, err := workflow.Serve(o.onboard, &workflow.Options{
		Client:    c.Client,
		Receiver:  c.Receiver,
		BaseURL:   c.BaseURL,
		Authorize: o.authorize,
		OnFailure: o.cleanUp,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/onboard", endpoint)
	mux.Handle("POST /mail", c.Receiver.Middleware(http.HandlerFunc(o.mail)))
	return mux, nil
}

type onboarding struct{ config }

type signUp struct {
	Email string `json:"email"`
	Fail  bool   `json:"fail"`
}

type account struct {
	Email string `json:"email"`
	Home  string `json:"home"`
	Mail  string `json:"mail"` // id of the welcome mail
}

func (o *onboarding) onboard(ctx *workflow.Context, in signUp) (account, error) {
	a := account{Email: in.Email}
	user, err := workflow.Run(ctx, "create user", func(context.Context) (string, error) {
		if in.Fail {
			o.Log.Printf("%s: create user %s: it fails, as it was told to", ctx.RunID, in.Email)
			return "", workflow.NonRetryable(fmt.Errorf("user %s cannot be created", in.Email))
		}
		o.Log.Printf("%s: create user %s", ctx.RunID, in.Email)
		return "user-" + in.Email, nil
	})
	if err != nil {
		return a, err
	}

	// Both at the same time. The mail is sent by the server, which tries again
	// if need be, while nothing here waits.
	home := workflow.RunAsync(ctx, "prepare home", func(context.Context) (string, error) {
		o.Log.Printf("%s: prepare home of %s", ctx.RunID, user)
		return "/home/" + user, nil
	})
	letter, _ := json.Marshal(map[string]string{"to": in.Email}) // strings only
	mail := workflow.CallAsync(ctx, "send welcome mail", workflow.CallRequest{
		URL:     o.BaseURL + "/mail",
		Method:  http.MethodPost,
		Body:    letter,
		Retries: 3,
	})
	if a.Home, err = home.Get(); err != nil {
		return a, err
	}
	answer, err := mail.Get()
	if err != nil {
		return a, err
	}
	if answer.Status != http.StatusOK {
		return a, workflow.NonRetryable(fmt.Errorf("mail service answered %d", answer.Status))
	}
	a.Mail = string(answer.Body)

	if err := ctx.Sleep("settle in", o.Pause); err != nil {
		return a, err
	}
	_, err = workflow.Run(ctx, "open account", func(context.Context) (struct{}, error) {
		o.Log.Printf("%s: open account %s after %s", ctx.RunID, in.Email, o.Pause)
		return struct{}{}, nil
	})
	return a, err
}

// authorize is asked on every call, with the header the run was started with.
func (o *onboarding) authorize(_ context.Context, r *workflow.AuthRequest) error {
	got, want := r.Header.Get("Authorization"), "Bearer "+o.Token
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		o.Log.Printf("%s: refused: wrong Authorization", r.RunID)
		return errors.New("wrong Authorization")
	}
	return nil
}

// cleanUp is called when a run has failed for good.
func (o *onboarding) cleanUp(ctx *workflow.FailureContext) (string, error) {
	var in signUp
	if err := json.Unmarshal(ctx.Payload, &in); err != nil {
		return "", workflow.NonRetryable(err)
	}
	o.Log.Printf("%s: failed, clean up after %s: %s", ctx.RunID, in.Email, ctx.Response)
	return "cleaned up after " + in.Email, nil
}

// mail stands in for a mail service. It, too, takes requests of the server only.
func (o *onboarding) mail(w http.ResponseWriter, r *http.Request) {
	var mail struct{ To string }
	if err := json.NewDecoder(r.Body).Decode(&mail); err != nil || mail.To == "" {
		http.Error(w, "no recipient", http.StatusBadRequest)
		return
	}
	o.Log.Printf("mail service: welcome mail to %s", mail.To)
	fmt.Fprintf(w, "mail-to-%s", mail.To)
}
