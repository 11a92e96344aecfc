package engine

import (
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"example.com/loki/ruler"
)

// groupKey identifies a group of a tenant.
type groupKey struct{ namespace, name string }

func keyOf(g *ruler.Group) groupKey { return groupKey{g.Namespace, g.Name} }

// shards decides which groups belong to this process. It is used by one goroutine.
type shards struct {
	rulers  Rulers
	settle  time.Duration
	members []string // addresses of those at work, as seen last
	before  []string // … before that; nil: nobody had groups that are now wanted here
	since   time.Time
	settled bool
}

func newShards(settle time.Duration, rulers Rulers, now time.Time) *shards {
	s := &shards{rulers: rulers, settle: settle, settled: true}
	if rulers.Ring != nil {
		s.settled = false
		s.members, s.since = s.atWork(), now
	}
	return s
}

// atWork returns the addresses of the rulers that are alive and active, sorted.
func (s *shards) atWork() []string {
	var all []string
	view := s.rulers.Ring.View()
	for _, i := range view.All() {
		if view.Writable(i) {
			all = append(all, i.Addr)
		}
	}
	slices.Sort(all)
	return all
}

// look looks at the ring and tells whether what belongs here may have changed.
func (s *shards) look(now time.Time) bool {
	if s.rulers.Ring == nil {
		return false
	}
	if all := s.atWork(); !slices.Equal(all, s.members) {
		if s.settled {
			s.before = s.members
		}
		s.members, s.since, s.settled = all, now, false
		return true
	}
	if !s.settled && now.Sub(s.since) >= s.settle {
		s.settled, s.before = true, nil
		return true
	}
	return false
}

// owns tells whether this process evaluates a group. While the ring has just changed, it must have done so before,
// too: what was another's is left to that one until it surely knows.
func (s *shards) owns(tenant string, g *ruler.Group, shardSize int) bool {
	if s.rulers.Ring == nil {
		return true
	}
	key := tenant + "\x00" + g.Namespace + "\x00" + g.Name
	if owner(s.members, tenant, key, shardSize) != s.rulers.Self {
		return false
	}
	return s.settled || owner(s.before, tenant, key, shardSize) == s.rulers.Self
}

// owner picks one of the members for a key, so that few keys move when a member comes or goes. With a shard size
// only so many of the members have the keys of a tenant.
func owner(members []string, tenant, key string, shardSize int) string {
	if shardSize > 0 && shardSize < len(members) {
		members = slices.Clone(members)
		slices.SortFunc(members, func(a, b string) int {
			x, y := weight(a, tenant), weight(b, tenant)
			if x == y {
				return strings.Compare(a, b)
			}
			if x > y {
				return -1
			}
			return 1
		})
		members = members[:shardSize]
	}
	best, most := "", uint64(0)
	for _, m := range members {
		if w := weight(m, key); best == "" || w > most || w == most && m < best {
			best, most = m, w
		}
	}
	return best
}

func weight(member, key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(member + "\x00" + key)) // a hash takes everything
	x := h.Sum64()
	x ^= x >> 33 // the last bytes of what goes in hardly reach the high bits
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
