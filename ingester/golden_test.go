package ingester

import (
	"fmt"
	"os"
	"testing"

	"github.com/oklog/ulid/v2"

	"example.com/loki/ingester/internal/logfile"
)

// goldenLogs has a log of each compression, named after it.
const goldenLogs = "testdata/wal/v1/"

var goldenCompressions = []Compression{CompressS2, CompressZstd, CompressNone}

// TestGolden reads logs that the first release wrote: they must be readable for ever.
func TestGolden(t *testing.T) {
	for n, with := range goldenCompressions {
		t.Run(with.String(), func(t *testing.T) {
			b, err := os.ReadFile(goldenLogs + with.String())
			if err != nil {
				t.Fatal(err)
			}
			// What is written next does not matter.
			readGolden(t, b, goldenCompressions[(n+1)%len(goldenCompressions)])
		})
	}
}

func readGolden(t *testing.T, log []byte, with Compression) {
	dir := t.TempDir()
	if err := os.WriteFile(logfile.Name(dir, 0), log, 0o600); err != nil {
		t.Fatal(err)
	}
	i := start(t, Config{Dir: dir, Now: goldenPart.Timestamp, WALCompression: with}, newMemStore())
	want(t, read(t, tenantCtx(t, "a"), i, everything()),
		`{app="web", env="prod"} 1000 GET /cart timeout level=error trace=abc`,
		`{app="web", env="prod"} 1000 GET /cart timeout level=warn`,
		`{app="web", env="prod"} 2000 GET / ok level=info`,
		`{app="db"} 1500 `)
	want(t, read(t, tenantCtx(t, "b"), i, everything()), `{app="web"} -5 before 1970`)
	var many []string
	for n := range goldenMany {
		many = append(many, fmt.Sprintf(`{app="web"} %d GET /static/app.js 200 #%d`, n, n))
	}
	want(t, read(t, tenantCtx(t, "c"), i, everything()), many...)
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

// goldenMany is how many entries the golden logs have of tenant c: enough for a record that gets smaller by compression.
const goldenMany = 40

// TestWriteGolden makes the golden logs anew. It runs only when asked to, for a new version of the format.
func TestWriteGolden(t *testing.T) {
	if os.Getenv("WRITE_GOLDEN") == "" {
		t.Skip("set WRITE_GOLDEN to write " + goldenLogs)
	}
	for _, with := range goldenCompressions {
		writeGolden(t, with)
	}
}

func writeGolden(t *testing.T, with Compression) {
	dir := t.TempDir()
	i, err := tryStart(t, Config{Dir: dir, Now: goldenPart.Timestamp, WALCompression: with}, newMemStore(), nil)
	if err != nil {
		t.Fatal(err)
	}
	web, db := ls("app", "web", "env", "prod"), ls("app", "db")
	i.tenant("a").open = newPart(goldenPart, goldenPart.Timestamp())
	push(t, i, "a", stream1(web, entry(2000, "GET / ok", "level", "info"), entry(1000, "GET /cart timeout", "level", "error", "trace", "abc")))
	push(t, i, "a", stream1(db, entry(1500, "")), stream1(web, entry(1000, "GET /cart timeout", "level", "warn"), entry(2000, "GET / ok", "level", "info")))
	push(t, i, "b", stream1(ls("app", "web"), entry(-5, "before 1970")))
	var many []Entry
	for n := range goldenMany {
		many = append(many, entry(int64(n), fmt.Sprintf("GET /static/app.js 200 #%d", n)))
	}
	push(t, i, "c", stream1(ls("app", "web"), many...))
	stop(t, i)
	b, err := os.ReadFile(logfile.Name(dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenLogs+with.String(), b, 0o644); err != nil {
		t.Fatal(err)
	}
}
