package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"

	"github.com/felixge/fgprof"

	"example.com/loki/internal/route"
)

// pprofRoutes serves what net/http/pprof serves, and at /debug/fgprof a profile of the time that goroutines take, running or
// waiting. That package is not used because importing it puts
// its handlers into http.DefaultServeMux, which belongs to the host.
func pprofRoutes() []route.Route {
	get := []string{http.MethodGet}
	return []route.Route{
		{Methods: get, Path: "/debug/pprof/{$}", Handler: http.HandlerFunc(pprofIndex)},
		{Methods: get, Path: "/debug/pprof/cmdline", Handler: http.HandlerFunc(pprofCmdline)},
		{Methods: get, Path: "/debug/pprof/profile", Handler: http.HandlerFunc(pprofCPU), Streaming: true},
		{Methods: get, Path: "/debug/pprof/trace", Handler: http.HandlerFunc(pprofTrace), Streaming: true},
		{Methods: get, Path: "/debug/fgprof", Handler: fgprof.Handler(), Streaming: true},
		{Methods: get, Path: "/debug/pprof/{name}", Handler: http.HandlerFunc(pprofNamed), Streaming: true},
	}
}

func pprofIndex(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	for _, p := range pprof.Profiles() {
		fmt.Fprintf(&b, "%s\t%d\n", p.Name(), p.Count())
	}
	b.WriteString("cmdline\nprofile\t?seconds=30\ntrace\t?seconds=1\n")
	writeText(w, b.String())
}

func pprofCmdline(w http.ResponseWriter, _ *http.Request) {
	writeText(w, strings.Join(os.Args, "\x00"))
}

func pprofNamed(w http.ResponseWriter, r *http.Request) {
	p := pprof.Lookup(r.PathValue("name"))
	if p == nil {
		http.NotFound(w, r)
		return
	}
	level, _ := strconv.Atoi(r.FormValue("debug")) // 0, the binary form, where it is no number
	if level == 0 {
		w.Header().Set("Content-Type", "application/octet-stream")
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	_ = p.WriteTo(w, level) // a client that is gone needs no answer
}

func pprofCPU(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	sleep(r.Context(), r.FormValue("seconds"), 30)
}

func pprofTrace(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := trace.Start(w); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer trace.Stop()
	sleep(r.Context(), r.FormValue("seconds"), 1)
}

// maxProfile is how long one request may profile the process.
const maxProfile = 10 * time.Minute

// sleep waits for that many seconds, or def where the text is no such number, or until ctx is done.
func sleep(ctx context.Context, seconds string, def float64) {
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil || s <= 0 || s > maxProfile.Seconds() {
		s = def
	}
	t := time.NewTimer(time.Duration(s * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
