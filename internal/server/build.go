package server

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// build is the answer of /loki/api/v1/status/buildinfo.
type build struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`
}

// modulePath is the module that this package belongs to.
const modulePath = "example.com/loki"

// readBuild returns what the Go tool has noted in the binary about this module, which may be the main
// one or a dependency of the host. A field that is not known is empty.
func readBuild() build {
	b := build{GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Path != modulePath {
		for _, d := range info.Deps {
			if d.Path == modulePath {
				b.Version = d.Version
			}
		}
		return b
	}
	b.Version = cmp.Or(info.Main.Version, "(devel)")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.BuildDate = s.Value
		}
	}
	return b
}

// Version returns the version of this module in the running binary, such as v1.2.3 or (devel).
func Version() string { return cmp.Or(readBuild().Version, "(devel)") }
