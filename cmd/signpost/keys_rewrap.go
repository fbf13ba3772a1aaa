package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/signposthq/signpost/client"
)

type keysRewrapCmd struct {
	remote `embed:""`
	Status bool `help:"Only say how far it is."`
	Wait   bool `help:"Wait until everything is sealed anew."`
	JSON   bool `name:"json" help:"Print JSON."`
}

func (*keysRewrapCmd) Help() string {
	return `To replace the master key, put a new one into the first line of the server's master key file, run this with --wait, and
then remove the old one. The server goes on meanwhile; it reads the file again, makes a new data key, and seals with it the
signing keys at once and everything else in the background. A restart does not lose what has been done.`
}

func (c *keysRewrapCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.CloseIdleConnections()
	ask := cl.Rewrap
	if c.Status {
		ask = cl.Sealing
	}
	now, err := ask(ctx)
	for told := -1; err == nil && c.Wait && now.State == client.SealingUnderWay; now, err = cl.Sealing(ctx) {
		if now.Percent != told {
			told = now.Percent
			fmt.Fprintf(o.stderr, "%3d %%  %d rows sealed anew\n", now.Percent, now.Resealed)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(o.stdout).Encode(now)
	}
	writeSealing(o, &now)
	return nil
}

func writeSealing(o *outside, s *client.Sealing) {
	switch s.State {
	case client.SealingOff:
		fmt.Fprintln(o.stdout, "The server has no master key: its data is not sealed.")
	case client.SealingUnderWay:
		fmt.Fprintf(o.stdout, "Master key %s seals. Data is being sealed anew: %d %%, %d rows. Keep older master keys until that is done.\n",
			s.MasterKey, s.Percent, s.Resealed)
	default:
		fmt.Fprintf(o.stdout, "Master key %s seals everything. Other master keys are not needed any more.\n", s.MasterKey)
	}
}
