// Command compactor merges segments, drops what is expired and removes what is deleted.
// Its configuration is ../config.yaml, which all components share.
package main

import "example.com/loki/examples/internal/program"

func main() {
	program.Program{
		Name:    "compactor",
		About:   "A compactor: it merges segments, drops what is expired and removes what is deleted.",
		Targets: []string{"compactor"},
	}.Main()
}
