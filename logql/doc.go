// Package logql plans and executes LogQL, the query language of Grafana Loki, over column batches.
//
// Query does it all for a program that has a Source and wants an answer:
//
//	res, err := logql.Query(ctx, logql.Params{
//		Query: `sum by (app) (rate({env="prod"} |= "error" [5m]))`,
//		Start: start, End: end, Step: time.Minute,
//	}, source, logql.Options{MaxMemory: 1 << 30})
//
// A frontend does the same in pieces that can run elsewhere: NewPlan cuts a query into leaves, Execute
// runs a task (a leaf over a range of time) and returns a Partial, which travels by MarshalBinary, and
// Plan.Finish merges partials into the Result. The answer does not depend on how the rows are stored
// or how the query is split.
//
// The package reads rows from a Source only, and does no other I/O. It starts goroutines only within
// a call and waits for them. Errors that the user can correct are *syntax.ParseError and *QueryError;
// all others come from the source or the context. How execution works is described in
// docs/logql-execution.md; scripts in testdata show what queries mean.
package logql
