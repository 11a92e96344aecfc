package distributor

import (
	"sync"
	"time"
)

// rateTable holds the rates of streams: of each the tokens that it has left, as in a bucket that takes burst of
// them and gets limit of them each second. A stream that nothing was heard of for so long that its bucket is full
// again is forgotten; so are, when there are too many, those that did not push for longest.
//
// Entries hold no pointers, so however many there are, the garbage collector has nothing to look at.
type rateTable struct {
	max    int // entries of a generation in a shard
	shards [16]rateShard
}

type rateShard struct {
	mu         sync.Mutex
	young, old map[uint64]bucket // by tenant and labels
	turned     int64             // when young became old
}

type bucket struct {
	tokens float64
	at     int64
}

const rateBytes = 64 // what an entry takes in a map, at most

func newRateTable(bytes int) *rateTable {
	return &rateTable{max: max(bytes/rateBytes/2/16, 1)}
}

// allow takes n tokens of a stream if it has them.
func (t *rateTable) allow(key uint64, now int64, n int, limit float64, burst int) bool {
	s := &t.shards[key>>60]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(t.max, now, time.Duration(float64(burst)/limit*1e9))
	b, ok := s.young[key]
	if !ok {
		b, ok = s.old[key]
	}
	if !ok {
		b = bucket{float64(burst), now}
	}
	if now > b.at {
		b.tokens = min(float64(burst), b.tokens+float64(now-b.at)/1e9*limit)
		b.at = now
	}
	if b.tokens = min(b.tokens, float64(burst)); float64(n) > b.tokens {
		return false
	}
	b.tokens -= float64(n)
	s.young[key] = b
	return true
}

// turn makes the younger generation the older one if it is time.
func (s *rateShard) turn(most int, now int64, full time.Duration) {
	if s.young != nil && len(s.young) < most && now-s.turned <= int64(max(full, time.Minute)) {
		return
	}
	// What is forgotten leaves its room to those that come: a map that grows costs more than it takes to fill it.
	s.old, s.young, s.turned = s.young, s.old, now
	if s.young == nil {
		s.young = make(map[uint64]bucket)
	}
	clear(s.young)
}

// len returns how many streams are kept, at most.
func (t *rateTable) len() (n int) {
	for i := range t.shards {
		n += len(t.shards[i].young) + len(t.shards[i].old)
	}
	return n
}
