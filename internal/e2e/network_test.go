package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// network is a bridge of this machine with a namespace at it, whose cable can be pulled: a process there can then
// reach nobody, and nobody is told so.
type network struct {
	name   string // of the bridge and the namespace; the cable's ends are name+"a" and, inside, name+"b"
	subnet string
}

// newNetwork makes a network, or skips the test where that is not allowed.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
		t.Skip("network namespaces need root and the program ip (Debian: apt-get install iproute2)")
	}
	n := &network{name: fmt.Sprintf("e2e%d", os.Getpid()%100000), subnet: fmt.Sprintf("10.213.%d", os.Getpid()%250)}
	t.Cleanup(func() {
		_ = n.ip("netns del " + n.name)
		_ = n.ip("link del " + n.name + "a")
		_ = n.ip("link del " + n.name)
	})
	for _, c := range []string{
		"link add " + n.name + " type bridge",
		"addr add " + n.subnet + ".1/24 dev " + n.name,
		"link set " + n.name + " up",
		"netns add " + n.name,
		"link add " + n.name + "a type veth peer name " + n.name + "b netns " + n.name,
		"link set " + n.name + "a master " + n.name + " up",
		"-n " + n.name + " addr add " + n.subnet + ".2/24 dev " + n.name + "b",
		"-n " + n.name + " link set " + n.name + "b up",
		"-n " + n.name + " link set lo up",
	} {
		if err := n.ip(c); err != nil {
			t.Skipf("no network namespaces here: %v", err)
		}
	}
	return n
}

func (n *network) ip(args string) error {
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}

// here is where processes run that are not cut off.
func (n *network) here() place { return place{addr: n.subnet + ".1"} }

// there is where those run that may be.
func (n *network) there() place { return place{addr: n.subnet + ".2", netns: n.name} }

// cut pulls the cable: packets vanish without an answer.
func (n *network) cut(t *testing.T) {
	t.Helper()
	if err := n.ip("link set " + n.name + "a nomaster"); err != nil {
		t.Fatal(err)
	}
}

// mend plugs it in again.
func (n *network) mend(t *testing.T) {
	t.Helper()
	if err := n.ip("link set " + n.name + "a master " + n.name); err != nil {
		t.Fatal(err)
	}
}
