package syntax

import "testing"

func TestFormat(t *testing.T) {
	for _, want := range []string{
		`{app="api"} |= "x"`,
		`{app="nginx", env="prod"}
  |= "GET" or "POST"
  | logfmt --strict
  | ( status>=500 or path="/a/very/long/path/that/fills/the/line" )
  | line_format "{{.status}}"`,
		`sum by (app)(
  quantile_over_time(
    0.99,
    {app="api", env="prod", cluster="eu-west-1"}
      |= "a text that is quite long"
      | json
      | unwrap duration(took) | __error__=""
      [5m] offset 1h0m0s
  ) by (app)
)`,
		`  (
      sum by (app)(rate({env="prod", cluster="eu-west-1"} |= "error" |= "something long"[5m]))
    / on (app) group_left
      sum by (app)(rate({env="prod", cluster="eu-west-1"} |= "something long"[5m]))
  )
> bool
  0.5`,
		`label_replace(
  sum by (app)(rate({env="prod", cluster="eu-west-1"} |= "error" |= "something long"[5m])),"a","$1","app","(.*)-.*")`,
	} {
		e, err := Parse(want)
		if err != nil {
			t.Errorf("Parse(%q): %v", want, err)
			continue
		}
		if got := Format(e); got != want {
			t.Errorf("Format\n got %s\nwant %s", got, want)
		}
		checkRoundTrip(t, want, e)
	}
}
