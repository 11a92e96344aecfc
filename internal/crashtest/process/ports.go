package process

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports returns n ports of 127.0.0.1 that nobody listens on. They lie below those that systems give to outgoing
// connections and to whoever listens on port 0, so that none of them takes one before it is used.
func Ports(t *testing.T, n int) []int {
	t.Helper()
	const first, count = 16 << 10, 16 << 10
	var all []int
	for range 1000 {
		if len(all) == n {
			return all
		}
		port := first + rand.IntN(count)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer l.Close() // not before the others are found, so that none comes twice
		all = append(all, port)
	}
	t.Fatal("no free ports")
	return nil
}
