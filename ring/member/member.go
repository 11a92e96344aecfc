// Package member tells which instances of a component there are and which of them stand for a key.
//
// It is only data and arithmetic: package ring fills a Snapshot from gossip, a host or a test may fill one by
// hand, and those who route by it need not link either.
//
// # The quorum
//
// An entry counts as stored when Quorum distinct instances have it, N/2+1 of a replication factor N, whichever
// they are. A reader that hears of everything from all instances but at most Quorum-1 thus misses nothing;
// Tolerates is that rule. Which instances a writer chooses decides only how even the load is: so a writer may
// pass over one that is away and take the next instead.
package member

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is where an instance is in its life.
type State uint8

const (
	Pending State = iota // is registered, has no tokens yet
	Joining              // starts; it is read from but gets no pushes
	Active               // does its work
	Leaving              // stops; it is read from but gets no pushes
)

// String returns the state as the ring pages spell it.
func (s State) String() string {
	switch s {
	case Pending:
		return "PENDING"
	case Joining:
		return "JOINING"
	case Active:
		return "ACTIVE"
	case Leaving:
		return "LEAVING"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Instance is one of a component's processes. It is immutable.
type Instance struct {
	ID     string
	Addr   string // host:port of its gRPC server
	Zone   string // failure domain; may be empty
	State  State
	Tokens []uint32 // where on the ring of keys it stands, ascending

	Heartbeat  time.Time // when it last said that it is alive; zero: it need not
	Registered time.Time // when it joined; zero: unknown
}

// Reader hands out the newest view. It is cheap and may be called from several goroutines.
type Reader interface {
	View() View
}

// Options of a Snapshot.
type Options struct {
	// Kind names what the instances are, in errors, such as "ingester". Empty means "instance".
	Kind string
	// ReplicationFactor is how many instances shall have each key. 0 means 1.
	ReplicationFactor int
	// ZoneAware puts the replicas of a key in different zones.
	ZoneAware bool
	// HeartbeatTimeout is how old the heartbeat of a healthy instance may be. 0: any age.
	HeartbeatTimeout time.Duration
}

// Snapshot is the instances of a component at one moment. It is immutable.
type Snapshot struct {
	options   Options
	instances []*Instance // by ID
	tokens    []token     // ascending
}

type token struct {
	at       uint32
	instance int32
}

// NewSnapshot makes a snapshot. Instances without tokens own no keys.
func NewSnapshot(o Options, instances []Instance) *Snapshot {
	o.ReplicationFactor = max(o.ReplicationFactor, 1)
	o.Kind = cmp.Or(o.Kind, "instance")
	s := &Snapshot{options: o, instances: make([]*Instance, len(instances))}
	for n := range instances {
		i := instances[n]
		s.instances[n] = &i
	}
	slices.SortFunc(s.instances, func(a, b *Instance) int { return strings.Compare(a.ID, b.ID) })
	count := 0
	for _, i := range s.instances {
		count += len(i.Tokens)
	}
	s.tokens = make([]token, 0, count)
	for n, i := range s.instances {
		for _, t := range i.Tokens {
			s.tokens = append(s.tokens, token{t, int32(n)})
		}
	}
	// Two instances may claim one token until gossip has settled it; the order must not depend on chance.
	slices.SortFunc(s.tokens, func(a, b token) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.instance, b.instance))
	})
	return s
}

// At returns the view of the snapshot at a time, which decides whose heartbeat is too old.
func (s *Snapshot) At(now time.Time) View { return View{s: s, now: now} }

// View is a snapshot and a time: it gives the same answers for ever. The zero View has no instances.
type View struct {
	s   *Snapshot
	now time.Time
}

// snapshot stands in for that of the zero View.
func (v View) snapshot() *Snapshot {
	if v.s == nil {
		return &Snapshot{options: Options{Kind: "instance", ReplicationFactor: 1}}
	}
	return v.s
}

// ReplicationFactor is how many instances shall have each key.
func (v View) ReplicationFactor() int { return v.snapshot().options.ReplicationFactor }

// Quorum is how many instances must have an entry before it counts as stored.
func (v View) Quorum() int { return v.ReplicationFactor()/2 + 1 }

// All returns all instances by ID, whatever their state. The slice must not be changed.
func (v View) All() []*Instance { return v.snapshot().instances }

// Healthy tells whether an instance has said lately that it is alive.
func (v View) Healthy(i *Instance) bool {
	timeout := v.snapshot().options.HeartbeatTimeout
	return timeout <= 0 || i.Heartbeat.IsZero() || v.now.Sub(i.Heartbeat) <= timeout
}

// Writable tells whether an instance takes new work: it is healthy and ACTIVE.
func (v View) Writable(i *Instance) bool { return i.State == Active && v.Healthy(i) }

// Count is the number of instances that are at work. Limits that hold for all together are divided by it.
func (v View) Count() int {
	n := 0
	for _, i := range v.All() {
		if v.Writable(i) {
			n++
		}
	}
	return n
}

// Owner returns the instance that a key belongs to, or nil if no instance is at work.
func (v View) Owner(key uint32) *Instance {
	var buf [1]*Instance
	if r := v.replicas(key, 1, false, nil, buf[:0]); len(r) > 0 {
		return r[0]
	}
	return nil
}

// Owns tells whether a key belongs to the instance of an ID.
func (v View) Owns(id string, key uint32) bool {
	o := v.Owner(key)
	return o != nil && o.ID == id
}

// Replicas appends to buf the instances that shall get a key: the first ReplicationFactor ones from the key's
// place on the ring on that are writable and that skip, unless nil, does not refuse. There may be fewer;
// Shortage makes an error of that. With zones each is in another one.
func (v View) Replicas(key uint32, skip func(*Instance) bool, buf []*Instance) []*Instance {
	return v.replicas(key, v.ReplicationFactor(), v.snapshot().options.ZoneAware, skip, buf)
}

func (v View) replicas(key uint32, n int, zones bool, skip func(*Instance) bool, buf []*Instance) []*Instance {
	s := v.snapshot()
	from, _ := slices.BinarySearchFunc(s.tokens, key, func(t token, key uint32) int {
		if t.at <= key { // a token owns the keys below it
			return -1
		}
		return 1
	})
	var seen passed
	found := len(buf)
	for k := range s.tokens {
		if len(buf)-found == n || seen.n == len(s.instances) {
			break
		}
		t := s.tokens[(from+k)%len(s.tokens)]
		if !seen.add(t.instance) {
			continue
		}
		i := s.instances[t.instance]
		if !v.Writable(i) || skip != nil && skip(i) ||
			zones && slices.ContainsFunc(buf[found:], func(o *Instance) bool { return o.Zone == i.Zone }) {
			continue
		}
		buf = append(buf, i)
	}
	return buf
}

// passed is a set of instance numbers.
type passed struct {
	small uint64
	more  map[int32]bool
	n     int
}

// add tells whether i is new.
func (p *passed) add(i int32) bool {
	if i < 64 {
		if p.small&(1<<i) != 0 {
			return false
		}
		p.small |= 1 << i
	} else {
		if p.more[i] {
			return false
		}
		if p.more == nil {
			p.more = make(map[int32]bool)
		}
		p.more[i] = true
	}
	p.n++
	return true
}

// Tolerates tells whether a reader may do without the answers of these instances, which must be all that it
// does without, those that are not healthy included: no entry that counts as stored can be on these alone. While the
// ring has fewer instances than there are replicas of a key, the others are missing as well: this process may not
// have heard of them yet.
func (v View) Tolerates(missing []*Instance) bool {
	s := v.snapshot()
	most := v.Quorum() - 1 - v.Unseen()
	if len(missing) <= most {
		return true
	}
	if !s.options.ZoneAware {
		return false
	}
	var zones []string
	for _, i := range missing {
		if !slices.Contains(zones, i.Zone) {
			zones = append(zones, i.Zone)
		}
	}
	return len(zones) <= most
}

// Unseen is how many instances the ring lacks until there can be as many replicas of a key as there should be.
func (v View) Unseen() int {
	s := v.snapshot()
	return max(s.options.ReplicationFactor-len(s.instances), 0)
}

// Shortage returns why fewer than want instances can be written to, for people: how many there are, and what
// is the matter with the others.
func (v View) Shortage(want int) error {
	s := v.snapshot()
	kind := s.options.Kind
	if len(s.instances) == 0 {
		return fmt.Errorf("no %s in the ring: none has joined that this process knows of (is one running, and do both "+
			"join the same cluster?)", kind)
	}
	count := v.Count()
	var b strings.Builder
	if count == 0 {
		fmt.Fprintf(&b, "no healthy %s in the ring: ", kind)
	} else {
		fmt.Fprintf(&b, "too few healthy %ss in the ring: ", kind)
	}
	fmt.Fprintf(&b, "%d of %d are ACTIVE", count, len(s.instances))
	if want > 1 {
		fmt.Fprintf(&b, ", %d are needed for replication factor %d", want, s.options.ReplicationFactor)
		if s.options.ZoneAware {
			b.WriteString(", each in another zone")
		}
	}
	sep := " ("
	for _, i := range s.instances {
		if !v.Writable(i) {
			b.WriteString(sep + v.Describe(i))
			sep = ", "
		}
	}
	if sep == ", " {
		b.WriteByte(')')
	}
	return fmt.Errorf("%s", b.String())
}

// Describe says who an instance is and how it is, for people.
func (v View) Describe(i *Instance) string {
	if !v.Healthy(i) {
		return fmt.Sprintf("%s at %s is %s without heartbeat for %s", i.ID, i.Addr, i.State, v.now.Sub(i.Heartbeat).Round(time.Second))
	}
	return fmt.Sprintf("%s at %s is %s", i.ID, i.Addr, i.State)
}

// Static is a Reader of a fixed snapshot.
type Static struct{ snapshot *Snapshot }

// View implements Reader.
func (s Static) View() View { return s.snapshot.At(time.Time{}) }

// Fixed returns a Reader of instances that are always there: those at the given addresses, which are also their
// IDs. It serves where a list of addresses is configured and no ring is wanted. The instances stand on the ring
// at places made from their addresses, so all who are given the same list agree.
func Fixed(o Options, addrs ...string) Static {
	o.HeartbeatTimeout = 0
	instances := make([]Instance, len(addrs))
	for n, a := range addrs {
		instances[n] = Instance{ID: a, Addr: a, State: Active, Tokens: TokensOf(a, 128)}
	}
	return Static{NewSnapshot(o, instances)}
}

// TokensOf makes n ascending tokens from a name, always the same ones.
func TokensOf(name string, n int) []uint32 {
	out := make([]uint32, 0, n)
	x := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		x = (x ^ uint64(c)) * 1099511628211
	}
	for range n { // splitmix64
		x += 0x9e3779b97f4a7c15
		z := x
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		out = append(out, uint32(z>>32))
	}
	slices.Sort(out)
	return out
}

// Key makes the place on the ring of a stream's hash. Streams of equal labels of several tenants get different
// places, so that one label set that all have does not burden one instance.
func Key(tenant string, hash uint64) uint32 {
	x := uint64(14695981039346656037)
	for n := range len(tenant) {
		x = (x ^ uint64(tenant[n])) * 1099511628211
	}
	x = (x ^ hash) * 0x9e3779b97f4a7c15
	return uint32((x ^ x>>29) >> 16)
}

// Next returns a snapshot of newer instances with the same options. It is cheaper than NewSnapshot where only
// states and heartbeats have changed.
func (s *Snapshot) Next(instances []Instance) *Snapshot {
	if len(instances) == len(s.instances) {
		slices.SortFunc(instances, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
		same := true
		for n, i := range s.instances {
			same = same && i.ID == instances[n].ID && slices.Equal(i.Tokens, instances[n].Tokens)
		}
		if same {
			next := &Snapshot{options: s.options, tokens: s.tokens, instances: make([]*Instance, len(instances))}
			for n := range instances {
				next.instances[n] = &instances[n]
			}
			return next
		}
	}
	return NewSnapshot(s.options, instances)
}

// Ownership returns for each instance, in the order of All, the share of all keys that it comes first for,
// whatever its state; zones don't count.
func (v View) Ownership() []float64 {
	s := v.snapshot()
	out := make([]float64, len(s.instances))
	if n := len(s.tokens); n > 0 {
		last := s.tokens[n-1].at
		for _, t := range s.tokens {
			keys := float64(t.at - last) // wraps around
			if n == 1 {
				keys = 1 << 32
			}
			out[t.instance] += keys / (1 << 32)
			last = t.at
		}
	}
	return out
}

// Next returns the writable instance from a key's place on the ring on that skip does not refuse and, with zones,
// whose zone is none of those of holders, which have the key or may still get it; nil if there is none. A writer
// that gave up on a replica takes it instead.
func (v View) Next(key uint32, holders []*Instance, skip func(*Instance) bool) *Instance {
	var buf [1]*Instance
	zones := v.snapshot().options.ZoneAware
	r := v.replicas(key, 1, false, func(i *Instance) bool {
		return skip(i) || zones && slices.ContainsFunc(holders, func(o *Instance) bool { return o.Zone == i.Zone })
	}, buf[:0])
	if len(r) == 0 {
		return nil
	}
	return r[0]
}
