package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// copiesFile, in Config.Log, has the replication factor with which the lines of the log were pushed. Without it each line may
// be in no other log.
const copiesFile = "replication"

// Raise makes sure that reads which need the answers of a quorum of ingesters miss nothing of the log: where its lines were
// pushed with a lower replication factor, this ingester may be the only one that has them, so they become segments, and Raise
// waits until others have seen these. It is called when the ingester runs and before it takes its place on the ring.
func (h *Handover) Raise(ctx context.Context, factor int) error {
	if h.cfg.Log == "" {
		return nil
	}
	if h.copies > 0 && h.copies < factor {
		h.log.Info("lines of the log have fewer copies than reads will rely on: they become segments before others are told of this ingester",
			"copies", h.copies, "replication_factor", factor)
		if err := h.heads.Flush(ctx, ""); err != nil {
			return fmt.Errorf("lines of the log that were pushed with replication factor %d can't be stored before it becomes %d: %w", h.copies, factor, err)
		}
		if err := h.awaitRefresh(ctx); err != nil {
			return err
		}
	}
	err := os.WriteFile(filepath.Join(h.cfg.Log, copiesFile), strconv.AppendInt(nil, int64(factor), 10), 0o666)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // an ingester that is not ours may have no such folder
		return fmt.Errorf("note the replication factor: %w", err)
	}
	return nil
}

// resumeCopies finds out how many copies lines of the log have.
func (h *Handover) resumeCopies() {
	if h.cfg.Log == "" {
		return
	}
	note := filepath.Join(h.cfg.Log, copiesFile)
	if files, err := filepath.Glob(filepath.Join(h.cfg.Log, "0*")); err == nil && len(files) > 0 {
		h.copies = 1
		if b, err := os.ReadFile(note); err == nil {
			if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				h.copies = max(n, 1)
			}
		}
	}
	if h.place != nil {
		return
	}
	// What is pushed from now on has no copies.
	if err := os.Remove(note); err != nil && !errors.Is(err, os.ErrNotExist) {
		h.log.Error("should this ingester become one of several, it will believe that others have copies of its log", "err", err)
	}
}
