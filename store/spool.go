package store

import (
	"bytes"
	"io"

	"example.com/loki/internal/scratch"
)

// spool takes what is written and gives it back from the start. It holds up to limit bytes in memory,
// the rest in a temporary file.
type spool struct {
	limit  int
	dir    string
	chunks [][]byte
	n      int64
	file   *scratch.File
}

const spoolChunk = 1 << 20

func (s *spool) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && s.file == nil {
		last := len(s.chunks) - 1
		if last >= 0 && len(s.chunks[last]) < cap(s.chunks[last]) {
			c := s.chunks[last]
			k := min(len(p), cap(c)-len(c))
			s.chunks[last] = append(c, p[:k]...)
			p = p[k:]
			s.n += int64(k)
			continue
		}
		if s.n+int64(len(p)) > int64(s.limit) {
			f, err := scratch.Create(s.dir, "segment-*.tmp")
			if err != nil {
				return 0, err
			}
			s.file = f
			break
		}
		// The first chunk is small: most segments of quiet tenants are.
		size := spoolChunk
		if s.n == 0 {
			size = 64 << 10
		}
		s.chunks = append(s.chunks, make([]byte, 0, size))
	}
	if len(p) > 0 {
		k, err := s.file.Write(p)
		s.n += int64(k)
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// reader reads all that was written. It tells its length to those who ask.
func (s *spool) reader() (io.Reader, error) {
	rs := make([]io.Reader, 0, len(s.chunks)+1)
	for _, c := range s.chunks {
		rs = append(rs, bytes.NewReader(c))
	}
	if s.file != nil {
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		rs = append(rs, s.file)
	}
	return &sizedReader{Reader: io.MultiReader(rs...), size: s.n}, nil
}

// sizedReader is how objstore learns the size of an upload.
type sizedReader struct {
	io.Reader
	size int64
}

func (r *sizedReader) ObjectSize() (int64, error) { return r.size, nil }

// close frees memory and file.
func (s *spool) close() error {
	s.chunks = nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
