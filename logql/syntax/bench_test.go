package syntax

import "testing"

var benchQueries = []struct{ name, query string }{
	{"selector", `{app="api", env="prod"}`},
	{"log", `{app="api", env="prod"} |= "error" != "timeout" | json | status >= 500 and method="GET" | line_format "{{.msg}}"`},
	{"metric", `sum by (app) (rate({env="prod"} |= "error" [5m])) / on (app) group_left sum by (app) (rate({env="prod"}[5m])) * 100`},
	{"regexp", `{app=~"api|web|db", pod=~"prod-.+"} |~ "(?i)error|warn"`},
}

func BenchmarkParse(b *testing.B) {
	for _, q := range benchQueries {
		b.Run(q.name, func(b *testing.B) {
			b.SetBytes(int64(len(q.query)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(q.query); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkString(b *testing.B) {
	for _, q := range benchQueries {
		e, err := Parse(q.query)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = e.String()
			}
		})
	}
}

func BenchmarkParseLabels(b *testing.B) {
	for _, q := range []struct{ name, text string }{
		{"labels=2", `{app="api", env="prod"}`},
		{"labels=8", `{app="api", cluster="eu-west-1", container="server", env="prod", job="shop/api", namespace="shop", pod="api-7d9f-a", stream="stdout"}`},
		{"escaped", `{app="api", path="C:\\logs\\api"}`},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.SetBytes(int64(len(q.text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseLabels(q.text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
