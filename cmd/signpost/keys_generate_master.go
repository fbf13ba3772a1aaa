package main

import (
	"fmt"

	"github.com/signposthq/signpost"
)

type keysGenerateMasterCmd struct{}

func (*keysGenerateMasterCmd) Help() string {
	return `Put it into a file that only the server's user can read, and start the server with --master-key-file. Keep a copy
somewhere else: without the key, the data is lost.

  (umask 077; signpost keys generate-master > master.key)`
}

func (*keysGenerateMasterCmd) Run(o *outside) error {
	_, err := fmt.Fprintln(o.stdout, signpost.NewMasterKey())
	return err
}
