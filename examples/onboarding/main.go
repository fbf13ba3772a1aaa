// Onboarding is a workflow endpoint: it creates a user, sends a welcome mail
// while it prepares the user's home, waits, and is done. A payload of
// {"email":"ada@example.com"} goes well; with "fail":true in it the run fails,
// and what it left is cleaned up.
//
//	export QSTASH_URL=… QSTASH_TOKEN=… QSTASH_CURRENT_SIGNING_KEY=… QSTASH_NEXT_SIGNING_KEY=…
//	export SIGNPOST_DEV=1 # for the keys of "signpost dev", which prints all of this
//	export ONBOARDING_TOKEN=secret # who starts a run has to send it
//	go run ./examples/onboarding
//
// Nobody but the server gets in: each of its requests is signed. And nobody but
// who knows the token gets the server to start a run: every call brings the
// Authorization header that the run was triggered with.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "onboarding:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	flags := flag.NewFlagSet("onboarding", flag.ContinueOnError)
	flags.SetOutput(out)
	listen := flags.String("listen", "127.0.0.1:3000", "address to serve on")
	pause := flags.Duration("pause", 2*time.Second, "wait between the welcome mail and the end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	defer ln.Close()

	// Where the server reaches this program; what it signs names it.
	base := cmp.Or(getenv("UPSTASH_WORKFLOW_URL"), "http://"+ln.Addr().String())
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: getenv("QSTASH_CURRENT_SIGNING_KEY"),
		NextSigningKey:    getenv("QSTASH_NEXT_SIGNING_KEY"),
		Development:       getenv("SIGNPOST_DEV") == "1", // else the keys of "signpost dev" are refused
		BaseURL:           base,
	})
	if err != nil {
		return fmt.Errorf("set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY: %w", err)
	}
	handler, err := newHandler(config{
		BaseURL:  base,
		Client:   client.New(client.Options{URL: getenv("QSTASH_URL"), Token: getenv("QSTASH_TOKEN")}),
		Receiver: rc,
		Token:    getenv("ONBOARDING_TOKEN"),
		Pause:    *pause,
		Log:      log.New(out, "onboarding ", log.Ltime|log.Lmsgprefix),
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "onboarding is served at %s/onboard\n", base)
	return serve(ctx, ln, handler)
}

// serve serves until ctx is done, and then lets requests in flight finish.
func serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return srv.Shutdown(ctx)
}
