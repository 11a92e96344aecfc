// Command querier runs tasks of queries over the segments and the ingesters; it fetches them from a query scheduler.
// Its configuration is ../config.yaml, which all components share.
package main

import "example.com/loki/examples/internal/program"

func main() {
	program.Program{
		Name:    "querier",
		About:   "A querier: it runs tasks of queries over the segments and the ingesters; it fetches them from a query scheduler.",
		Targets: []string{"querier"},
	}.Main()
}
