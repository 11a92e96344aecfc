package compactor

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/thanos-io/objstore"

	"example.com/loki/store"
)

// FsckReport is what Fsck has found.
type FsckReport struct {
	Objects  int
	Segments int // that count
	Replaced int // whose rows others hold; they wait for their removal
	Empty    int // that only name what was dropped
	Requests int // delete requests

	Rows, RawBytes, SizeBytes int64 // of the segments that count

	Problems []Problem
}

// Problem is something that should not be.
type Problem struct {
	Object string
	Err    error
}

// FsckOptions say how thorough Fsck is.
type FsckOptions struct {
	// Checksums makes it read all segments as a whole. Otherwise it reads footers and indexes.
	Checksums bool
	// Progress, unless nil, is called after each object.
	Progress func(object string)
}

// Fsck checks all that an engine has in a bucket, while none or some are at work on it. It changes nothing.
// The error is of the bucket; what is wrong with objects is in the report.
func Fsck(ctx context.Context, b objstore.BucketReader, o FsckOptions) (*FsckReport, error) {
	f := &fsck{bucket: b, options: o, report: &FsckReport{}, segments: make(map[string][]store.SegmentInfo)}
	err := b.Iter(ctx, "", func(name string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.report.Objects++
		err := f.object(ctx, name)
		if o.Progress != nil {
			o.Progress(name)
		}
		return err
	}, objstore.WithRecursiveIter())
	if err != nil {
		return nil, fmt.Errorf("compactor: check bucket: %w", err)
	}
	for _, list := range f.segments {
		f.tenant(list)
	}
	slices.SortFunc(f.report.Problems, func(a, b Problem) int { return strings.Compare(a.Object, b.Object) })
	return f.report, nil
}

type fsck struct {
	bucket   objstore.BucketReader
	options  FsckOptions
	report   *FsckReport
	segments map[string][]store.SegmentInfo // by folder
}

func (f *fsck) problem(object string, err error) {
	f.report.Problems = append(f.report.Problems, Problem{object, err})
}

var errUnknown = errors.New("it belongs to nothing")

// object checks one object. It returns errors of the bucket only.
func (f *fsck) object(ctx context.Context, name string) error {
	kind, rest, _ := strings.Cut(name, "/")
	dir, file := path.Split(rest)
	switch {
	case kind == requestsDir:
		n, ok := parseObjectName(name)
		if !ok {
			f.problem(name, errUnknown)
			return nil
		}
		if !n.progress {
			f.report.Requests++
		}
		data, err := readObject(ctx, f.bucket, name)
		if err != nil {
			return f.missing(err)
		}
		if o := decodeObject(n, data); o.damage != nil {
			f.problem(name, o.damage)
		}
	case kind == "segments" && strings.Count(rest, "/") == 1:
		id, err := ulid.ParseStrict(file)
		if err != nil {
			f.problem(name, errUnknown)
			return nil
		}
		seg, err := store.OpenSegment(ctx, f.bucket, name)
		if err == nil {
			defer seg.Close()
			if f.options.Checksums {
				err = seg.Verify(ctx, nil)
			}
			if err == nil && seg.Info().ID != id {
				err = fmt.Errorf("it is segment %s", seg.Info().ID)
			} else if err == nil {
				f.segments[dir] = append(f.segments[dir], seg.Info())
				return nil
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// It may have been removed since it was listed, or while it was read.
		exists, gone := f.bucket.Exists(ctx, name)
		if gone != nil {
			return gone
		}
		if exists {
			f.problem(name, err)
		}
	default:
		f.problem(name, errUnknown)
	}
	return nil
}

// missing passes errors but that of an object that was removed since it was listed.
func (f *fsck) missing(err error) error {
	if f.bucket.IsObjNotFoundErr(err) {
		return nil
	}
	return err
}

// tenant counts what is whose.
func (f *fsck) tenant(list []store.SegmentInfo) {
	replaced := make(map[ulid.ULID]bool)
	for _, s := range list {
		for _, id := range s.Replaces {
			replaced[id] = true
		}
	}
	for _, s := range list {
		switch {
		case replaced[s.ID]:
			f.report.Replaced++
		case s.Rows == 0:
			f.report.Empty++
		default:
			f.report.Segments++
			f.report.Rows += s.Rows
			f.report.RawBytes += s.RawBytes
			f.report.SizeBytes += s.SizeBytes
		}
	}
}
