package ingester

import (
	"os"
	"testing"

	"github.com/oklog/ulid/v2"

	"example.com/loki/ingester/internal/logfile"
)

const goldenLog = "testdata/wal/v1/00000000"

// TestGolden reads a log that the first release wrote: it must be readable for ever.
func TestGolden(t *testing.T) {
	b, err := os.ReadFile(goldenLog)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(logfile.Name(dir, 0), b, 0o600); err != nil {
		t.Fatal(err)
	}
	i := start(t, Config{Dir: dir, Now: goldenPart.Timestamp}, newMemStore())
	want(t, read(t, tenantCtx(t, "a"), i, everything()),
		`{app="web", env="prod"} 1000 GET /cart timeout level=error trace=abc`,
		`{app="web", env="prod"} 1000 GET /cart timeout level=warn`,
		`{app="web", env="prod"} 2000 GET / ok level=info`,
		`{app="db"} 1500 `)
	want(t, read(t, tenantCtx(t, "b"), i, everything()), `{app="web"} -5 before 1970`)
	for b, err := range i.Select(tenantCtx(t, "a"), everything()) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Part != goldenPart.String() {
			t.Errorf("part %s, want %s", b.Part, goldenPart)
		}
	}
}

var goldenPart = ulid.MustParse("01HZY0C0000000000000000000")

// TestWriteGolden makes the golden log anew. It runs only when asked to, for a new version of the format.
func TestWriteGolden(t *testing.T) {
	if os.Getenv("WRITE_GOLDEN") == "" {
		t.Skip("set WRITE_GOLDEN to write " + goldenLog)
	}
	dir := t.TempDir()
	i, err := tryStart(t, Config{Dir: dir, Now: goldenPart.Timestamp}, newMemStore(), nil)
	if err != nil {
		t.Fatal(err)
	}
	web, db := ls("app", "web", "env", "prod"), ls("app", "db")
	i.tenant("a").open = newPart(goldenPart, goldenPart.Timestamp())
	push(t, i, "a", stream1(web, entry(2000, "GET / ok", "level", "info"), entry(1000, "GET /cart timeout", "level", "error", "trace", "abc")))
	push(t, i, "a", stream1(db, entry(1500, "")), stream1(web, entry(1000, "GET /cart timeout", "level", "warn"), entry(2000, "GET / ok", "level", "info")))
	push(t, i, "b", stream1(ls("app", "web"), entry(-5, "before 1970")))
	stop(t, i)
	b, err := os.ReadFile(logfile.Name(dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenLog, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
