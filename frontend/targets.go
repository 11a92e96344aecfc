package frontend

import (
	"slices"
	"strings"

	"example.com/loki/internal/route"
)

// QuerierRoutes returns those of Routes that Loki serves where a querier runs without a frontend.
func QuerierRoutes(all []route.Route) []route.Route {
	return slices.DeleteFunc(slices.Clone(all), func(r route.Route) bool {
		return strings.HasPrefix(r.Path, "/loki/api/v1/detected_")
	})
}

// CommonRoutes returns those of Routes that Loki serves wherever anything runs: they need no data.
func CommonRoutes(all []route.Route) []route.Route {
	return slices.DeleteFunc(slices.Clone(all), func(r route.Route) bool {
		return !slices.Contains([]string{"/loki/api/v1/format_query", "/loki/api/v1/drilldown-limits", tenantLimitsPath}, r.Path)
	})
}
