// Package e2e runs log servers of several processes, in every shape that they can take, asks them what the
// conformance corpus asks, and kills their processes while clients push and query.
//
//	go test ./internal/e2e -e2e                     the shapes and the faults, shortened
//	go test ./internal/e2e -e2e.full                all cases, before and after a flush, and all faults
//	go test ./internal/e2e -e2e.s3=versitygw        with segments in an S3 server
//	go test ./internal/e2e -e2e -run Shapes/microservices -v
package e2e
