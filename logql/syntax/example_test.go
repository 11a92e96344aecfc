package syntax_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

func Example() {
	expr, err := syntax.Parse(`sum(rate({env="prod"} |= "error" [5m])) by (app)`)
	if err != nil {
		fmt.Println(err)
		return
	}
	sum := expr.(*syntax.VectorAggregation)
	rate := sum.Inner.(*syntax.RangeAggregation)
	fmt.Println(sum.Op, sum.Grouping.Names, rate.Op, rate.Range, rate.Log.Matchers)
	fmt.Println(expr)
	// Output:
	// sum [app] rate 5m0s [env="prod"]
	// sum by (app)(rate({env="prod"} |= "error"[5m]))
}

func ExampleParseError() {
	query := "{app=\"api\"}\n| json\n| status > 500\n| metod = GET"
	_, err := syntax.Parse(query)
	var pe *syntax.ParseError
	if errors.As(err, &pe) {
		fmt.Println(pe.Msg)
		fmt.Println("instead of", strings.Join(pe.Expected, ", "))
		fmt.Println("hint:", pe.Hint)
		fmt.Println(strings.Split(query, "\n")[pe.Line-1])
		fmt.Printf("%*s\n", pe.Col, "^")
	}
	// Output:
	// syntax error: unexpected IDENTIFIER
	// instead of STRING, NUMBER, DURATION, BYTES, ip
	// hint: put the value in double quotes
	// | metod = GET
	//           ^
}

// A gateway that shows each team its own logs only adds a matcher to all selectors.
func ExampleRewrite() {
	team, _ := labels.NewMatcher(labels.MatchEqual, "team", "shop")
	expr, _ := syntax.Parse(`sum(rate({app="api"}[5m])) / sum(rate({app=~".+"}[5m]))`)
	expr = syntax.Rewrite(expr, func(e syntax.Expr) syntax.Expr {
		log, ok := e.(*syntax.LogExpr)
		if !ok {
			return e
		}
		restricted := *log
		restricted.Matchers = append(slices.Clip(log.Matchers), team)
		return &restricted
	})
	fmt.Println(expr)
	// Output:
	// (sum(rate({app="api", team="shop"}[5m])) / sum(rate({app=~".+", team="shop"}[5m])))
}

func ExampleWalk() {
	expr, _ := syntax.Parse(`rate({app="api"} | json | status >= 500 and method = "GET" [5m])`)
	syntax.Walk(expr, func(n syntax.Node) bool {
		switch f := n.(type) {
		case *syntax.NumberFilter:
			fmt.Println(f.Name, f.Op, f.Value)
		case *syntax.MatchFilter:
			fmt.Println(f.Matcher)
		}
		return true
	})
	// Output:
	// status >= 500
	// method="GET"
}

func ExampleFormat() {
	expr, _ := syntax.Parse(`{app="nginx",env="prod",cluster="eu-1"}|="GET"|pattern"<_> <method> <path> <_>"|method="GET"|line_format"{{.path}}"`)
	fmt.Println(syntax.Format(expr))
	// Output:
	// {app="nginx", env="prod", cluster="eu-1"}
	//   |= "GET"
	//   | pattern "<_> <method> <path> <_>"
	//   | method="GET"
	//   | line_format "{{.path}}"
}
