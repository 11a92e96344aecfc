package ring

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// kitLogger writes what dskit logs to a slog.Logger.
type kitLogger struct{ logger *slog.Logger }

var _ log.Logger = kitLogger{}

// Log implements log.Logger. The values of "level" and "msg" become level and message.
func (l kitLogger) Log(keyvals ...any) error {
	at, msg := slog.LevelInfo, "ring"
	for n := 0; n+1 < len(keyvals); n += 2 {
		if keyvals[n] == level.Key() {
			switch keyvals[n+1] {
			case level.DebugValue():
				at = slog.LevelDebug
			case level.WarnValue():
				at = slog.LevelWarn
			case level.ErrorValue():
				at = slog.LevelError
			}
		}
	}
	phase := ""
	for n := 0; n+1 < len(keyvals); n += 2 {
		switch keyvals[n] {
		case "msg":
			msg = fmt.Sprint(keyvals[n+1])
		case "phase":
			phase = fmt.Sprint(keyvals[n+1])
		}
	}
	at, msg = reword(at, msg, phase)
	ctx := context.Background()
	if !l.logger.Enabled(ctx, at) {
		return nil
	}
	attrs := make([]any, 0, len(keyvals))
	for n := 0; n < len(keyvals); n += 2 {
		var v any = "?"
		if n+1 < len(keyvals) {
			v = keyvals[n+1]
		}
		switch k := fmt.Sprint(keyvals[n]); k {
		case "level", "ts", "caller", "msg":
		default:
			attrs = append(attrs, slog.Any(k, v))
		}
	}
	l.logger.Log(ctx, at, msg, attrs...)
	return nil
}

// reword returns what is said in place of what dskit says when no member answers a start. For the first process of a
// cluster that is nothing wrong, and for any other it is one thing that goes on, not several that have failed.
func reword(at slog.Level, msg, phase string) (slog.Level, string) {
	switch {
	case at == slog.LevelError && msg == "failed to fast-join the memberlist cluster at startup":
		return slog.LevelWarn, "no other member of the cluster answers yet, as at the first start of one; this process goes on and tries again"
	case at == slog.LevelWarn && msg == "joining memberlist cluster" && phase == "startup":
		return slog.LevelInfo, "no other member of the cluster answers yet; trying again"
	case at == slog.LevelError && msg == "joining memberlist cluster failed":
		return slog.LevelWarn, "no other member of the cluster has answered; this process is alone until one does, and tries again " +
			"at each rejoin_interval: check join_members and the port of gossip"
	case strings.HasPrefix(msg, "memberlist fast-join failed"), msg == "fast-joining node failed":
		return slog.LevelDebug, msg // said by the above
	case msg == "re-joined memberlist cluster":
		return slog.LevelDebug, msg // every few seconds
	}
	return at, msg
}
