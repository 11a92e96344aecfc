// Command ingester keeps the newest lines in a write-ahead log and memory, and makes segments of them.
// Its configuration is ../config.yaml, which all components share.
package main

import "example.com/loki/examples/internal/program"

func main() {
	program.Program{
		Name:    "ingester",
		About:   "An ingester: it keeps the newest lines in a write-ahead log and memory, and makes segments of them.",
		Targets: []string{"ingester"},
	}.Main()
}
