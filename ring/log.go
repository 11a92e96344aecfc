package ring

import (
	"context"
	"fmt"
	"log/slog"

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
		case "level", "ts", "caller":
		case "msg":
			msg = fmt.Sprint(v)
		default:
			attrs = append(attrs, slog.Any(k, v))
		}
	}
	l.logger.Log(ctx, at, msg, attrs...)
	return nil
}
