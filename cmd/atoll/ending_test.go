package main

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolledge/atoll"
)

// TestEndInTurn: steps end in their order; one that hangs is named when the time
// is over, and not before.
func TestEndInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ended []string
		step := func(what string, takes time.Duration, err error) ending {
			return ending{what, func() error {
				time.Sleep(takes)
				mu.Lock()
				defer mu.Unlock()
				ended = append(ended, what)
				return err
			}}
		}
		log := func() string {
			mu.Lock()
			defer mu.Unlock()
			words := strings.Join(ended, " ")
			ended = nil
			return words
		}
		failed := errors.New("a page is lost")
		begin := time.Now()
		err := endInTurn(10*time.Second, "/data", step("one", 4*time.Second, failed),
			step("two", 5*time.Second, nil))
		if steps := log(); !errors.Is(err, failed) || steps != "one two" || time.Since(begin) != 9*time.Second {
			t.Errorf("%v after %v and %s", err, steps, time.Since(begin))
		}
		begin = time.Now()
		err = endInTurn(10*time.Second, "/data", step("one", time.Second, nil),
			step("two", time.Hour, nil), step("three", 0, nil))
		if steps, took := log(), time.Since(begin); took != 10*time.Second || steps != "one" {
			t.Errorf("after %v and %s", steps, took)
		}
		if atoll.KindOf(err) != atoll.Internal || !strings.Contains(err.Error(), "two: not done after 10s") ||
			!strings.Contains(hint(err), "/data") {
			t.Errorf("%v, hint %q", err, hint(err))
		}
		time.Sleep(2 * time.Hour) // what was left behind ends
	})
}
