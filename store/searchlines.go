package store

import (
	"context"
	"sync"

	"example.com/loki/logql/column"
)

// foundBytes is the memory that the lines found in a page take at first.
const foundBytes = 16 << 10

// found is what a search has found in a page.
type found struct {
	texts *column.Texts
	rows  []int32
	lines column.Lines
	ok    bool
}

// searches are the textual searches of a query. It is safe for concurrent use.
type searches struct {
	mu   sync.Mutex
	made map[searchKey]*textSearch // nil where it is not known how
}

type searchKey struct {
	texts *column.Texts
	marks marks
}

func (s *searches) get(texts *column.Texts, m marks) *textSearch {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := searchKey{texts, m}
	t, ok := s.made[k]
	if !ok {
		t = newTextSearch(texts.Any, m)
		if s.made == nil {
			s.made = map[searchKey]*textSearch{}
		}
		s.made[k] = t
	}
	return t
}

// Search implements column.Searcher. It decompresses one line block after another and makes only the lines
// that it finds. The cache gets no lines, but what it takes longest to
// get again: see lineLoader.fetch.
func (p *pageColumns) Search(ctx context.Context, texts *column.Texts) ([]int32, column.Lines, bool, error) {
	meta := &p.seg.dir.pages[p.page]
	if p.searches == nil || !meta.packed() {
		return nil, column.Lines{}, false, nil
	}
	p.searching.Lock()
	defer p.searching.Unlock()
	p.mu.Lock()
	f, released := p.found, p.released
	p.mu.Unlock()
	switch {
	case released:
		return nil, column.Lines{}, false, errReleased
	case f != nil && f.texts == texts:
		return f.rows, f.lines, f.ok, nil
	case f != nil || p.reader.cache.has(columnKey{p.seg.path, p.page, colLines, p.blocks}):
		return nil, column.Lines{}, false, nil
	}
	search := p.searches.get(texts, meta.marks)
	f = &found{texts: texts}
	if search != nil {
		f.ok = true
		if err := p.reader.tell(p.find(ctx, search, f)); err != nil {
			return nil, column.Lines{}, false, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		p.reader.free(&columnData{lines: f.lines})
		return nil, column.Lines{}, false, errReleased
	}
	p.found = f
	return f.rows, f.lines, f.ok, nil
}

// find does a search.
func (p *pageColumns) find(ctx context.Context, s *textSearch, f *found) error {
	if len(s.finders) == 0 {
		return nil
	}
	l := newLineLoader(p.reader, p.seg, p.page, p.blocks)
	defer l.free()
	stored, release, err := l.fetch(ctx, &p.fetched)
	if err != nil {
		return err
	}
	defer release()
	f.rows, err = l.search(stored, s, p.someTimes(ctx))
	if err != nil {
		l.drop()
	}
	f.lines = l.lines
	return err
}

// search returns the rows that may have what is searched for, and makes their lines.
func (l *lineLoader) search(stored []byte, s *textSearch, timeOf func(row int) (int64, error)) (rows []int32, err error) {
	var timeErr error // it says itself what it is about
	err = l.each(stored, func(raw, digits []byte, from, to int) error {
		var u unpacker
		passed := -1 // bytes of raw that u is behind
		return s.rows(raw, to-from, func(row, at, n int) error {
			if passed < 0 {
				ids, err := l.ids(digits)
				if err != nil {
					return err
				}
				u, passed = newUnpacker(l.marks, raw, ids), 0
			}
			if rows == nil {
				l.begin(max(n, foundBytes))
			}
			var t int64
			if t, timeErr = timeOf(from + row); timeErr != nil {
				return timeErr
			}
			if err := u.skip(at - passed); err != nil {
				return err
			}
			l.reach(from + row)
			data, err := u.next(l.lines.Data, t, int(l.rawBytes))
			if err != nil {
				return err
			}
			passed = at + n + 1
			l.lines.Data, l.row = data, from+row+1
			l.lines.Offsets[l.row] = uint32(len(data))
			rows = append(rows, int32(from+row))
			return nil
		})
	})
	switch {
	case timeErr != nil:
		return nil, timeErr
	case err == nil && rows != nil:
		l.reach(l.rows)
	}
	return rows, err
}
