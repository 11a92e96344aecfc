package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// The differences between the times of a page are coded in stretches, each of which begins with how much time its run has
// taken so far: so the time of one row needs only those of a stretch, not of all rows before it.
const (
	timeStretch = 4 * timeGroup

	// pickedTimes is up to how many rows of a page their times are read alone.
	pickedTimes = 8
)

// appendPageTimes appends the differences of a page. since is, for each stretch but the first, the sum of those of its run
// before it. It overwrites deltas.
func appendPageTimes(dst []byte, deltas, since []uint64) []byte {
	for i := 0; len(deltas) > 0; i++ {
		n := min(timeStretch, len(deltas))
		if i > 0 {
			dst = binary.AppendUvarint(dst, since[i-1])
		}
		size := len(dst)
		last := n == len(deltas)
		if !last {
			dst = append(dst, 0, 0)
		}
		at := len(dst)
		dst = appendTimes(dst, deltas[:n])
		if !last {
			binary.LittleEndian.PutUint16(dst[size:], uint16(len(dst)-at))
		}
		deltas = deltas[n:]
	}
	return dst
}

// stretches calls f for each stretch of n differences until it returns false: with the number of its first one, how much
// time its run has taken before, and the codes.
func stretches(raw []byte, n int, f func(at int, since uint64, codes []byte) (bool, error)) error {
	d := decbuf{b: raw}
	for at := 0; at < n; at += timeStretch {
		since := uint64(0)
		if at > 0 {
			since = d.uvarint()
		}
		size := len(d.b)
		if at+timeStretch < n {
			size = int(d.u16())
		}
		codes := d.bytes(size)
		if d.err != nil {
			return d.err
		}
		if more, err := f(at, since, codes); err != nil || !more {
			return err
		}
	}
	return d.end()
}

// loadTimes reads the times of all rows of a page.
func (r *columnReader) loadTimes(ctx context.Context, s *segment, page int, fetched *atomic.Int64) (*columnData, int64, error) {
	rows := s.dir.pages[page].rows
	times := r.i64s.get(rows)
	err := r.narrow(ctx, s, page, false, fetched, func(block []byte) error {
		return r.raw(block, func(raw []byte) error { return s.decodeTimes(times, page, raw, &r.u64s) })
	})
	if err != nil {
		r.i64s.put(times)
		return nil, 0, err
	}
	return &columnData{times: times}, int64(8 * cap(times)), nil
}

var errSince = errors.New("a stretch of times begins at another time")

// decodeTimes makes the times of a page from its runs and the raw bytes of its block.
func (s *segment) decodeTimes(dst []int64, page int, raw []byte, pool *slicePool[uint64]) error {
	first, end := s.table.pageRuns(page)
	n := 0
	for i := first; i < end; i++ {
		from, to := s.table.rows(i)
		n += max(to-from-2, 0)
	}
	deltas := pool.get(n)
	defer pool.put(deltas)
	var sinces [maxPageRows / timeStretch]uint64
	err := stretches(raw, n, func(at int, since uint64, codes []byte) (bool, error) {
		sinces[at/timeStretch] = since
		return true, decodeTimes(deltas[at:min(at+timeStretch, n)], codes)
	})
	if err != nil {
		return err
	}
	at, next := 0, timeStretch
	for i := first; i < end; i++ {
		from, to := s.table.rows(i)
		t := s.table.min[i]
		dst[from] = t
		last := s.table.max[i]
		if to == from+1 {
			if t != last {
				return errors.New("a run of one row has two times")
			}
			continue
		}
		dst[to-1] = last
		steps := deltas[at : at+to-from-2]
		rows := dst[from+1 : to]
		rows = rows[:len(steps)]
		for row, d := range steps {
			step := t + int64(d)
			if step < t {
				return errors.New("times are not ascending")
			}
			t = step
			rows[row] = t
		}
		if t > last {
			return fmt.Errorf("last time of a run is %d, after %d", last, t)
		}
		for ; next < at+len(steps); next += timeStretch {
			if uint64(dst[from+next-at]-dst[from]) != sinces[next/timeStretch] {
				return errSince
			}
		}
		at += len(steps)
	}
	return nil
}

// timeOf returns the time of a row from the raw bytes of its page's block. Of a damaged block less is noticed than by decodeTimes.
func (s *segment) timeOf(page int, raw []byte, row int) (int64, error) {
	first, end := s.table.pageRuns(page)
	run, from, to, before, n := 0, 0, 0, 0, 0 // before: differences of the runs before the row's; n: of all
	for i := first; i < end; i++ {
		a, b := s.table.rows(i)
		if a <= row && row < b {
			run, from, to, before = i, a, b, n
		}
		n += max(b-a-2, 0)
	}
	switch row {
	case from:
		return s.table.min[run], nil
	case to - 1:
		return s.table.max[run], nil
	}
	t, own := s.table.min[run], before+row-from-1
	err := stretches(raw, n, func(at int, since uint64, codes []byte) (bool, error) {
		if own >= at+timeStretch {
			return true, nil
		}
		var deltas [timeStretch]uint64
		// Groups are decoded whole.
		need := min((own-at)/timeGroup*timeGroup+timeGroup, n-at)
		if _, err := decodeTimeGroups(deltas[:need], codes); err != nil {
			return false, err
		}
		if at > before {
			t += int64(since)
		}
		for _, d := range deltas[max(before-at, 0) : own-at+1] {
			t += int64(d)
		}
		return false, nil
	})
	if err == nil && (t < s.table.min[run] || t > s.table.max[run]) {
		err = errors.New("a time lies outside of its run")
	}
	return t, err
}

// timePicker has what the times of a page are made from, and some of them.
type timePicker struct {
	raw   []byte
	own   []byte // memory of raw
	group *columnHandle
	rows  []int32
	times []int64
}

// pickTimes reads the block of a page's times.
func (r *columnReader) pickTimes(ctx context.Context, s *segment, page int, fetched *atomic.Int64) (*timePicker, error) {
	t := &timePicker{}
	at, n := s.dir.timeOff[page], s.dir.pages[page].timeSize
	first, _ := groupOf(s.dir.timeOff, page)
	var block []byte
	var err error
	// Where a read costs next to nothing, no more is read than is needed.
	if s.near() && !r.cache.has(columnKey{path: s.path, page: first, col: colGroup}) {
		t.own, err = r.fetch(ctx, s, secTimes, at, n, fetched)
		block = t.own
	} else if t.group, err = r.get(ctx, s, first, colGroup, fetched); err == nil {
		block = t.group.val.stored[at-s.dir.timeOff[first]:][:n]
	}
	if err != nil {
		return nil, err
	}
	var decoded []byte
	t.raw, err = r.codec.decodeBlock(block, true, func(n int) []byte {
		decoded = r.bytes.get(n)
		return decoded
	})
	if decoded != nil {
		if t.own != nil {
			r.bytes.put(t.own)
		}
		t.own = decoded
	}
	if err != nil {
		t.release(r)
		return nil, corrupt(s.path, fmt.Sprintf("times of page %d", page), s.offset(secTimes)+at, err)
	}
	return t, nil
}

// release gives back the memory. The picker may be nil.
func (t *timePicker) release(r *columnReader) {
	if t == nil {
		return
	}
	if t.own != nil {
		r.bytes.put(t.own)
	}
	if t.group != nil {
		t.group.release()
	}
}

// timeOf returns the time of a row.
func (p *pageColumns) timeOf(ctx context.Context, row int) (_ int64, err error) {
	p.picking.Lock()
	defer p.picking.Unlock()
	p.mu.Lock()
	released := p.released
	p.mu.Unlock()
	if released {
		return 0, errReleased
	}
	if p.timePicker == nil {
		if p.timePicker, err = p.reader.pickTimes(ctx, p.seg, p.page, &p.fetched); err != nil {
			return 0, p.reader.tell(err)
		}
	}
	t := p.timePicker
	if i := slices.Index(t.rows, int32(row)); i >= 0 {
		return t.times[i], nil
	}
	at, err := p.seg.timeOf(p.page, t.raw, row)
	if err != nil {
		return 0, p.reader.tell(corrupt(p.seg.path, fmt.Sprintf("times of page %d", p.page), p.seg.offset(secTimes)+p.seg.dir.timeOff[p.page], err))
	}
	t.rows, t.times = append(t.rows, int32(row)), append(t.times, at)
	return at, nil
}

// hasTimes tells that the times of all rows are there.
func (p *pageColumns) hasTimes() bool {
	p.mu.Lock()
	held := p.held[colTimes] != nil
	p.mu.Unlock()
	return held || p.reader.cache.has(columnKey{path: p.seg.path, page: p.page, col: colTimes})
}

// someTimes returns a function for the times of rows, of which there may be few.
func (p *pageColumns) someTimes(ctx context.Context) func(row int) (int64, error) {
	var all []int64
	n := 0
	return func(row int) (_ int64, err error) {
		if all == nil && (n == pickedTimes || n == 0 && p.hasTimes()) {
			if all, err = p.Times(ctx); err != nil {
				return 0, err
			}
		}
		if all != nil {
			return all[row], nil
		}
		n++
		return p.timeOf(ctx, row)
	}
}

// PickTimes implements column.Picker.
func (p *pageColumns) PickTimes(ctx context.Context, rows []int32) (_ []int64, err error) {
	if len(rows) > pickedTimes || p.hasTimes() {
		return p.Times(ctx)
	}
	times := p.reader.i64s.get(p.Rows())
	for _, row := range rows {
		if times[row], err = p.timeOf(ctx, int(row)); err != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		err = cmp.Or(err, errReleased)
	}
	if err != nil {
		p.reader.i64s.put(times)
		return nil, err
	}
	p.pickedTimes = append(p.pickedTimes, times)
	return times, nil
}

// stretch notes what a stretch begins with, if the next difference is its first one: it follows a row of that time, whose run
// has begun at the other.
func (p *pageBuilder) stretch(begin, at int64) {
	if n := len(p.deltas); n > 0 && n%timeStretch == 0 {
		p.since = append(p.since, uint64(at-begin))
	}
}
