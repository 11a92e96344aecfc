package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	doc := filepath.Join(dir, "performance.md")
	write(t, doc, "before\n"+beginMark+"old\n"+endMark+"after\n")
	if err := run(dir, doc); err == nil {
		t.Error("no error without a baseline")
	}
	write(t, filepath.Join(dir, "baseline-before.json"), `{"kind":"baseline","baseline":{"grep_mb_per_s":1300,"zstd_compress_mb_per_s":100,"zstd_decompress_mb_per_s":670,"zstd_stream_ratio":8}}`)
	write(t, filepath.Join(dir, "push.json"), `{"push":{"mb_per_s":60,"cpu_all_s_per_gb":20,"raw_bytes":8000,"written_bytes":1500,"raw_per_disk":6.1}}`)
	write(t, filepath.Join(dir, "query.json"), `{"query":{"raw_bytes":2000000000,"queries":[
		{"name":"regex_all","p50_ms":1500,"cpu_s":2,"ok":true},{"name":"labels","p50_ms":1,"cpu_s":0.001}]}}`)
	write(t, filepath.Join(dir, "load.json"), `{"load":{"rate_mb_per_s":40,"got_mb_per_s":39.8,"clients":8,"push_p99_ms":90,"query_p50_ms":20,"query_p99_ms":300}}`)
	var samples string
	for n := range 9 {
		samples += fmt.Sprintf("%d %d 1048576 %d 20\n", n*10, (100+n)*1024, 50)
		write(t, filepath.Join(dir, fmt.Sprintf("soak-%d.json", 100+n)),
			fmt.Sprintf(`{"load":{"seconds":100,"got_mb_per_s":50,"query_p50_ms":%d,"errors":1}}`, 100+10*n))
	}
	write(t, filepath.Join(dir, "soak.txt"), samples)
	for range 2 { // the second time it replaces its own
		if err := run(dir, doc); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	got := string(data)
	for _, want := range []string{
		"before\n" + beginMark, endMark + "after\n",
		"2.0 times as slow",
		"| Push, MB/s | 120 | 60 | 120 | zstd -3 on two cores: 200 |",
		"| 1.6 | 1.50 |",
		"| Mixed load: push p99, ms | 100 | 90 | 45 |",
		"| 40 | 40 | ",
		"A mixed load of 0.8 minutes, in 8 rounds that push the same data, each as another tenant: 40 GB, 8 errors.",
		"| resident memory, MiB | 104 | 108 | +4 % |",
		"| goroutines | 50 | 50 | +0 % |",
		"| query p50, ms | 115 | 175 | +52 % |",
		"| regex_all | 1000 | 1500 | 2000 | 750, 500 | |",
		"| labels | 10 | wrong answer |",
		"| needle_all | 15 | not measured |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "old") || strings.Count(got, "wrong answer") != 1 {
		t.Errorf("not replaced:\n%s", got)
	}
}
