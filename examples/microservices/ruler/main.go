// Command ruler evaluates rules, sends alerts to Alertmanager and what is recorded to Prometheus.
// Its configuration is ../config.yaml, which all components share.
package main

import (
	"example.com/loki/examples/internal/program"
	"example.com/loki/examples/internal/rules"
)

func main() {
	program.Program{
		Name:    "ruler",
		About:   "A ruler: it evaluates rules, sends alerts to Alertmanager and what is recorded to Prometheus.",
		Targets: []string{"ruler"},
		Ruler:   rules.Builder,
	}.Main()
}
