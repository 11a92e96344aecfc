// Command query-frontend takes queries from users, cuts them into tasks and merges what comes back.
// Its configuration is ../config.yaml, which all components share.
package main

import "example.com/loki/examples/internal/program"

func main() {
	program.Program{
		Name:    "query-frontend",
		About:   "A query-frontend: it takes queries from users, cuts them into tasks and merges what comes back.",
		Targets: []string{"query-frontend"},
	}.Main()
}
