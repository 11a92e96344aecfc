package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one that runs.
type process struct {
	kind string
	url  string
	cmd  *exec.Cmd
	log  *os.File
}

// cluster is what runs for a shape. The one process is of all kinds.
type cluster struct {
	all   []*process
	store *objectStore // nil: a folder
}

// of returns the processes of a kind.
func (c *cluster) of(kind string) []*process {
	var list []*process
	for _, p := range c.all {
		if p.kind == kind || p.kind == "all" {
			list = append(list, p)
		}
	}
	return list
}

// start starts all processes of a shape and waits until they are ready.
func (c config) start(ctx context.Context, s shape, dir string) (_ *cluster, err error) {
	k := &cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.stop())
		}
	}()
	common := []string{"-server.http-listen-address=127.0.0.1", "-server.grpc-listen-address=127.0.0.1", "-log.level=warn",
		"-distributor.ingestion-rate-limit-mb=10000", "-distributor.ingestion-burst-size-mb=10000", "-ingester.per-stream-rate-limit=10GB",
		"-ingester.per-stream-rate-limit-burst=10GB", "-validation.reject-old-samples=false", "-frontend.task-bytes=33554432",
		"-compactor.compaction-interval=24h"}
	if c.s3 == "" {
		common = append(common, "-local.chunk-directory", filepath.Join(dir, "segments"))
	} else {
		if k.store, err = startStore(ctx, c.s3, dir, c.port+90); err != nil {
			return nil, err
		}
		common = append(common, k.store.flags()...)
	}
	port := c.port
	run := func(kind string, flags ...string) error {
		name := fmt.Sprintf("%s-%d", kind, len(k.all))
		p := &process{kind: kind, url: fmt.Sprint("http://127.0.0.1:", port)}
		args := append([]string{"-target=" + kind, "-common.path-prefix=" + filepath.Join(dir, name), fmt.Sprint("-server.http-listen-port=", port),
			fmt.Sprint("-server.grpc-listen-port=", port+1), "-common.storage.ring.instance-id=" + name}, common...)
		if s.members > 0 && kind != "query-scheduler" && kind != "query-frontend" {
			args = append(args, "-common.storage.ring.store=memberlist", fmt.Sprint("-replication-factor=", s.replication), "-memberlist.bind-addr=127.0.0.1",
				fmt.Sprint("-memberlist.bind-port=", port+2), fmt.Sprint("-memberlist.join=127.0.0.1:", c.port+2))
		}
		if p.log, err = os.Create(filepath.Join(dir, name+".log")); err != nil {
			return err
		}
		p.cmd = exec.Command(c.program, append(args, flags...)...)
		p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
		port += 3
		k.all = append(k.all, p)
		return p.cmd.Start()
	}
	if s.members == 0 {
		return k, errors.Join(run("all"), k.ready(ctx))
	}
	for range s.members {
		if err := run("ingester"); err != nil {
			return k, err
		}
	}
	scheduler := fmt.Sprint("127.0.0.1:", port+1)
	if err := run("query-scheduler"); err != nil {
		return k, err
	}
	var queriers []string
	for range s.members {
		queriers = append(queriers, fmt.Sprint("127.0.0.1:", port+1))
		if err := run("querier", "-querier.scheduler-address="+scheduler); err != nil {
			return k, err
		}
	}
	err = errors.Join(run("query-frontend", "-frontend.scheduler-address="+scheduler, "-frontend.querier-address="+strings.Join(queriers, ",")), run("distributor"))
	return k, errors.Join(err, k.ready(ctx))
}

// ready waits until all processes are ready.
func (k *cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for _, p := range k.all {
		for {
			if _, err := get(ctx, p.url+"/ready"); err == nil {
				break
			} else if ctx.Err() != nil {
				return fmt.Errorf("%s at %s, with log %s: %w", p.kind, p.url, p.log.Name(), err)
			}
			pause(ctx, 50*time.Millisecond)
		}
	}
	return nil
}

// stop stops all processes, those that keep lines last, and waits for them.
func (k *cluster) stop() error {
	var errs []error
	for i := len(k.all) - 1; i >= 0; i-- {
		p := k.all[i]
		if p.cmd.Process != nil {
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
				errs = append(errs, err)
			}
			if err := p.cmd.Wait(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w; see %s", p.kind, err, p.log.Name()))
			}
		}
		errs = append(errs, p.log.Close())
	}
	if k.store != nil {
		errs = append(errs, k.store.stop())
	}
	return errors.Join(errs...)
}

// used is what processes have used since they were started.
type used struct {
	cpu           float64 // seconds, user and system
	bytes, allocs float64 // allocated
	moved         float64 // bytes read and written through the kernel: sockets, files
}

func (u used) minus(v used) used {
	return used{u.cpu - v.cpu, u.bytes - v.bytes, u.allocs - v.allocs, u.moved - v.moved}
}

// usage sums up what processes have used.
func usage(ctx context.Context, list []*process) (sum used, err error) {
	for _, p := range list {
		text, err := get(ctx, p.url+"/metrics")
		if err != nil {
			return sum, err
		}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			n, _ := strconv.ParseFloat(value, 64)
			switch name {
			case "process_cpu_seconds_total":
				sum.cpu += n
			case "go_memstats_alloc_bytes_total":
				sum.bytes += n
			case "go_memstats_mallocs_total":
				sum.allocs += n
			}
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/io", p.cmd.Process.Pid))
		if err != nil {
			return sum, err
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			if name == "rchar" || name == "wchar" {
				n, _ := strconv.ParseFloat(value, 64)
				sum.moved += n
			}
		}
		if err := f.Close(); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// flush has all ingesters write what they hold.
func (k *cluster) flush(ctx context.Context) error {
	var wg sync.WaitGroup
	list := k.of("ingester")
	errs := make([]error, len(list))
	for i, p := range list {
		wg.Go(func() { _, errs[i] = post(ctx, p.url+"/flush", nil) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// web keeps connections open as an agent does.
func web() *http.Client { return http.DefaultClient }
