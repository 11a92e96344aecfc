// Command monolithic is a log server in one process. Without arguments it stores under ./loki-data and
// listens on 127.0.0.1:3100; with -config.file it takes Loki's configuration. Grafana, logcli and
// whatever else speaks to Loki can be pointed at it. With -target it runs some components only, and with
// -memberlist.join it shares the work with others of its kind.
//
// It exits with 0 after it was told to stop, 1 when something failed, 2 when it was called wrongly,
// and 130 after a second signal, which ends it at once.
package main

import (
	"example.com/loki/examples/internal/program"
	"example.com/loki/examples/internal/rules"
)

func main() {
	program.Program{Name: "monolithic", About: "A log server that speaks Loki's API.", Ruler: rules.Builder}.Main()
}
