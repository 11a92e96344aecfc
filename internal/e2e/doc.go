// Package e2e runs log servers of several processes, in every shape that they can take, asks them what the
// conformance corpus asks, and lets things go wrong while clients push, query and tail.
//
//	go test ./internal/e2e -e2e                     everything, shortened
//	go test ./internal/e2e -e2e -parallel=3         the same in less time: most of it is waiting
//	go test ./internal/e2e -e2e.full                all cases and all faults, at full length
//	go test ./internal/e2e -e2e -e2e.s3=versitygw   with segments in a real S3 server
//	go test ./internal/e2e -e2e -run Shapes/microservices -v
//
// Each client keeps a ledger of what it has pushed and what was acknowledged. Whatever happens, all of that must be
// in each answer and come over each tail, once; see faults_test.go.
package e2e
