// Package route describes HTTP endpoints, so that each component can list its own and the root
// package can mount, measure and document them all in one way.
package route

import "net/http"

// Route is an endpoint.
type Route struct {
	Methods []string // nil means GET and POST
	Path    string   // a pattern of net/http.ServeMux without method, such as /loki/api/v1/label/{name}/values
	Handler http.Handler

	// Tenant tells that the handler needs a tenant in its context; requests without one get 401.
	Tenant bool

	// Tenants tells that the tenant may also be several, as in a|b.
	Tenants bool

	// Streaming tells that an answer may take long to write (tail), so that no write timeout and no
	// compression apply.
	Streaming bool
}
