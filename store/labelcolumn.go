package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/alias"
)

// labelColumn says which stream of a segment has which value of one label.
type labelColumn struct {
	name string
	// values, ascending, one after another. Value number n, from 1, is values[ends[n-1]:ends[n]]; number 0 stands for
	// streams that do not have the label.
	values string
	ends   []uint32
	// runs of streams, or where these are short the number of each stream's value.
	runs  []labelRun
	plain []uint32
}

// labelRun says that stream first has the value of a number, and each stream behind it, up to the next run, a number
// that is greater by step, which is 0 or 1.
type labelRun struct{ first, value, step uint32 }

// value returns a value by its number.
func (c *labelColumn) value(n uint32) string {
	if n == 0 {
		return ""
	}
	return c.values[c.ends[n-1]:c.ends[n]]
}

// count is the number of values.
func (c *labelColumn) count() int { return len(c.ends) - 1 }

// find returns the number of a value, 0 if there is none.
func (c *labelColumn) find(v string) uint32 {
	n, ok := sort.Find(c.count(), func(i int) int { return strings.Compare(v, c.value(uint32(i+1))) })
	if !ok {
		return 0
	}
	return uint32(n + 1)
}

// of returns the number of a stream's value.
func (c *labelColumn) of(stream int) uint32 {
	if c.plain != nil {
		return c.plain[stream]
	}
	n := sort.Search(len(c.runs), func(i int) bool { return int(c.runs[i].first) > stream }) - 1
	r := &c.runs[n]
	return r.value + r.step*(uint32(stream)-r.first)
}

// memory is about what the column takes.
func (c *labelColumn) memory() int64 {
	return int64(len(c.name) + len(c.values) + 4*len(c.ends) + 12*len(c.runs) + 4*len(c.plain) + 128)
}

// each calls f for stretches of streams with values that ascend by step from a number on: those of a range of
// streams, in order.
func (c *labelColumn) each(in streamRange, f func(from, to, value, step uint32)) {
	if c.plain != nil {
		for at := in.from; at < in.to; {
			v, end := c.plain[at], at+1
			for end < in.to && c.plain[end] == v {
				end++
			}
			f(at, end, v, 0)
			at = end
		}
		return
	}
	n := sort.Search(len(c.runs), func(i int) bool { return c.runs[i].first > in.from }) - 1
	for at := in.from; at < in.to; n++ {
		r, end := c.runs[n], in.to
		if n+1 < len(c.runs) {
			end = min(end, c.runs[n+1].first)
		}
		f(at, end, r.value+r.step*(at-r.first), r.step)
		at = end
	}
}

// any tells whether some of the streams have the label.
func (c *labelColumn) any(streams streamSet) bool {
	for _, r := range streams {
		found := false
		c.each(r, func(_, _, value, step uint32) { found = found || value+step > 0 })
		if found {
			return true
		}
	}
	return false
}

// filter returns those of the streams that match.
func (c *labelColumn) filter(m *labels.Matcher, streams streamSet) streamSet {
	var out streamSet
	if m.Type == labels.MatchEqual && m.Value != "" {
		want := c.find(m.Value)
		if want == 0 {
			return nil
		}
		for _, in := range streams {
			c.each(in, func(from, to, value, step uint32) {
				switch {
				case step == 0 && value == want:
					out = out.add(from, to)
				case step == 1 && value <= want && want-value < to-from:
					out = out.add(from+want-value, from+want-value+1)
				}
			})
		}
		return out
	}
	v := verdicts{column: c, matcher: m, known: make([]byte, c.count()+1)}
	for _, in := range streams {
		c.each(in, func(from, to, value, step uint32) {
			if step == 0 {
				if v.match(value) {
					out = out.add(from, to)
				}
				return
			}
			for s := from; s < to; s++ {
				if v.match(value + s - from) {
					out = out.add(s, s+1)
				}
			}
		})
	}
	return out
}

// verdicts remembers which values match.
type verdicts struct {
	column  *labelColumn
	matcher *labels.Matcher
	known   []byte
}

func (v *verdicts) match(n uint32) bool {
	const no, yes = 1, 2
	if v.known[n] == 0 {
		v.known[n] = no
		if v.matcher.Matches(v.column.value(n)) {
			v.known[n] = yes
		}
	}
	return v.known[n] == yes
}

// parseColumn reads a column of that many streams. It takes at most what is in the buffer, times maxShared or
// so.
func parseColumn(d *decbuf, name string, streams int) (labelColumn, error) {
	c := labelColumn{name: name}
	if err := c.parseValues(d); err != nil {
		return c, err
	}
	return c, c.parseRuns(d, streams)
}

func (c *labelColumn) parseValues(d *decbuf) error {
	n := d.count()
	c.ends = make([]uint32, n+1)
	readUvarints(d, c.ends[1:], 1, math.MaxUint32)
	total := uint64(0)
	for i, l := range c.ends[1:] {
		if total += uint64(l); l == 0 || total > math.MaxUint32 {
			d.fail(errors.New("a label value is empty, or too long"))
			break
		}
		c.ends[i+1] = uint32(total)
	}
	shared := d.bytes(n)
	if d.err != nil {
		return d.err
	}
	// What is not shared must be there.
	rest := total
	for _, s := range shared {
		rest -= min(rest, uint64(s))
	}
	if rest > uint64(len(d.b)) {
		return errShort
	}
	values := make([]byte, 0, total)
	last := 0 // where the value before begins
	for n, s := range shared {
		from, share := len(values), int(s)
		own := int(c.ends[n+1]) - from - share
		if share > from-last || own < 0 {
			return fmt.Errorf("label value %d shares %d bytes with one of %d", n, s, from-last)
		}
		suffix := d.bytes(own)
		if d.err != nil {
			return d.err
		}
		values = append(append(values, values[last:last+share]...), suffix...)
		above := values[last+share : from] // what suffix must come after
		if n > 0 && (own == 0 || len(above) > 0 && suffix[0] <= above[0] && bytes.Compare(suffix, above) <= 0) {
			return fmt.Errorf("label values are out of order at number %d", n)
		}
		last = from
	}
	c.values = alias.String(values)
	return nil
}

func (c *labelColumn) parseRuns(d *decbuf, streams int) error {
	n := d.count()
	if n > streams {
		return fmt.Errorf("%d runs of %d streams", n, streams)
	}
	runs := make([]labelRun, n)
	at := uint64(0)
	for i := range runs {
		v := d.uvarint()
		runs[i].first, runs[i].step = uint32(at), uint32(v&1)
		if v>>1 == 0 || v>>1 > uint64(streams)-at {
			d.fail(errors.New("runs of label values do not agree with the number of streams"))
			break
		}
		at += v >> 1
	}
	if d.err == nil && at != uint64(streams) {
		d.fail(fmt.Errorf("runs of label values are of %d streams instead of %d", at, streams))
	}
	last := int64(0)
	for i := range runs {
		last += d.varint()
		end := uint32(streams)
		if i+1 < len(runs) {
			end = runs[i+1].first
		}
		if last < 0 || last > int64(c.count()) || last+int64(runs[i].step)*int64(end-runs[i].first-1) > int64(c.count()) {
			d.fail(errors.New("label value out of range"))
		}
		if d.err != nil {
			return d.err
		}
		runs[i].value = uint32(last)
	}
	if 3*n < streams {
		c.runs = runs
		return d.err
	}
	c.plain = make([]uint32, streams)
	for i, r := range runs {
		end := streams
		if i+1 < len(runs) {
			end = int(runs[i+1].first)
		}
		for s := int(r.first); s < end; s++ {
			c.plain[s] = r.value + r.step*(uint32(s)-r.first)
		}
	}
	return d.err
}
