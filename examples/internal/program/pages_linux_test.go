package program

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// TestReleaseStartPages: the process goes on, with less of its own file in memory.
func TestReleaseStartPages(t *testing.T) {
	before := residentFilePages(t)
	if err := releaseStartPages(); err != nil {
		t.Skip(err) // before Linux 5.4
	}
	after := residentFilePages(t)
	t.Logf("%d KiB before, %d after", before, after)
	if after > before*3/4 {
		t.Error("the pages are still there")
	}
}

func residentFilePages(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	m := regexp.MustCompile(`(?m)^RssFile:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Skip("this system does not tell")
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
