package main

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/atolledge/atoll"
)

// closeTime is how long a node that was told to stop takes for all that follows
// its last request. A disk that is gone does not answer, and Badger waits for it
// for ever; with noticeTime and drainTime it fits into systemd's TimeoutStopSec.
// What was acknowledged is durable already.
const closeTime = 15 * time.Second

// ending is one step of the way down, with the words for one that hangs.
type ending struct {
	what string
	end  func() error
}

// endInTurn carries the steps out, and stops waiting when limit has passed: the
// error then names the step that hangs, and the process is to exit.
func endInTurn(limit time.Duration, dir string, steps ...ending) error {
	var at atomic.Int32
	done := make(chan error, 1)
	go func() {
		var errs []error
		for i, s := range steps {
			at.Store(int32(i))
			errs = append(errs, s.end())
		}
		done <- errors.Join(errs...)
	}()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		return atoll.Errorf(atoll.Internal, "%s: not done after %s, it is left behind",
			steps[at.Load()].what, limit).
			WithHint("look at the disk below " + dir + "; what was acknowledged is on it")
	}
}
