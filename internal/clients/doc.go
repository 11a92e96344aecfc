// Package clients tests the server with what people use with it: agents that push, curl, WebSocket
// clients, the requests that Grafana sends, and clients that mean harm.
//
// The tests that need clients from elsewhere run when the environment variable LOKI_CLIENTS is set: they
// install npm packages into a temporary folder and so need node, npm and a network. Those against a disk
// that is really full need Linux and root.
package clients
