package drain_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/drain"
	"example.com/loki/logql/logqltest"
	"example.com/loki/logql/syntax"
)

func newMiner(t testing.TB, cfg drain.Config) *drain.Miner {
	t.Helper()
	m, err := drain.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// texts returns the patterns with the weight of each.
func texts(m *drain.Miner) string {
	var all []string
	for _, p := range m.Patterns() {
		all = append(all, fmt.Sprintf("%v %s", p.Total, p.Text))
	}
	return strings.Join(all, "\n")
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct{ name, lines, want string }{
		{"nothing", "", ""},
		{"one line stays", "GET /cart 200", "1 GET /cart 200"},
		{"numbers differ", "took 3 ms\ntook 17 ms", "2 took <_> ms"},
		{"a word differs", "user ann logged in today\nuser bob logged in today", "2 user <_> logged in today"},
		{"most words differ", "all is well here\nwe are lost now", "1 all is well here\n1 we are lost now"},
		{"a number and a word", "id 17 ok and done\nid none ok and done", "2 id <_> ok and done"},
		{"quotes and brackets stay",
			`::1 - - [01/Jan/2026:00:01:16 +0000] "GET /a HTTP/2.0" 200 12 "-" "curl/8.5.0" 0.120` + "\n" +
				`10.0.0.1 - - [02/Jan/2026:00:02:00 +0000] "GET /b HTTP/1.1" 503 7 "-" "kube-probe/1.29" 0.5`,
			`2 <_> - - [<_> +0000] "GET <_> <_>" <_> <_> "-" "<_>" <_>`},
		{"logfmt", "level=info msg=\"user 17\" dur=5ms\nlevel=info msg=\"user 18\" dur=6ms", `2 level=info msg="user <_>" dur=<_>`},
		{"json", `{"level":"info","n":1,"ok":true}` + "\n" + `{"level":"info","n":2,"ok":true}`, `2 {"level":"info","n":<_>,"ok":true}`},
		{"ends of clauses", "job-1: done.\njob-2: done.", "2 <_>: done."},
		{"blanks", "a  b c d\na b c d", "2 a<_>b c d"},
		{"wildcards side by side are one", "Jul  1 boot ok\nJul 10 boot ok", "2 Jul<_> boot ok"},
		{"more lines", "panic: boom\n\tat a.go:1\n", "1 \tat a.go:1\n1 panic: boom"},
		{"captures in lines", "a <b> c\na <x> c", "2 a <_> c"},
		{"angles in lines", "a <17> c\na <18> c", "2 a <<_>> c"},
		{"no words", "----\n  \n===", ""},
		{"only numbers", "17\n18", ""},
		{"bytes that are no text", "word \xff\xfe\nword \xfe\xff", "2 word <_>"},
		{"other scripts", "日本 のログ\n日本 のログ", "2 日本 のログ"},
	} {
		m := newMiner(t, drain.Config{})
		for line := range strings.SplitSeq(tt.lines, "\n") {
			m.Add(line, 0, 1)
		}
		if got := texts(m); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestLongEntries(t *testing.T) {
	m := newMiner(t, drain.Config{MaxLine: 12})
	m.Add("first line x\nand more", 0, 1)
	m.Add("first line x\nother", 0, 1)
	m.Add("first line x\r\nwindows", 0, 1)
	m.Add("first line xlong", 0, 1)
	if got, want := texts(m), "4 first line x<_>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	m = newMiner(t, drain.Config{MaxLine: 6})
	m.Add("word é", 0, 1) // é begins at 5 and would be cut
	m.Add("word ü", 0, 1)
	if got, want := texts(m), "2 word <_>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestManyTokens(t *testing.T) {
	m := newMiner(t, drain.Config{})
	long := strings.Repeat("(a)", 500)
	m.Add(long, 0, 1)
	m.Add(long+"()", 0, 1)
	all := m.Patterns()
	if len(all) != 1 || all[0].Total != 2 || !strings.HasSuffix(all[0].Text, drain.Wildcard) || len(all[0].Text) > 600 {
		t.Errorf("got %s, want a prefix and a wildcard", texts(m))
	}
}

func TestPoints(t *testing.T) {
	m := newMiner(t, drain.Config{})
	for round := range 3 {
		for i := range int64(1000) {
			m.Add("tick "+strconv.Itoa(round), i*7919%100, 0.5) // in no order
		}
	}
	for range 2 { // asking changes nothing
		p := m.Patterns()
		if len(p) != 1 || p[0].Text != "tick <_>" || p[0].Total != 1500 || len(p[0].Points) != 100 {
			t.Fatalf("got %+v", p)
		}
		for i, pt := range p[0].Points {
			if pt.Time != int64(i) || pt.Weight != 15 {
				t.Fatalf("point %d is %+v, want weight 15", i, pt)
			}
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMiner(t, drain.Config{MaxClusters: 10})
	name := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), 1+i/26) }
	for i := range 1000 {
		m.Add("always here", 0, 1)
		m.Add(fmt.Sprintf("%s %s %s", name(i), name(i+1), name(i+2)), 0, 1)
	}
	all := m.Patterns()
	if len(all) != 10 || all[0].Text != "always here" || all[0].Total != 1000 {
		t.Errorf("got %d patterns, first %+v: the one in use must stay", len(all), all[0])
	}
	sum := m.Evicted()
	for _, p := range all {
		sum += p.Total
	}
	if sum != 2000 {
		t.Errorf("patterns and evicted weight add up to %v, want 2000", sum)
	}
	m = newMiner(t, drain.Config{MaxClusters: 1})
	m.Add("one line", 0, 1)
	m.Add("another", 0, 2)
	if got := texts(m); got != "2 another" || m.Evicted() != 1 {
		t.Errorf("got %s, evicted %v", got, m.Evicted())
	}
}

// Names at the start of lines share a place in the tree once there are many.
func TestManyFirstWords(t *testing.T) {
	m := newMiner(t, drain.Config{MaxChildren: 2})
	for i := range 20 {
		m.Add(string(rune('a'+i))+" has left the room", 0, 1)
	}
	if got, want := texts(m), "18 <_> has left the room\n1 a has left the room\n1 b has left the room"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestBadConfig(t *testing.T) {
	_, err := drain.New(drain.Config{MaxClusters: -1, MaxLine: -1, MaxChildren: -1, Similarity: 2})
	for _, want := range []string{"MaxClusters", "MaxLine", "MaxChildren", "Similarity"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want it to name %s", err, want)
		}
	}
}

// lines returns n log lines of several formats, the same for each seed.
func lines(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	all := make([]string, n)
	for i := range all {
		switch r.IntN(5) {
		case 0:
			all[i] = fmt.Sprintf(`10.0.%d.%d - %s [22/Nov/2026:10:%02d:%02d +0000] "%s /api/v1/items/%d HTTP/1.1" %s %d "-" "%s" 0.%03d`,
				r.IntN(256), r.IntN(256), pick("-", "ann", "bob"), r.IntN(60), r.IntN(60), pick("GET", "POST"), r.IntN(100), pick("200", "404"), r.IntN(9999), pick("curl/8.5.0", "Mozilla/5.0 (X11; Linux)"), r.IntN(1000))
		case 1:
			all[i] = fmt.Sprintf(`level=%s ts=2026-11-22T10:%02d:%02dZ caller=pay.go:%d msg="%s" customer=c-%d amount=%d.50`,
				pick("info", "warn"), r.IntN(60), r.IntN(60), r.IntN(300), pick("payment accepted", "card declined by the bank"), r.IntN(1000), r.IntN(100))
		case 2:
			all[i] = fmt.Sprintf(`{"level":"%s","user":{"id":%d,"name":"%s"},"took":%d,"ok":%t}`, pick("info", "error"), r.IntN(99), pick("ann", "bob", "zoë"), r.IntN(1000), r.IntN(2) == 0)
		case 3:
			all[i] = fmt.Sprintf("Nov 22 10:%02d:%02d host%d sshd[%d]: Failed password for %s from 192.168.0.%d port %d ssh2",
				r.IntN(60), r.IntN(60), r.IntN(4), r.IntN(30000), pick("root", "admin", "invalid user guest"), r.IntN(256), r.IntN(65536))
		case 4:
			all[i] = fmt.Sprintf("panic: index %d out of range\n\tmain.go:%d\n", r.IntN(9), r.IntN(500))
		}
	}
	return all
}

// A pattern is a filter for the lines that were counted for it.
func TestPatternsAreFilters(t *testing.T) {
	m := newMiner(t, drain.Config{})
	stream := labels.FromStrings("app", "x")
	var rows []logqltest.Row
	for i, line := range lines(2000) {
		m.Add(line, 0, 1)
		rows = append(rows, logqltest.Row{Stream: stream, Time: int64(i), Line: line})
	}
	src := logqltest.NewSource(rows, logqltest.Layout{})
	all := m.Patterns()
	if len(all) < 5 || len(all) > 40 {
		t.Errorf("%d patterns, want about as many as there are formats:\n%s", len(all), texts(m))
	}
	var filters []string
	for _, p := range all {
		filters = append(filters, strconv.Quote(p.Text))
		res, err := logql.Query(t.Context(), logql.Params{
			Query: fmt.Sprintf(`count_over_time({app="x"} |> %q [1h])`, p.Text), Start: 1e9, End: 1e9,
		}, src, logql.Options{})
		if err != nil {
			t.Errorf("%s: %v", p.Text, err)
			continue
		}
		if len(res.Series) != 1 || res.Series[0].Points[0].Value < p.Total {
			t.Errorf("the filter for %q keeps %+v, want at least %v lines", p.Text, res.Series, p.Total)
		}
	}
	res, err := logql.Query(t.Context(), logql.Params{
		Query: fmt.Sprintf(`{app="x"} !> %s`, strings.Join(filters, " or ")), End: 1e9, Limit: 3,
	}, src, logql.Options{})
	if err != nil || len(res.Streams) != 0 {
		t.Errorf("lines that no pattern stands for: %+v, %v", res, err)
	}
}

// covers tells whether a pattern stands for the whole line.
func covers(pattern, line string) bool {
	parts := strings.Split(pattern, drain.Wildcard)
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	ok, err := regexp.MatchString("^(?s:"+strings.Join(parts, ".+")+")$", line)
	return err != nil || ok // a regular expression of bytes that are no text is refused
}

func FuzzAdd(f *testing.F) {
	f.Add("a 1\x00a 2\x00b <x> c", 3)
	f.Add("<_>\x00<<_>>\x00< _ >", 1)
	for _, l := range lines(20) {
		f.Add(l+"\x00"+l+"1", 8)
	}
	f.Fuzz(func(t *testing.T, text string, clusters int) {
		if len(text) > 4096 {
			return
		}
		m := newMiner(t, drain.Config{MaxClusters: max(1, clusters%16), MaxLine: 64, MaxChildren: 2, Depth: 2})
		lines := strings.Split(text, "\x00")
		for i, l := range lines {
			m.Add(l, int64(i%3), 1)
		}
		sum := m.Evicted()
		all := m.Patterns()
		for _, p := range all {
			sum += p.Total
			if _, err := syntax.ParseLinePattern(p.Text); err != nil {
				t.Errorf("pattern %q: %v", p.Text, err)
			}
			points := 0.0
			for _, pt := range p.Points {
				points += pt.Weight
			}
			if points != p.Total || len(p.Points) > 3 {
				t.Errorf("pattern %q: points %v, total %v", p.Text, p.Points, p.Total)
			}
		}
		if sum > float64(len(lines)) {
			t.Errorf("weight %v of %d lines", sum, len(lines))
		}
		if sum < float64(len(lines)) || m.Evicted() > 0 {
			return // some lines have no pattern
		}
		for _, l := range lines {
			found := false
			for _, p := range all {
				found = found || covers(p.Text, l)
			}
			if !found {
				t.Errorf("no pattern stands for %q:\n%s", l, texts(m))
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	all := lines(5000)
	size := 0
	for _, l := range all {
		size += len(l)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	m := newMiner(b, drain.Config{})
	for b.Loop() {
		for i, l := range all {
			m.Add(l, int64(i/500), 1)
		}
	}
}
