package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/signposthq/signpost/internal/guard"
	"github.com/signposthq/signpost/receiver"
)

type guardCmd struct {
	Upstream          string         `from:"SIGNPOST_GUARD_UPSTREAM" placeholder:"URL" help:"Where verified requests go, such as http://127.0.0.1:3000."`
	Auth              bool           `from:"SIGNPOST_GUARD_AUTH" help:"Answer forward auth (nginx auth_request, Caddy, Traefik) at /auth."`
	Listen            string         `default:"127.0.0.1:3001" from:"SIGNPOST_GUARD_LISTEN" placeholder:"ADDR" help:"Address to listen on (default 127.0.0.1:3001)."`
	PublicURL         string         `name:"public-url" from:"SIGNPOST_GUARD_PUBLIC_URL" placeholder:"URL" help:"Where senders reach the endpoint: scheme, host, and the path that a proxy cuts off (default: loopback names, and what --trusted-proxies say)."`
	TrustedProxies    []netip.Prefix `from:"SIGNPOST_GUARD_TRUSTED_PROXIES" placeholder:"CIDR" help:"Peers whose X-Forwarded-* and X-Original-* headers are believed; may be repeated (default none, with --auth loopback)."`
	CurrentKey        string         `from:"QSTASH_CURRENT_SIGNING_KEY" placeholder:"KEY" help:"Current signing key."`
	NextKey           string         `from:"QSTASH_NEXT_SIGNING_KEY" placeholder:"KEY" help:"Next signing key."`
	KeysFile          string         `from:"SIGNPOST_GUARD_KEYS_FILE" placeholder:"FILE" help:"File with lines such as QSTASH_CURRENT_SIGNING_KEY=sig_…, read again on SIGHUP."`
	JWKS              string         `name:"jwks" from:"SIGNPOST_GUARD_JWKS" placeholder:"URL" help:"Verify Ed25519 signatures by the public keys at this URL, the server's /.well-known/jwks.json, instead of shared keys."`
	RequireBinding    bool           `from:"SIGNPOST_GUARD_REQUIRE_BINDING" help:"Refuse signatures that do not cover the Upstash-* headers; for senders that are Signpost servers."`
	ReplayGuard       bool           `from:"SIGNPOST_GUARD_REPLAY_GUARD" help:"Let each signature pass once; remembered in memory, so by one guard and until it stops."`
	AllowUnsignedPath []string       `from:"SIGNPOST_GUARD_ALLOW_UNSIGNED_PATH" placeholder:"PATH" help:"Path that GET and HEAD may ask for without a signature, such as /healthz; may be repeated."`
	MaxBody           size           `default:"32MiB" from:"SIGNPOST_GUARD_MAX_BODY" placeholder:"SIZE" help:"Largest body of a request (default 32MiB)."`
	UpstreamHost      string         `from:"SIGNPOST_GUARD_UPSTREAM_HOST" placeholder:"HOST" help:"Host header for the upstream (default that of the public URL)."`
	UpstreamTimeout   duration       `default:"15m" from:"SIGNPOST_GUARD_UPSTREAM_TIMEOUT" placeholder:"TIME" help:"How long the upstream may take to begin its answer (default 15m)."`
	Grace             duration       `default:"30s" from:"SIGNPOST_GRACE" placeholder:"TIME" help:"How long requests under way may take after SIGTERM (default 30s)."`
	Dev               bool           `from:"SIGNPOST_DEV" help:"Accept the public keys of development servers, from this machine only."`
	LogFormat         string         `default:"text" enum:"text,json" from:"SIGNPOST_LOG_FORMAT" placeholder:"FORMAT" help:"Format of the log on stderr: text or json (default text)."`
}

func (*guardCmd) Help() string {
	return `Requests with a good signature go on to --upstream, which need not know of signatures; all others are answered 401, or 413
if the body is too large. With --auth a web server asks for each request whether it may pass. docs/guard.md has both ways
with nginx, Caddy and Traefik. SIGHUP reads --keys-file again; SIGTERM and SIGINT stop the guard, within --grace.`
}

func (c *guardCmd) Run(ctx context.Context, o *outside) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	log := slog.New(logHandler(c.LogFormat, slog.LevelInfo, o.stderr))
	g, err := c.guard(log)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	server := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    128 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	c.announce(o, log, listener.Addr())
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve: %w", err)
		case <-hangups:
			c.reload(g, log)
		case <-ctx.Done():
			return c.stop(ctx, server, log)
		}
	}
}

// guard makes what c says, or an error with what to do about it.
func (c *guardCmd) guard(log *slog.Logger) (*guard.Guard, error) {
	if c.Upstream == "" && !c.Auth {
		return nil, &usageError{errors.New("nothing to guard"), "pass --upstream URL to forward verified requests, or --auth to answer a web server"}
	}
	if c.Dev && !isLocal("http://"+c.Listen) {
		return nil, withHint(fmt.Errorf("refusing to accept the keys of development servers on %s", c.Listen), "let it --listen on 127.0.0.1 only, or drop --dev")
	}
	keys, err := c.keys()
	if err != nil {
		return nil, err
	}
	options := guard.Options{
		Auth: c.Auth, AllowUnsigned: c.AllowUnsignedPath, Logger: log,
		UpstreamHost: c.UpstreamHost, UpstreamTimeout: time.Duration(c.UpstreamTimeout),
		Receiver: receiver.Options{
			CurrentSigningKey: keys.current, NextSigningKey: keys.next, BaseURL: c.PublicURL, TrustedProxies: c.TrustedProxies,
			MaxBodyBytes: int64(c.MaxBody), RequireBinding: c.RequireBinding, Development: c.Dev,
		},
	}
	if c.JWKS != "" {
		if options.Receiver.KeySet, err = receiver.NewKeySet(c.JWKS, nil); err != nil {
			return nil, withHint(fmt.Errorf("--jwks: %w", err), "write it like https://signpost.example.com/.well-known/jwks.json")
		}
	}
	if c.ReplayGuard {
		options.Receiver.Replay = receiver.NewMemoryReplayCache(0)
	}
	if c.Upstream != "" {
		if options.Upstream, err = url.Parse(c.Upstream); err != nil {
			return nil, &usageError{fmt.Errorf("--upstream: %w", err), "write it like http://127.0.0.1:3000"}
		}
	}
	g, err := guard.New(options)
	switch {
	case errors.Is(err, receiver.ErrDevelopmentKey):
		return nil, withHint(err, "set the keys of the server that sends, or pass --dev to try things on this machine")
	case err != nil:
		return nil, withHint(err, `see "signpost guard --help"`)
	}
	return g, nil
}

func (c *guardCmd) announce(o *outside, log *slog.Logger, addr net.Addr) {
	fmt.Fprintf(o.stdout, "Signpost guard is listening at http://%s\n", addr)
	if c.PublicURL == "" {
		log.Warn("no --public-url: requests are refused unless they go to a loopback name, or come through --trusted-proxies, whose word for the host is taken")
	}
	for _, path := range c.AllowUnsignedPath {
		log.Warn("GET and HEAD need no signature", "path", path)
	}
}

func (c *guardCmd) reload(g *guard.Guard, log *slog.Logger) {
	if c.KeysFile == "" {
		log.Warn("SIGHUP: keys from flags and the environment can't change; use --keys-file")
		return
	}
	keys, err := c.keys()
	if err == nil {
		err = g.SetKeys(keys.current, keys.next)
	}
	if err != nil {
		log.Error("SIGHUP: the keys stay as they were", "err", err)
		return
	}
	log.Info("SIGHUP: keys read again", "current", receiver.KeyID(keys.current), "next", keys.nextID())
}

func (c *guardCmd) stop(ctx context.Context, server *http.Server, log *slog.Logger) error {
	log.Info("stopping: requests under way may end; a second signal cuts them off", "grace", time.Duration(c.Grace))
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(c.Grace))
	defer cancel()
	if err := server.Shutdown(within); err != nil {
		log.Warn("requests were cut off")
		return server.Close()
	}
	return nil
}
