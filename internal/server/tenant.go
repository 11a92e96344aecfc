package server

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/grafana/dskit/tenant"
	"github.com/grafana/dskit/user"
)

// errTenant means that the header names a tenant that cannot exist.
var errTenant = errors.New("bad X-Scope-OrgID")

// tenantOfHeader returns whom the header names.
func tenantOfHeader(h http.Header) (string, error) {
	var id string
	for _, v := range h.Values(user.OrgIDHeaderName) {
		// Proxies differ in which of two headers they look at, so two that disagree are refused
		// rather than one of them trusted.
		if v != "" && id != "" && v != id {
			return "", fmt.Errorf("%w: the header is there twice, with different values", errTenant)
		}
		if v != "" {
			id = v
		}
	}
	if id == "" {
		return "", user.ErrNoOrgID
	}
	return id, nil
}

// checkTenant refuses ids that are no tenant's name. What passes is safe as a name in a path and in a
// label: no separators, no control characters, not . or .., at most 150 bytes.
func checkTenant(id string) error {
	if len(id) > tenant.MaxTenantIDLength { // first: the other messages repeat the id
		return fmt.Errorf("%w: it is longer than %d bytes", errTenant, tenant.MaxTenantIDLength)
	}
	if err := tenant.ValidTenantID(id); err != nil {
		return fmt.Errorf("%w: %w", errTenant, err)
	}
	return nil
}

// refuseTenant answers a request whose tenant is missing or bad. The text for a missing one is Loki's.
func refuseTenant(w http.ResponseWriter, err error) {
	code := http.StatusBadRequest
	if errors.Is(err, user.ErrNoOrgID) {
		code = http.StatusUnauthorized
	}
	http.Error(w, err.Error(), code)
}
