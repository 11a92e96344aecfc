// Package loki is a log engine for Go programs. It takes log lines with labels, stores them cheaply
// and finds them with LogQL; it does the job of Grafana Loki inside a program, or as a server.
//
//	eng, err := loki.Open(loki.Config{Dir: "logs"})
//	if err != nil { … }
//	defer eng.Close()
//
//	err = eng.Push(ctx, loki.Line{Labels: `{app="api"}`, Text: "GET /cart timeout"})
//	for entry, err := range eng.Query(ctx, `{app="api"} |= "timeout"`, loki.Last(time.Hour)) { … }
//
// # What an engine does to its host
//
// Open starts goroutines and opens files below Dir; Close ends and closes all of them. Nothing else of
// the process changes: there is no port, no flag, no signal handler, nothing is registered globally and
// nothing is logged unless Config.Logger is set. Metrics go to Config.Registerer, if there is one, as
// one collector that Close removes again. Any number of engines may be open in one process, each with
// a folder of its own; a folder that is in use is refused with ErrInUse.
//
// # Durability
//
// When Push returns, the lines are on disk (written and synced) and can be queried. How strict that is
// can be set with Config.Ingester.Sync.
//
// # Tenants
//
// Every call belongs to a tenant, which is taken from the context (see WithTenant); without one it is
// Config.Tenant. Tenants never see each other's lines.
//
// # HTTP
//
// Engine.Handler speaks Loki's HTTP API, so that Grafana, logcli, Promtail, Alloy and OpenTelemetry work
// with it. Mount it in the host's own mux, or see examples/monolithic for a server.
//
// # Replacing components
//
// The engine consists of components behind small interfaces (ingester.Service, store.Service, …).
// NewTopology builds an engine in which some of them are the host's own.
//
// # Stability
//
// Stable are this package, the Service interfaces and the storage formats under docs/format: data
// written by a released version stays readable. Other packages may still change.
package loki
