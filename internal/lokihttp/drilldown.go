package lokihttp

import (
	"bytes"
	"io"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"example.com/loki/limits"
)

// EncodeDrilldownLimits writes the limits that Grafana's Logs Drilldown asks for before it shows anything.
func EncodeDrilldownLimits(w io.Writer, l *limits.Limits) error {
	e := newEncoder(w)
	o := object{e: e}
	o.open("limits")
	o.list("discover_service_name", l.DiscoverServiceName)
	o.bool("discover_log_levels", l.DiscoverLogLevels)
	o.list("log_level_fields", l.LogLevelFields)
	o.bool("allow_structured_metadata", l.AllowStructuredMetadata)
	o.int("max_entries_limit_per_query", int64(l.MaxEntriesLimitPerQuery))
	o.int("max_query_series", int64(l.MaxQuerySeries))
	o.string("max_query_length", model.Duration(l.MaxQueryLength).String())
	o.string("max_query_lookback", model.Duration(l.MaxQueryLookback).String())
	o.string("max_query_range", model.Duration(l.MaxQueryRange).String())
	o.int("max_query_bytes_read", l.MaxQueryBytesRead)
	o.string("query_timeout", model.Duration(l.QueryTimeout).String())
	o.string("retention_period", model.Duration(l.RetentionPeriod).String())
	o.bool("volume_enabled", l.VolumeEnabled)
	o.int("volume_max_series", int64(l.VolumeMaxSeries))
	o.close()
	o.bool("pattern_ingester_enabled", true) // patterns are found when they are asked for
	o.string("version", version)
	o.end()
	e.byte('\n')
	return e.flush()
}

// EncodeTenantLimits writes the same limits as YAML, for people and the tools of operators.
func EncodeTenantLimits(w io.Writer, l *limits.Limits) error {
	var text bytes.Buffer
	if err := EncodeDrilldownLimits(&text, l); err != nil {
		return err
	}
	var doc struct{ Limits yaml.Node }
	if err := yaml.Unmarshal(text.Bytes(), &doc); err != nil { // JSON is YAML
		return err
	}
	plain(&doc.Limits)
	body, err := yaml.Marshal(&doc.Limits)
	if err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// plain takes the braces and quotes of JSON from a document.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}

// version of Loki whose read API this is; clients decide by it what they may ask for.
const version = "3.7.0"
