package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker for releases: -X main.version=v1.2.3 -X main.commit=0123abc.
var version, commit string

type versionCmd struct{}

func (*versionCmd) Run(o *outside) error {
	v, c := version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		v = cmp.Or(v, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				c = cmp.Or(c, s.Value)
			}
		}
	}
	fmt.Fprintf(o.stdout, "signpost %s\ncommit   %s\ngo       %s %s/%s\n",
		cmp.Or(v, "(devel)"), cmp.Or(c, "unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
