package ingestertest_test

import (
	"testing"

	"example.com/loki/ingester"
	"example.com/loki/ingester/ingestertest"
)

func TestFake(t *testing.T) {
	ingestertest.Contract(t, func(*testing.T) ingester.Service { return new(ingestertest.Fake) })
}
