package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/signposthq/signpost/client"
)

type keysCmd struct {
	Show   keysShowCmd   `cmd:"" help:"Print the keys that deliveries are signed with."`
	Rotate keysRotateCmd `cmd:"" help:"Make the next key the current one, and a new key the next."`

	GenerateMaster keysGenerateMasterCmd `cmd:"" help:"Print a new master key, to seal a server's data with."`
	Rewrap         keysRewrapCmd         `cmd:"" help:"Seal a server's data anew, under the first of its master keys."`
}

type keysShowCmd struct {
	remote `embed:""`
	JSON   bool `name:"json" help:"Print JSON."`
}

func (c *keysShowCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	keys, err := cl.Keys(ctx)
	if err != nil {
		return err
	}
	return writeKeys(o, keys, c.JSON)
}

type keysRotateCmd struct {
	remote `embed:""`
	JSON   bool `name:"json" help:"Print JSON."`
}

func (*keysRotateCmd) Help() string {
	return `Deliveries are signed with the new current key at once, retries of older messages too. Receivers accept it without a
change, because it was their next key. Give them the new pair before you rotate again.`
}

func (c *keysRotateCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	keys, err := cl.RotateKeys(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(o.stderr, "Rotated. Give receivers both keys before the next rotation.")
	return writeKeys(o, keys, c.JSON)
}

func writeKeys(o *outside, keys client.SigningKeys, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(o.stdout).Encode(keys)
	}
	writeExport(o.stdout, "QSTASH_CURRENT_SIGNING_KEY", keys.Current)
	writeExport(o.stdout, "QSTASH_NEXT_SIGNING_KEY", keys.Next)
	return nil
}
