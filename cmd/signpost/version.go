package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker for releases: -X main.version=v1.2.3 -X main.commit=0123abc.
var version, commit string

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// built is what this program was made of.
type built struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (c *versionCmd) Run(o *outside) error {
	b := built{version, commit, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version = cmp.Or(b.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = cmp.Or(b.Commit, s.Value)
			}
		}
	}
	b.Version, b.Commit = cmp.Or(b.Version, "(devel)"), cmp.Or(b.Commit, "unknown")
	if c.JSON {
		return json.NewEncoder(o.stdout).Encode(b)
	}
	_, err := fmt.Fprintf(o.stdout, "signpost %s\ncommit   %s\ngo       %s %s\n", b.Version, b.Commit, b.Go, b.Platform)
	return err
}
