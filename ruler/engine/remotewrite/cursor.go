package remotewrite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// place is how far a receiver is: it has the first Records records of the file Segment, and all files before.
type place struct {
	Segment int `json:"segment"`
	Records int `json:"records"`
}

// loadPlace reads a place; ok is false if there is none.
func loadPlace(file string) (p place, ok bool, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	return p, err == nil, err
}

// save writes a place so that a crash leaves the old or the new one.
func (p place) save(file string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", b, 0o666); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// cursor reads a log that is being written.
type cursor struct {
	dir     string
	at      place // behind the record that was read last
	file    *wlog.Segment
	live    *wlog.LiveReader
	metrics *wlog.LiveReaderMetrics
	log     *slog.Logger
}

// next returns the next record; ok is false if there is none yet. last is the file that is being written: all
// before are complete. The record is valid until the next call.
func (c *cursor) next(last int) (rec []byte, ok bool, err error) {
	for {
		if c.file == nil {
			found, err := c.open()
			if err != nil {
				return nil, false, err
			}
			if !found {
				if c.at.Segment >= last {
					return nil, false, nil
				}
				c.at = place{Segment: c.at.Segment + 1}
				continue
			}
		}
		if c.live.Next() {
			c.at.Records++
			return c.live.Record(), true, nil
		}
		err := c.live.Err()
		damaged := err != nil && !errors.Is(err, io.EOF)
		if c.at.Segment >= last {
			if damaged {
				return nil, false, fmt.Errorf("file %d of the log is damaged behind record %d: %w", c.at.Segment, c.at.Records, err)
			}
			return nil, false, nil
		}
		if damaged {
			c.log.Error("remote write: the log is damaged; what is behind is lost", "file", c.at.Segment, "record", c.at.Records, "err", err)
		}
		c.close()
		c.at = place{Segment: c.at.Segment + 1}
	}
}

// open opens the file of the place and passes over what was read before.
func (c *cursor) open() (bool, error) {
	f, err := wlog.OpenReadSegment(wlog.SegmentName(c.dir, c.at.Segment))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c.file, c.live = f, wlog.NewLiveReader(c.log, c.metrics, f)
	for range c.at.Records {
		if !c.live.Next() {
			break // fewer than there were: next says what is wrong
		}
	}
	return true, nil
}

func (c *cursor) close() {
	if c.file != nil {
		_ = c.file.Close() // it was only read
		c.file, c.live = nil, nil
	}
}
