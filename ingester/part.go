package ingester

import (
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// part collects rows of one tenant until they become a segment.
//
// Bytes of lines and metadata lie in blocks that are only appended to; a row says where. A stream's rows
// are a slice that is only appended to, or replaced as a whole. So a reader that has copied slice headers
// under the tenant's lock can read on without it.
type part struct {
	id     ulid.ULID
	opened time.Time

	names atomic.Pointer[nameTable] // replaced under tenant.mu

	index headIndex // finds streams by their labels; it has a lock of its own

	// Guarded by tenant.mu.
	streams   []*stream
	byHash    map[uint64]int32 // 1 + the index of a stream; others of that hash are chained by stream.next
	spare     []stream         // for the next streams
	spareRows []row            // for the first rows of the next streams
	nextRef   uint32
	blocks    [][]byte
	tail      []byte // the block that small pushes are copied to, the last of its kind in blocks
	tailIndex uint32
	tailUsed  int
	lineBytes int64
	rows      int64
	mem       int64
	min, max  int64 // times of rows
	lastPush  time.Time
	firstFile int // lowest log file that has a record of the part; -1 if none
	reason    reason
	sealed    bool // no push will join any more

	pending atomic.Int64 // pushes that have joined and are neither applied nor refused

	// quiet is closed when the part is sealed and nothing is pending: its rows are final.
	quiet chan struct{}
	// done is closed when the part is no longer in memory.
	done chan struct{}

	cut cutState // guarded by cutter.mu
}

// stream is a label set and its rows in one part. There may be hundreds of thousands, of a few rows each, so its
// size counts.
type stream struct {
	column.Stream // immutable

	ref  uint32 // its name in the log
	next int32  // as byHash: the next stream of the same hash; 0 if none

	// Guarded by tenant.mu.
	clean    int32 // rows[:clean] are in order and free of doubles
	file     int32 // the newest log file that names the stream; -1 if none
	rows     []row
	min, max int64 // times of rows
}

// row is an entry. Its line is block[off:off+len], its metadata set begins at block[meta].
type row struct {
	time                  int64
	block, off, len, meta uint32 // meta 0: no metadata
}

const (
	rowSize = 24
	// What a stream costs besides its rows and the bytes of its labels: the struct, the lists and maps of
	// streams, the index.
	streamSize = 240

	// Streams and the first rows of streams are allocated so many at once: as many objects of their own they
	// would keep the allocator and the garbage collector busy.
	sparesAtOnce = 128
	firstRows    = 2
)

func newPart(id ulid.ULID, opened time.Time) *part {
	p := &part{
		id:        id,
		opened:    opened,
		lastPush:  opened,
		byHash:    make(map[uint64]int32),
		firstFile: -1,
		quiet:     make(chan struct{}),
		done:      make(chan struct{}),
	}
	p.names.Store(&nameTable{})
	return p
}

// find returns the stream of a label set or nil, and as byHash the streams of that hash.
func (p *part) find(hash uint64, ls labels.Labels) (_ *stream, same int32) {
	same = p.byHash[hash]
	for n := same; n > 0; {
		s := p.streams[n-1]
		if labels.Equal(s.Labels, ls) {
			return s, same
		}
		n = s.next
	}
	return nil, same
}

// add creates a stream that find did not find. ls must not change later.
func (p *part) add(hash uint64, ls labels.Labels, ref uint32, same int32) *stream {
	if len(p.spare) == 0 {
		// Small parts get few.
		p.spare = make([]stream, min(max(len(p.streams), 1), sparesAtOnce))
	}
	s := &p.spare[0]
	p.spare = p.spare[1:]
	*s = stream{Stream: column.Stream{Labels: ls, Hash: hash}, ref: ref, next: same, file: -1}
	p.nextRef = max(p.nextRef, ref+1)
	p.streams = append(p.streams, s)
	p.byHash[hash] = int32(len(p.streams))
	p.mem += streamSize + int64(ls.ByteSize())
	return s
}

// first returns room for the first rows of a stream, n at least.
func (p *part) first(n int) []row {
	if n > firstRows {
		return nil
	}
	if len(p.spareRows) < firstRows {
		p.spareRows = make([]row, firstRows*min(max(len(p.streams), 1), sparesAtOnce))
	}
	room := p.spareRows[:0:firstRows]
	p.spareRows = p.spareRows[firstRows:]
	return room
}

// adoptFrom is the size from which on a payload becomes a block as it is. Smaller ones are copied, so
// that a part of many small pushes does not have as many blocks.
const adoptFrom = 64 << 10

// append adds rows that refer to payload, which the part may keep if adopt is set. It changes rows.
func (p *part) append(payload []byte, e *entries, adopt bool) {
	block, off, meta := uint32(len(p.blocks)), uint32(0), uint32(0)
	if adopt && len(payload) >= adoptFrom {
		p.blocks = append(p.blocks, payload)
		p.mem += int64(cap(payload))
	} else {
		sets := payload[e.setsLo:e.setsHi]
		lines := payload[e.linesLo:e.linesHi]
		at := p.room(len(sets) + len(lines))
		block = p.tailIndex
		meta = uint32(at - e.setsLo) // wraps around where it is negative, and back when it is added
		copy(p.tail[at:], sets)
		at += len(sets)
		off = uint32(at - e.linesLo)
		copy(p.tail[at:], lines)
	}
	rows := e.rows
	for i := range rows {
		r := &rows[i]
		r.block = block
		r.off += off
		if r.meta != 0 {
			r.meta += meta
		}
	}
	for _, sp := range e.spans {
		if sp.n > 0 {
			if sp.stream.rows == nil {
				sp.stream.rows = p.first(sp.n)
				p.mem += int64(cap(sp.stream.rows)) * rowSize
			}
			p.mem += sp.stream.append(rows[:sp.n])
			p.min, p.max = bounds(p.min, p.max, p.rows == 0, sp.stream)
			p.rows += int64(sp.n)
			rows = rows[sp.n:]
		}
	}
	p.lineBytes += int64(e.linesHi - e.linesLo)
}

func bounds(lo, hi int64, first bool, s *stream) (int64, int64) {
	if first {
		return s.min, s.max
	}
	return min(lo, s.min), max(hi, s.max)
}

// room finds n bytes in the tail block and returns where.
func (p *part) room(n int) int {
	if len(p.tail)-p.tailUsed < n {
		// Small parts get small blocks; offset 0 is never used, since 0 means "no metadata".
		size := min(max(4<<10, 2*len(p.tail)), 1<<20)
		p.tail = make([]byte, max(size, n+1))
		p.tailIndex = uint32(len(p.blocks))
		p.tailUsed = 1
		p.blocks = append(p.blocks, p.tail)
		p.mem += int64(len(p.tail))
	}
	at := p.tailUsed
	p.tailUsed += n
	return at
}

// append adds rows and returns how much memory that took.
func (s *stream) append(rows []row) int64 {
	if len(s.rows) == 0 {
		s.min, s.max = rows[0].time, rows[0].time
	}
	before := cap(s.rows)
	n := len(s.rows)
	s.rows = append(s.rows, rows...)
	// As long as times ascend, there is nothing to sort and nothing that could be a double.
	if int(s.clean) == n {
		for int(s.clean) < len(s.rows) && (s.clean == 0 || s.rows[s.clean].time > s.rows[s.clean-1].time) {
			s.clean++
		}
	}
	for i := range rows {
		t := rows[i].time
		s.min, s.max = min(s.min, t), max(s.max, t)
	}
	return int64(cap(s.rows)-before) * rowSize
}

// nameTable gives numbers to the names of structured metadata. It is immutable but for the files.
type nameTable struct {
	byID   []*metaName // nil where a damaged log has lost one
	byName map[string]*metaName
}

type metaName struct {
	id   uint32
	name string
	file atomic.Int64 // 1 + the newest log file that holds the name; 0 if none
}

// name returns the name of a number; it is empty if a damaged log has lost it.
func (t *nameTable) name(id uint32) string {
	if int(id) < len(t.byID) && t.byID[id] != nil {
		return t.byID[id].name
	}
	return ""
}

// with returns a table that has more names.
func (t *nameTable) with(names ...string) *nameTable {
	n := &nameTable{byID: t.byID[:len(t.byID):len(t.byID)], byName: make(map[string]*metaName, len(t.byName)+len(names))}
	for k, v := range t.byName {
		n.byName[k] = v
	}
	for _, name := range names {
		if n.byName[name] == nil {
			m := &metaName{id: uint32(len(n.byID)), name: name}
			n.byID = append(n.byID, m)
			n.byName[name] = m
		}
	}
	return n
}
