package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOverridesOfSeveralFiles has the second file add to what the first says of a tenant, and names the file of a mistake.
func TestOverridesOfSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first, "overrides:\n  shop: {max_query_series: 7, max_line_size: 10}\n")
	write(second, "overrides:\n  shop: {max_query_series: 8}\n")
	c, err := load(t, "", "-runtime-config.file", first+","+second)
	if err != nil {
		t.Fatal(err)
	}
	o, err := c.Overrides()
	if err != nil {
		t.Fatal(err)
	}
	if l := o.Limits("shop"); l.MaxQuerySeries != 8 || l.MaxLineSize != 10 {
		t.Errorf("shop has %d series and lines of %d bytes, want 8 and 10", l.MaxQuerySeries, l.MaxLineSize)
	}
	write(second, "overrides:\n  shop:\n    max_query_seris: 9\n")
	if _, _, err := o.Reload(); err == nil || !strings.Contains(err.Error(), second+":\noverrides of shop: line 3") {
		t.Errorf("Reload of a mistake = %v; want its file and line", err)
	}
}
