package detect_test

import (
	"context"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/detect"
)

func ExampleFields() {
	answer := []logql.StreamResult{{Labels: labels.FromStrings("app", "shop"), Entries: []logql.EntryResult{
		{Time: 2, Line: `{"user":{"id":17},"took":"3ms"}`},
		{Time: 1, Line: `took=250us ok=true`},
	}}}
	fields, err := detect.Fields(context.Background(), answer)
	if err != nil {
		panic(err)
	}
	for _, f := range fields {
		fmt.Println(f.Name, f.Type, f.Values, f.Parsers, f.JSONPath)
	}
	// Output:
	// took duration [250us 3ms] [json logfmt] [took]
	// ok boolean [true] [logfmt] []
	// user_id int [17] [json] [user id]
}
