// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package process

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/peelboot/peel/internal/unix"
)

// watchdog kills a process that uses up what it was given.
type watchdog struct {
	mu     sync.Mutex
	t      *unix.Traced // nil when it must not be killed any more
	reason error
	stop   chan struct{}
	once   sync.Once
}

func newWatchdog(ctx context.Context, p *Process) *watchdog {
	w := &watchdog{t: p.t, stop: make(chan struct{})}
	go w.run(ctx, p.ram, p.cfg)
	return w
}

func (w *watchdog) run(ctx context.Context, ram *os.File, cfg Config) {
	var deadline <-chan time.Time
	if cfg.MaxTime > 0 {
		timer := time.NewTimer(cfg.MaxTime)
		defer timer.Stop()
		deadline = timer.C
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-ctx.Done():
			w.bite(context.Cause(ctx))
			return
		case <-deadline:
			w.bite(fmt.Errorf("%w: %v", ErrTime, cfg.MaxTime))
			return
		case <-tick.C:
			if cfg.MaxMemory <= 0 {
				continue
			}
			if n, err := unix.AllocatedBytes(ram); err == nil && n > cfg.MaxMemory {
				w.bite(fmt.Errorf("%w: %d bytes in use, at most %d", ErrMemory, n, cfg.MaxMemory))
				return
			}
		}
	}
}

func (w *watchdog) bite(reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.reason = reason
		w.t.Kill()
	}
}

// end calls the watchdog off; the process is about to be reaped.
func (w *watchdog) end() {
	w.mu.Lock()
	w.t = nil
	w.mu.Unlock()
	w.once.Do(func() { close(w.stop) })
}

func (w *watchdog) why() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason
}

func (w *watchdog) check() error { return w.why() }
