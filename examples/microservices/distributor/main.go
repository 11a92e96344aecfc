// Command distributor takes pushes, checks them and hands each line to the ingesters that keep it.
// Its configuration is ../config.yaml, which all components share.
package main

import "example.com/loki/examples/internal/program"

func main() {
	program.Program{
		Name:    "distributor",
		About:   "A distributor: it takes pushes, checks them and hands each line to the ingesters that keep it.",
		Targets: []string{"distributor"},
	}.Main()
}
