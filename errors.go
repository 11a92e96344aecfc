package loki

import "errors"

var (
	// ErrClosed is returned by calls on an engine that was closed or never started. What a Push that
	// returned nil has stored is there when the folder is opened again.
	ErrClosed = errors.New("loki: the engine is closed")

	// ErrInUse is returned by Open and Start if another engine, of this process or another one, has the
	// folder open. Close that one, or use another folder.
	ErrInUse = errors.New("loki: the folder is in use by another engine")

	// ErrNotHere is returned by calls on an engine that runs some components only, of which none can
	// answer. Ask a process that runs others.
	ErrNotHere = errors.New("loki: this process cannot do that")
)
