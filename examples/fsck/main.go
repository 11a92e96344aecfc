// Command fsck checks the segments of an engine that keeps them in files: names, footers, indexes, and with
// -checksums every byte. It changes nothing, and an engine may be at work meanwhile.
//
//	fsck [-checksums] [-v] FOLDER
//
// FOLDER is what the engine was given as store, for an embedded one the folder "store" in its Dir. The exit
// code is 0 if all is well, 1 if there are problems, 2 if the check failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"example.com/loki/compactor"
	"example.com/loki/store"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("fsck", flag.ContinueOnError)
	flags.SetOutput(errOut)
	var o compactor.FsckOptions
	flags.BoolVar(&o.Checksums, "checksums", false, "read all segments as a whole")
	verbose := flags.Bool("v", false, "print the name of each object")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() != 1 {
		fmt.Fprintln(errOut, "usage: fsck [-checksums] [-v] FOLDER")
		return 2
	}
	if info, err := os.Stat(flags.Arg(0)); err != nil || !info.IsDir() {
		fmt.Fprintf(errOut, "fsck: %s is no folder\n", flags.Arg(0))
		return 2
	}
	if *verbose {
		o.Progress = func(object string) { fmt.Fprintln(out, object) }
	}
	bucket, err := store.NewFilesystemBucket(flags.Arg(0))
	if err != nil {
		fmt.Fprintln(errOut, "fsck:", err)
		return 2
	}
	report, err := compactor.Fsck(ctx, bucket, o)
	if err != nil {
		fmt.Fprintln(errOut, "fsck:", err)
		return 2
	}
	fmt.Fprintf(out, "%d objects: %d segments with %d rows, %d bytes of lines in %d; %d replaced, %d empty; %d delete requests\n",
		report.Objects, report.Segments, report.Rows, report.RawBytes, report.SizeBytes, report.Replaced, report.Empty, report.Requests)
	for _, p := range report.Problems {
		fmt.Fprintf(out, "PROBLEM %s: %v\n", p.Object, p.Err)
	}
	if len(report.Problems) > 0 {
		return 1
	}
	return 0
}
