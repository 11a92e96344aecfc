// Command readwrite is one of three kinds of process that make a log server together: -target=write takes
// and keeps new lines, -target=read answers queries, -target=backend serves the others. Any number of each
// may run behind a load balancer that sends pushes to write and queries to read; they find each other
// with -memberlist.join and share a bucket. See config.yaml beside this file, and cluster.sh for all of
// them on one machine.
package main

import (
	"example.com/loki/examples/internal/program"
	"example.com/loki/examples/internal/rules"
)

func main() {
	program.Program{
		Name:    "readwrite",
		About:   "A part of a log server: -target is write, read or backend.",
		Targets: []string{"write", "read", "backend"},
		Ruler:   rules.Builder,
	}.Main()
}
