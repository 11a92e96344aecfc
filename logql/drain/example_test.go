package drain_test

import (
	"fmt"

	"example.com/loki/logql/drain"
)

func ExampleMiner() {
	m, err := drain.New(drain.Config{})
	if err != nil {
		panic(err)
	}
	for i, line := range []string{
		`level=info msg="user 17 logged in" took=3ms`,
		`level=info msg="user 4711 logged in" took=12ms`,
		`level=info msg="user 8 logged in" took=5ms`,
	} {
		m.Add(line, int64(i/2), 1)
	}
	for _, p := range m.Patterns() {
		fmt.Println(p.Total, p.Text, p.Points)
	}
	// Output: 3 level=info msg="user <_> logged in" took=<_> [{0 2} {1 1}]
}
