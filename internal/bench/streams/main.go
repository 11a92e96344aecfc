// Command streams measures what many streams cost: it pushes the same lines in as many streams as it is told
// to, has them flushed, and runs queries. Run it against servers with empty folders, for 500 and for 100,000
// streams say, and compare:
//
//	go run ./examples/monolithic -config.file limits.yaml &
//	go run ./internal/bench/streams -pid $! -streams 100000 -store loki-data/store
//
// The limits must let all streams in: max_global_streams_per_user 0, and rates that are high enough.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/thanos-io/objstore/providers/filesystem"

	"example.com/loki/store"
)

func main() {
	var r run
	flag.StringVar(&r.addr, "addr", "http://127.0.0.1:3100", "where the server listens")
	flag.IntVar(&r.pid, "pid", 0, "process of the server, for its CPU time and memory; 0: not measured")
	flag.IntVar(&r.streams, "streams", 500, "number of streams")
	flag.IntVar(&r.lines, "lines", 1_000_000, "number of lines, of all streams together; 0: only say what the segments are spent on")
	flag.BoolVar(&r.together, "together", false, "push each stream's lines one after another; else each push has lines of as many streams as it can")
	flag.IntVar(&r.batch, "batch", 5000, "lines in a push")
	flag.IntVar(&r.connections, "connections", 4, "pushes at once")
	flag.BoolVar(&r.queries, "queries", true, "run queries too")
	flag.StringVar(&r.out, "json", "", "file to write the results into as well")
	segments := flag.String("store", "", "folder with the server's segments, to say what they are spent on")
	flag.Parse()

	if r.lines > 0 {
		if err := r.measure(); err != nil {
			fmt.Fprintln(os.Stderr, "streams:", err)
			os.Exit(1)
		}
	}
	if *segments != "" {
		if err := sections(*segments); err != nil {
			fmt.Fprintln(os.Stderr, "streams:", err)
			os.Exit(1)
		}
	}
}

// sections prints what the segments in a folder are spent on.
func sections(dir string) error {
	b, err := filesystem.NewBucket(dir)
	if err != nil {
		return err
	}
	bytes := map[string]int64{}
	var order []string
	var raw, rows, streams, size int64
	n := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(path, "segments") {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		s, err := store.OpenSegment(context.Background(), b, filepath.ToSlash(name))
		if err != nil {
			return err
		}
		defer s.Close()
		for _, x := range s.Sections() {
			if _, ok := bytes[x.Name]; !ok {
				order = append(order, x.Name)
			}
			bytes[x.Name] += x.Bytes
		}
		info := s.Info()
		raw, rows, streams, size = raw+info.RawBytes, rows+info.Rows, streams+info.Streams, size+info.SizeBytes
		n++
		return nil
	})
	if err != nil || rows == 0 {
		return err
	}
	fmt.Printf("%d segments with %d streams and %d rows: %d bytes, %.2f a row, a %.2fth of the lines\n",
		n, streams, rows, size, float64(size)/float64(rows), float64(raw)/float64(size))
	for _, name := range order {
		fmt.Printf("  %-20s %10d  %5.1f %%  %6.2f a row\n", name, bytes[name],
			100*float64(bytes[name])/float64(size), float64(bytes[name])/float64(rows))
	}
	return nil
}
