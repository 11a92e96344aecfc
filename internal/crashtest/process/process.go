// Package process runs the example programs as a user would: built, in a process of their own, stopped
// by a signal or killed. It is for tests.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a program may take for what should be quick. Machines that run many tests at
// once are slow.
const patience = time.Minute

// Main builds the monolithic server into a folder that is removed at the end, tells where it is, and runs the tests: it is
// what TestMain of a package whose tests start servers does. It returns the status to exit with.
func Main(m *testing.M, server *string) int {
	dir, err := os.MkdirTemp("", "servers")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	all, err := BuildAll(dir, "example.com/loki/examples/monolithic")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	*server = all["monolithic"]
	return m.Run()
}

// BuildAll builds main packages of this module into dir and returns the programs by the last elements of the packages' paths.
func BuildAll(dir string, pkgs ...string) (map[string]string, error) {
	// Without what debuggers need they link in less time. Traces of panics stay readable.
	args := append([]string{"build", "-ldflags=-s -w", "-o", dir + string(filepath.Separator)}, pkgs...)
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go build %s: %w\n%s", strings.Join(pkgs, " "), err, out)
	}
	programs := map[string]string{}
	for _, pkg := range pkgs {
		name := path.Base(pkg)
		programs[name] = filepath.Join(dir, name)
		if runtime.GOOS == "windows" {
			programs[name] += ".exe"
		}
	}
	return programs, nil
}

// Process is a running program. Its methods may be called from several goroutines.
type Process struct {
	URL string // where it listens, without a slash at the end; set when it is ready

	cmd    *exec.Cmd
	output *output
	ended  chan struct{} // closed when the process has ended and err is set
	err    error
}

// listening is what the programs print when they are ready.
var listening = regexp.MustCompile(`Listening on (https?://[^\s,;]+)`)

// Start starts a program and waits until it says where it listens. The test's end kills it.
func Start(t testing.TB, bin string, args ...string) *Process {
	t.Helper()
	p := Launch(t, bin, args...)
	if err := p.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// Launch starts a program and does not wait.
func Launch(t testing.TB, bin string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(bin, args...), output: &output{changed: make(chan struct{})}, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.Dir = t.TempDir() // what it writes without being told where stays in here
	p.cmd.WaitDelay = patience
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(p.Kill) // waits for the goroutine above
	return p
}

// AwaitReady waits until the program says where it listens and sets URL.
func (p *Process) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		text, changed := p.output.read()
		if m := listening.FindStringSubmatch(text); m != nil {
			p.URL = m[1]
			return nil
		}
		select {
		case <-changed:
		case <-p.ended:
			return fmt.Errorf("%s ended (%v) before it said where it listens; it printed:\n%s", filepath.Base(p.cmd.Path), p.err, p.Output())
		case <-ctx.Done():
			return fmt.Errorf("%s does not say where it listens: %w; it printed:\n%s", filepath.Base(p.cmd.Path), ctx.Err(), text)
		}
	}
}

// Terminate asks the program to stop, as an operator does, waits for its end and returns its exit code.
func (p *Process) Terminate() (int, error) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return p.Wait()
}

// Kill ends the program at once, without its noticing, and waits for that.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
}

// Wait waits for the program's end and returns its exit code, -1 if a signal ended it. A program that
// doesn't end is killed.
func (p *Process) Wait() (int, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.Kill()
		return -1, fmt.Errorf("%s did not end within %s; it printed:\n%s", filepath.Base(p.cmd.Path), patience, p.Output())
	}
	if exit := (*exec.ExitError)(nil); p.err != nil && !errors.As(p.err, &exit) {
		return -1, p.err
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Pid is the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output is what the program has printed so far.
func (p *Process) Output() string {
	text, _ := p.output.read()
	return text
}

// AwaitOutput waits until the program has printed a text.
func (p *Process) AwaitOutput(ctx context.Context, want string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		text, changed := p.output.read()
		if strings.Contains(text, want) {
			return nil
		}
		select {
		case <-changed:
		case <-p.ended:
			if text = p.Output(); strings.Contains(text, want) {
				return nil
			}
			return fmt.Errorf("%s ended without printing %q; it printed:\n%s", filepath.Base(p.cmd.Path), want, text)
		case <-ctx.Done():
			return fmt.Errorf("%s does not print %q; it printed:\n%s", filepath.Base(p.cmd.Path), want, text)
		}
	}
}

// output collects what a process prints.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed and replaced by each Write
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buf.Write(b)
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.changed
}
