// Package wirepb is generated from the .proto files beside it: the messages and services that
// processes of one installation speak with each other. Nothing outside of this module should: the
// messages change with the program, compatibly from one release to the next only.
package wirepb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative --go-vtproto_out=. --go-vtproto_opt=paths=source_relative,features=marshal+unmarshal+unmarshal_unsafe+size common.proto ingester.proto distributor.proto indexgw.proto querier.proto scheduler.proto frontend.proto ruler.proto
