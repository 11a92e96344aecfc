package distributor

import (
	"context"
	"testing"

	"github.com/grafana/dskit/user"
)

func tenantContext(t testing.TB) context.Context {
	return user.InjectOrgID(t.Context(), "test")
}
