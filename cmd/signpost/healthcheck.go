package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

type healthcheckCmd struct {
	Server  string   `default:"http://127.0.0.1:8080" from:"QSTASH_URL" placeholder:"URL" help:"Server to ask (default http://127.0.0.1:8080)."`
	Timeout duration `default:"5s" placeholder:"TIME" help:"How long to wait for its answer (default 5s)."`
}

func (c *healthcheckCmd) Run(ctx context.Context, o *outside) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(c.Server, "/")+"/v2/readiness", nil)
	if err != nil {
		return withHint(err, "set --server to something like http://127.0.0.1:8080")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return withHint(fmt.Errorf("%s is not ready: it answered %s", c.Server, resp.Status), "it may be stopping, or not be a Signpost server")
	}
	fmt.Fprintln(o.stdout, "ready")
	return nil
}
