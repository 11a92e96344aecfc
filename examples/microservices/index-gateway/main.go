// Command index-gateway answers from the indexes of segments, so that other processes need not hold them.
// Its configuration is ../config.yaml, which all components share.
package main

import "example.com/loki/examples/internal/program"

func main() {
	program.Program{
		Name:    "index-gateway",
		About:   "An index-gateway: it answers from the indexes of segments, so that other processes need not hold them.",
		Targets: []string{"index-gateway"},
	}.Main()
}
