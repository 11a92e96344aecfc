package ingester

import (
	"context"
	"slices"
	"strings"
	"sync"

	"example.com/loki/internal/bytesearch"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// headColumns are the columns of a batch of rows in memory. Each is made once, in buffers that Release gives back.
type headColumns struct {
	buffers *headBuffers

	mu sync.Mutex
	gathered
	at    []int64
	all   column.Lines // zero until somebody asks for all lines
	found *foundLines  // of the first search
	lent  [][]byte     // memory of lines
	meta  []store.NamedMetadata
	made  *metadataColumns // what meta lies in; nil until somebody asks for it
}

var (
	_ column.Columns    = (*headColumns)(nil)
	_ column.Searcher   = (*headColumns)(nil)
	_ column.LinePicker = (*headColumns)(nil)
	_ column.RowHashed  = (*headColumns)(nil)
)

// headBuffers is memory for columns of batches, which queries would else make and leave to the garbage collector: a
// busy one copies the lines of all heads in a second or two.
type headBuffers struct {
	lines    sync.Pool // of *[]byte
	metadata sync.Pool // of *metadataColumns
}

// maxPooled is the size of a buffer of lines beyond which it is not kept. A page is mostly not much larger than pageBytes.
const maxPooled = 2 * pageBytes

// foundLines are the lines that a search has found.
type foundLines struct {
	texts *column.Texts
	rows  []int32
	lines column.Lines
}

func (c *headColumns) Rows() int { return len(c.rows) }

func (c *headColumns) Times(context.Context) ([]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = c.times(nil)
	}
	return c.at, nil
}

func (c *headColumns) LineLengths(context.Context) ([]uint32, error) { return c.lengths(), nil }

func (c *headColumns) Lines(context.Context) (column.Lines, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all.Offsets == nil {
		buf := c.borrow()
		c.all, buf = c.lines(nil, buf)
		c.lent = append(c.lent, buf)
	}
	return c.all, nil
}

// PickLines implements column.LinePicker.
func (c *headColumns) PickLines(_ context.Context, rows []int32) (column.Lines, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all.Offsets != nil {
		return c.all, nil
	}
	return c.pick(rows), nil
}

// pick returns a column of lines in which these rows are set, the others empty. c.mu must be held.
func (c *headColumns) pick(rows []int32) column.Lines {
	buf := c.borrow()
	offsets := make([]uint32, len(c.rows)+1)
	next := 0
	for _, r := range rows {
		for ; next <= int(r); next++ {
			offsets[next] = uint32(len(buf))
		}
		buf = append(buf, line(c.rows[r], c.blocks)...)
	}
	for ; next < len(offsets); next++ {
		offsets[next] = uint32(len(buf))
	}
	c.lent = append(c.lent, buf)
	return column.Lines{Data: buf, Offsets: offsets}
}

// borrow returns an empty buffer. c.mu must be held.
func (c *headColumns) borrow() []byte {
	if b, ok := c.buffers.lines.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

// searchedInPlace is how long adjoining lines must be on the average to be searched where they lie. To copy shorter ones
// and search the copy is quicker: a processor fetches the next lines while it copies, but not while it compares.
const searchedInPlace = 1 << 10

// Search implements column.Searcher: it searches the lines where they lie, and copies those that it finds.
func (c *headColumns) Search(_ context.Context, texts *column.Texts) ([]int32, column.Lines, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil && c.all.Offsets == nil && !slices.ContainsFunc(texts.Any, func(t []byte) bool { return len(t) == 0 }) {
		if !c.adjoin() {
			return nil, column.Lines{}, false, nil
		}
		c.found = &foundLines{texts: texts, rows: c.search(texts)}
		c.found.lines = c.pick(c.found.rows)
	}
	if c.found == nil || c.found.texts != texts {
		return nil, column.Lines{}, false, nil
	}
	return c.found.rows, c.found.lines, true, nil
}

// search returns the rows whose lines have one of the texts.
func (c *headColumns) search(texts *column.Texts) []int32 {
	var rows []int32
	for n, text := range texts.Any {
		f := bytesearch.New(text)
		for from := 0; from < len(c.rows); {
			to := c.adjoining(from)
			rows = c.searchAdjoining(rows, &f, from, to)
			from = to
		}
		if n > 0 {
			slices.Sort(rows)
			rows = slices.Compact(rows)
		}
	}
	return rows
}

// adjoin tells that the lines lie in few pieces.
func (c *headColumns) adjoin() bool {
	size, pieces := 0, 0
	for i := range c.rows {
		r := &c.rows[i]
		size += int(r.len)
		if i == 0 || r.block != c.rows[i-1].block || r.off != c.rows[i-1].off+c.rows[i-1].len {
			pieces++
		}
	}
	return size >= pieces*searchedInPlace
}

// adjoining returns the end of the rows from one on whose lines lie one after the other.
func (c *headColumns) adjoining(from int) int {
	to := from + 1
	for to < len(c.rows) && c.rows[to].block == c.rows[from].block && c.rows[to].off == c.rows[to-1].off+c.rows[to-1].len {
		to++
	}
	return to
}

// searchAdjoining appends those of rows [from, to), whose lines adjoin, that have what f looks for.
func (c *headColumns) searchAdjoining(dst []int32, f *bytesearch.Finder, from, to int) []int32 {
	last := c.rows[to-1]
	data := c.blocks[last.block][:last.off+last.len]
	at := int(c.rows[from].off)
	for from < to {
		n := f.Index(data[at:])
		if n < 0 {
			break
		}
		at += n
		end := func() int { return int(c.rows[from].off + c.rows[from].len) }
		for end() <= at && from < to-1 {
			from++
		}
		if at+len(f.Text()) > end() { // it reaches into the next line
			at++
			continue
		}
		dst = append(dst, int32(from))
		at = end()
		from++
	}
	return dst
}

func (c *headColumns) columns() []store.NamedMetadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		if c.made, _ = c.buffers.metadata.Get().(*metadataColumns); c.made == nil {
			c.made = &metadataColumns{}
		}
		c.meta = c.made.gather(c.gathered)
	}
	return c.meta
}

func (c *headColumns) MetadataNames(context.Context) ([]string, error) {
	cols := c.columns()
	names := make([]string, len(cols))
	for i := range cols {
		names[i] = cols[i].Name
	}
	return names, nil
}

func (c *headColumns) Metadata(_ context.Context, name string) (column.Metadata, error) {
	cols := c.columns()
	n, ok := slices.BinarySearchFunc(cols, name, func(m store.NamedMetadata, name string) int {
		return strings.Compare(m.Name, name)
	})
	if !ok {
		return column.Metadata{}, nil
	}
	return cols[n].Metadata, nil
}

// RowHashes implements column.RowHashed.
func (c *headColumns) RowHashes() func(row int) uint64 {
	c.mu.Lock()
	g := c.gathered
	c.mu.Unlock()
	type field struct {
		name  string
		value []byte
	}
	var fields []field
	var buf []byte
	return func(n int) uint64 {
		r := g.rows[n]
		fields, buf = fields[:0], buf[:0]
		if r.meta != 0 {
			for id, value := range setFields(g.blocks[r.block][r.meta:]) {
				if name := g.names.name(id); name != "" {
					fields = append(fields, field{name, value})
				}
			}
			slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
		}
		for _, f := range fields {
			buf = column.AppendField(buf, f.name, f.value)
		}
		return column.HashRow(line(r, g.blocks), buf)
	}
}

// Release gives buffers back, and lets go of the memory of the part.
func (c *headColumns) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.lent {
		if cap(b) > 0 && cap(b) <= maxPooled {
			c.buffers.lines.Put(&b)
		}
	}
	if c.made != nil {
		c.made.forget()
		c.buffers.metadata.Put(c.made)
	}
	c.gathered, c.at, c.all, c.found, c.lent, c.meta, c.made = gathered{}, nil, column.Lines{}, nil, nil, nil, nil
}
