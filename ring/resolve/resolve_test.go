package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestAddresses(t *testing.T) {
	a, err := New("gateway", []string{"gateways:9095", "dns:///10.0.0.9:9096"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string][]string{"gateways": {"10.0.0.2", "10.0.0.1"}, "10.0.0.9": {"10.0.0.9"}}
	a.lookup = func(_ context.Context, host string) ([]string, error) {
		if answers[host] == nil {
			return nil, errors.New("no such host")
		}
		return answers[host], nil
	}
	check := func(want ...string) {
		t.Helper()
		var got []string
		for _, i := range a.View().All() {
			got = append(got, fmt.Sprint(i.Addr, " ", a.Name(i.Addr), " ", a.View().Writable(i)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check()
	a.refresh(t.Context())
	check("10.0.0.1:9095 gateways:9095 true", "10.0.0.2:9095 gateways:9095 true", "10.0.0.9:9096 10.0.0.9:9096 true")
	delete(answers, "gateways") // what is known stays
	a.refresh(t.Context())
	check("10.0.0.1:9095 gateways:9095 true", "10.0.0.2:9095 gateways:9095 true", "10.0.0.9:9096 10.0.0.9:9096 true")
	answers["gateways"] = []string{"10.0.0.3"}
	a.refresh(t.Context())
	check("10.0.0.3:9095 gateways:9095 true", "10.0.0.9:9096 10.0.0.9:9096 true")

	if _, err := New("gateway", []string{"no-port"}, nil); err == nil {
		t.Error("an address without a port is taken")
	}
}
