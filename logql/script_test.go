package logql_test

import (
	"os"
	"testing"

	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
)

// TestScripts runs the scripts in testdata on every layout: where rows lie must not show.
func TestScripts(t *testing.T) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) {
			logqltest.Run(t, os.DirFS("testdata"), func(t *testing.T, rows []logqltest.Row) logql.Source {
				return logqltest.NewSource(rows, layout)
			})
		})
	}
}

var layouts = map[string]logqltest.Layout{
	"one page":   {},
	"many pages": {PageRows: 3},
	"parts":      {PageRows: 4, Parts: 3},
	"doubles":    {PageRows: 5, Parts: 2, Doubles: 2},
}
