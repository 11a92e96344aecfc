// Command query-scheduler keeps a fair queue between query frontends and queriers.
// Its configuration is ../config.yaml, which all components share.
package main

import "example.com/loki/examples/internal/program"

func main() {
	program.Program{
		Name:    "query-scheduler",
		About:   "A query-scheduler: it keeps a fair queue between query frontends and queriers.",
		Targets: []string{"query-scheduler"},
	}.Main()
}
