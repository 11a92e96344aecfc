package member

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Unix(1_700_000_000, 0)

func instance(n int, zone string, s State) Instance {
	id := fmt.Sprint("i", n)
	return Instance{ID: id, Addr: id + ":9095", Zone: zone, State: s, Tokens: TokensOf(id, 128), Heartbeat: now}
}

func instances(n int) []Instance {
	out := make([]Instance, n)
	for k := range out {
		out[k] = instance(k, fmt.Sprint("z", k%3), Active)
	}
	return out
}

func ids(is []*Instance) string {
	var out []string
	for _, i := range is {
		out = append(out, i.ID)
	}
	return strings.Join(out, " ")
}

func TestReplicasAreEven(t *testing.T) {
	v := NewSnapshot(Options{ReplicationFactor: 3}, instances(5)).At(now)
	count := map[string]int{}
	const keys = 10_000
	for n := range keys {
		r := v.Replicas(Key("tenant", uint64(n)), nil, nil)
		if len(r) != 3 || r[0] == r[1] || r[1] == r[2] || r[0] == r[2] {
			t.Fatalf("replicas of %d: %s", n, ids(r))
		}
		for _, i := range r {
			count[i.ID]++
		}
	}
	for id, n := range count {
		if n < keys*3/5*7/10 || n > keys*3/5*13/10 {
			t.Errorf("%s has %d of %d keys", id, n, keys)
		}
	}
}

// TestPassingOver says that a key's replicas without one instance are those that it had, and one more.
func TestPassingOver(t *testing.T) {
	all := instances(6)
	v := NewSnapshot(Options{ReplicationFactor: 3, HeartbeatTimeout: time.Minute}, all).At(now)
	for n := range uint64(500) {
		key := Key("t", n)
		before := v.Replicas(key, nil, nil)
		for k, change := range []func(*Instance){
			func(i *Instance) { i.State = Leaving },
			func(i *Instance) { i.State = Joining },
			func(i *Instance) { i.Heartbeat = now.Add(-time.Hour) },
		} {
			changed := slices.Clone(all)
			gone := before[int(n)%3].ID
			for m := range changed {
				if changed[m].ID == gone {
					change(&changed[m])
				}
			}
			after := NewSnapshot(v.s.options, changed).At(now).Replicas(key, nil, nil)
			kept := slices.DeleteFunc(slices.Clone(before), func(i *Instance) bool { return i.ID == gone })
			if len(after) != 3 || ids(after[:2]) != ids(kept) || after[2].ID == gone {
				t.Fatalf("change %d of %s: replicas %s, before %s", k, gone, ids(after), ids(before))
			}
		}
		skipped := v.Replicas(key, func(i *Instance) bool { return i == before[0] }, nil)
		next := v.Next(key, nil, func(i *Instance) bool { return slices.Contains(before, i) })
		if ids(skipped[:2]) != ids(before[1:]) || skipped[2] != next {
			t.Fatalf("skipping %s: %s, next %s", before[0].ID, ids(skipped), next.ID)
		}
	}
}

func TestZones(t *testing.T) {
	v := NewSnapshot(Options{ReplicationFactor: 3, ZoneAware: true}, instances(9)).At(now)
	for n := range uint64(500) {
		r := v.Replicas(Key("t", n), nil, nil)
		if len(r) != 3 || r[0].Zone == r[1].Zone || r[1].Zone == r[2].Zone || r[0].Zone == r[2].Zone {
			t.Fatalf("replicas of %d: %s", n, ids(r))
		}
		// In place of one comes only another of its zone.
		next := v.Next(Key("t", n), r[1:], func(i *Instance) bool { return slices.Contains(r, i) })
		if next == nil || next.Zone != r[0].Zone {
			t.Fatalf("in place of %s: %v", r[0].ID, next)
		}
	}
	all := v.All()
	if !v.Tolerates([]*Instance{all[0], all[3], all[6]}) {
		t.Error("a whole zone away is not tolerated")
	}
	if v.Tolerates([]*Instance{all[0], all[1]}) {
		t.Error("instances of two zones away are tolerated")
	}
}

// TestToleratesIsSafe checks that no quorum fits into what is tolerated.
func TestToleratesIsSafe(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		n := 1 + rnd.IntN(8)
		v := NewSnapshot(Options{ReplicationFactor: 1 + rnd.IntN(5), ZoneAware: rnd.IntN(2) == 0}, instances(n)).At(now)
		holders := v.Replicas(rnd.Uint32(), nil, nil)
		if len(holders) < v.Quorum() {
			continue
		}
		rnd.Shuffle(len(holders), func(i, j int) { holders[i], holders[j] = holders[j], holders[i] })
		holders = holders[:v.Quorum()]
		var missing []*Instance
		for _, i := range v.All() {
			if slices.Contains(holders, i) || rnd.IntN(2) == 0 {
				missing = append(missing, i)
			}
		}
		if v.Tolerates(missing) {
			t.Fatalf("an entry on %s counts as stored, yet %s need not answer", ids(holders), ids(missing))
		}
	}
}

// TestToleratesCountsTheUnseen has a reader that knows some instances only of a ring with as many as there are
// replicas.
func TestToleratesCountsTheUnseen(t *testing.T) {
	for factor := 1; factor <= 5; factor++ {
		all := instances(factor)
		for seen := 0; seen <= factor; seen++ {
			v := NewSnapshot(Options{ReplicationFactor: factor}, all[:seen]).At(now)
			if got := v.Unseen(); got != factor-seen {
				t.Errorf("N=%d, %d seen: %d unseen", factor, seen, got)
			}
			for missing := 0; missing <= seen; missing++ {
				want := factor-seen+missing < v.Quorum()
				if got := v.Tolerates(v.All()[:missing]); got != want {
					t.Errorf("N=%d, %d seen, %d of them missing: tolerated %t", factor, seen, missing, got)
				}
			}
		}
	}
}

func TestShortage(t *testing.T) {
	o := Options{Kind: "ingester", ReplicationFactor: 3, HeartbeatTimeout: time.Minute}
	dead := instance(3, "", Active)
	dead.Heartbeat = now.Add(-2 * time.Minute)
	for _, c := range []struct {
		instances []Instance
		want      string
	}{
		{nil, "no ingester in the ring: none has joined that this process knows of (is one running, and do both join the same cluster?)"},
		{[]Instance{instance(1, "", Leaving), instance(2, "", Joining), dead}, "no healthy ingester in the ring: 0 of 3 are ACTIVE, 2 are needed for " +
			"replication factor 3 (i1 at i1:9095 is LEAVING, i2 at i2:9095 is JOINING, i3 at i3:9095 is ACTIVE without heartbeat for 2m0s)"},
		{[]Instance{instance(1, "", Active)}, "too few healthy ingesters in the ring: 1 of 1 are ACTIVE, 2 are needed for replication factor 3"},
	} {
		v := NewSnapshot(o, c.instances).At(now)
		if got := v.Shortage(v.Quorum()).Error(); got != c.want {
			t.Errorf("Shortage:\n got %s\nwant %s", got, c.want)
		}
	}
}

func TestOwner(t *testing.T) {
	all := instances(4)
	s := NewSnapshot(Options{HeartbeatTimeout: time.Minute}, all)
	v := s.At(now)
	if v.Count() != 4 || s.At(now.Add(time.Hour)).Count() != 0 || s.At(now.Add(time.Hour)).Owner(1) != nil {
		t.Error("Count or Owner does not mind heartbeats")
	}
	owners := 0
	for _, i := range all {
		if v.Owns(i.ID, 12345) {
			owners++
		}
	}
	if owners != 1 {
		t.Errorf("%d owners of a key", owners)
	}
	sum := 0.0
	for _, share := range v.Ownership() {
		sum += share
	}
	if sum < 0.999999 || sum > 1.000001 {
		t.Errorf("shares add up to %v", sum)
	}
	var none View
	if none.Owner(1) != nil || none.Count() != 0 || none.Quorum() != 1 || none.Shortage(1) == nil {
		t.Error("the zero View")
	}
}

func TestNext(t *testing.T) {
	all := instances(4)
	s := NewSnapshot(Options{ReplicationFactor: 2}, slices.Clone(all))
	later := slices.Clone(all)
	later[2].State = Leaving
	slices.Reverse(later)
	n := s.Next(later)
	if n.instances[2].State != Leaving || &n.tokens[0] != &s.tokens[0] {
		t.Error("a changed state is not taken over cheaply")
	}
	later = append(slices.Clone(all), instance(9, "", Active))
	if n = s.Next(later); len(n.tokens) != 5*128 || n.options.ReplicationFactor != 2 {
		t.Error("a new instance is not taken over")
	}
}

func TestFixed(t *testing.T) {
	a, b := Fixed(Options{ReplicationFactor: 2}, "a:1", "b:1", "c:1"), Fixed(Options{ReplicationFactor: 2}, "c:1", "a:1", "b:1")
	for n := range uint64(100) {
		x, y := a.View().Replicas(Key("", n), nil, nil), b.View().Replicas(Key("", n), nil, nil)
		if len(x) != 2 || ids(x) != ids(y) {
			t.Fatalf("replicas %s and %s", ids(x), ids(y))
		}
	}
}

func BenchmarkReplicas(b *testing.B) {
	v := NewSnapshot(Options{ReplicationFactor: 3}, instances(30)).At(now)
	buf := make([]*Instance, 0, 3)
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		buf = v.Replicas(Key("tenant", n), nil, buf[:0])
	}
}
