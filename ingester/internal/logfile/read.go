package logfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Damage is a place in a file that could not be read.
type Damage struct {
	Path   string
	Offset int64
	Err    error
}

func (d *Damage) Error() string {
	return fmt.Sprintf("log %s damaged at %d: %v", d.Path, d.Offset, d.Err)
}

// Unwrap returns what is wrong at that place.
func (d *Damage) Unwrap() error { return d.Err }

// Read calls record for each record of the file at path; the record is valid until record returns,
// and end is where it ends. Damage with a readable record behind it is reported to damaged, and reading goes on. Damage
// at the end of the file, which a crash while writing leaves, is returned as tail; the file is
// good up to the offset good.
//
// The error is that of record, or one of the file system.
func Read(path string, record func(rec []byte, end int64) error, damaged func(*Damage)) (good int64, tail *Damage, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, nil, fmt.Errorf("open log: %w", err)
	}
	defer f.Close()

	src := &source{r: f}
	r := wlog.NewReader(src)
	for r.Next() {
		good = r.Offset()
		if err := record(r.Record(), good); err != nil {
			return good, nil, err
		}
	}
	if src.err != nil {
		return good, nil, fmt.Errorf("read log %s: %w", path, src.err)
	}
	if r.Err() == nil {
		return good, nil, nil
	}

	// wlog stops at the first thing it does not like. What it says is about that, where it is
	// follows from the last good record.
	tail = &Damage{Path: path, Offset: good, Err: reason(r.Err())}
	s := salvager{f: f}
	if err := s.seek(good); err != nil {
		return good, tail, err
	}
	for {
		rec, err := s.next()
		if errors.Is(err, io.EOF) {
			return good, tail, nil
		}
		var d *Damage
		if errors.As(err, &d) {
			if tail == nil {
				d.Path = path
				tail = d
			}
			continue
		}
		if err != nil {
			return good, tail, fmt.Errorf("read log %s: %w", path, err)
		}
		if tail != nil {
			damaged(tail)
			tail = nil
		}
		good = s.offset()
		if err := record(rec, good); err != nil {
			return good, nil, err
		}
	}
}

// reason strips wlog's own idea of the place.
func reason(err error) error {
	var c *wlog.CorruptionErr
	if errors.As(err, &c) {
		return c.Err
	}
	return err
}

// source reads ahead and remembers an error that is not the end of the file, which wlog does not tell
// from damage.
type source struct {
	r    io.Reader
	buf  []byte
	done int
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.done == len(s.buf) {
		if s.buf == nil {
			s.buf = make([]byte, 0, 16*pageSize)
		}
		n, err := s.r.Read(s.buf[:cap(s.buf)])
		s.buf, s.done = s.buf[:max(n, 0)], 0
		if n <= 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			if !errors.Is(err, io.EOF) {
				s.err = err
			}
			return 0, err
		}
	}
	n := copy(p, s.buf[s.done:])
	s.done += n
	return n, nil
}

// salvager reads records page by page. After damage it goes on in the next page.
type salvager struct {
	f    io.ReaderAt
	page int64 // number of the page in buf
	buf  []byte
	pos  int
	rec  []byte
	mem  [pageSize]byte
}

func (s *salvager) offset() int64 { return s.page*pageSize + int64(s.pos) }

// seek loads the page with the offset.
func (s *salvager) seek(offset int64) error {
	s.page = offset / pageSize
	n, err := s.f.ReadAt(s.mem[:], s.page*pageSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.buf, s.pos = s.mem[:n], min(int(offset%pageSize), n)
	return nil
}

// next returns the next record, a *Damage after which it may be called again, or io.EOF.
func (s *salvager) next() ([]byte, error) {
	s.rec = s.rec[:0]
	inside := false // a record has begun
	for {
		if s.pos == len(s.buf) {
			if err := s.seek((s.page + 1) * pageSize); err != nil {
				return nil, err
			}
			if len(s.buf) == 0 {
				if inside {
					return nil, s.damage(errors.New("last record is torn"), false)
				}
				return nil, io.EOF
			}
		}
		typ, data, err := fragment(s.buf[s.pos:])
		if err != nil {
			return nil, s.damage(err, true)
		}
		begins := typ == fragFull || typ == fragFirst
		if inside && begins {
			// The fragment is good and begins another record: read it again.
			return nil, s.damage(errors.New("record without an end"), false)
		}
		if typ == pageTerm {
			s.pos = len(s.buf)
			continue
		}
		s.pos += headerSize + len(data)
		if !inside && !begins {
			continue // the rest of a record whose begin is lost
		}
		inside = true
		s.rec = append(s.rec, data...)
		if typ == fragFull || typ == fragLast {
			return s.rec, nil
		}
	}
}

func (s *salvager) damage(err error, skipPage bool) *Damage {
	d := &Damage{Offset: s.offset(), Err: err}
	if skipPage {
		s.pos = len(s.buf)
	}
	return d
}

// fragment parses what stands at the begin of b, which ends with its page or the file.
func fragment(b []byte) (typ byte, data []byte, err error) {
	if b[0]&typeMask == pageTerm {
		if !allZero(b) {
			return 0, nil, errors.New("bytes behind the end of a page")
		}
		return pageTerm, nil, nil
	}
	if b[0] > fragLast {
		return 0, nil, fmt.Errorf("fragment of unknown type %d", b[0])
	}
	if len(b) < headerSize {
		return 0, nil, errors.New("torn fragment header")
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if n > len(b)-headerSize {
		return 0, nil, fmt.Errorf("fragment of %d bytes where %d are left", n, len(b)-headerSize)
	}
	data = b[headerSize : headerSize+n]
	if got, want := crc32.Checksum(data, castagnoli), binary.BigEndian.Uint32(b[3:]); got != want {
		return 0, nil, fmt.Errorf("checksum is %08x, should be %08x", got, want)
	}
	return b[0], data, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
