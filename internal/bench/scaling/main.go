// Command scaling measures what the same pushes and queries cost in one process and in clusters of 1, 2 and 4 ingesters
// and queriers, with an object store behind them or a folder. It makes its own lines, starts the processes, and prints
// tables of ratios to the one process; docs/scaling.md has them.
//
//	go build -o monolithic ./examples/monolithic
//	go run ./internal/bench/scaling -program ./monolithic -dir EMPTY-FOLDER [-s3 versitygw]
//
// Everything runs on one machine. What processes use is compared, rather than how long it takes: CPU seconds, allocations,
// and the bytes that they hand to the kernel and take from it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	var c config
	flag.StringVar(&c.program, "program", "", "the monolithic server")
	flag.StringVar(&c.dir, "dir", "", "an empty folder for what it stores and for logs")
	flag.StringVar(&c.s3, "s3", "", "versitygw, to store segments in an S3 server; empty: in a folder")
	flag.IntVar(&c.port, "port", 24400, "the first of a hundred free ports")
	flag.IntVar(&c.megabytes, "mb", 256, "MB of lines to push into each shape")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

type config struct {
	program, dir, s3 string
	port, megabytes  int
}

// shape is which processes run.
type shape struct {
	name        string
	members     int // ingesters, and as many queriers; 0: one process that does everything
	replication int
}

func (c config) run(ctx context.Context) error {
	if c.program == "" || c.dir == "" {
		return errors.New("-program and -dir are required")
	}
	var err error
	if c.program, err = filepath.Abs(c.program); err != nil {
		return err
	}
	lines := generate(c.megabytes << 20)
	var all []result
	for _, s := range []shape{{"one process", 0, 1}, {"1 of each", 1, 1}, {"2 of each", 2, 1}, {"4 of each", 4, 1}, {"3 of each, 3 copies", 3, 3}} {
		fmt.Fprintln(os.Stderr, "measuring", s.name)
		r, err := c.measure(ctx, s, lines)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, r)
	}
	print(os.Stdout, all, c.s3 != "")
	return nil
}
