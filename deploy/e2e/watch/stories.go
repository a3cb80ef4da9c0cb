package main

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

const (
	quiet    = 20 * time.Second // a watch says something every 15 s
	patience = 10 * time.Second // of a node with a reader (api.WatchPatience)
)

// moves watches at tokyo, at frankfurt while tokyo is dead, and at tokyo again,
// while changes are written everywhere.
func moves(changes, writers int) (string, error) {
	const keyspace = "moves"
	if _, err := call("PUT", regions[0].url()+"/v1/docs/"+keyspace+"/first", map[string]int{}); err != nil {
		return "", err
	}
	if _, err := agreed(keyspace); err != nil {
		return "", err
	}
	l, c := &load{keyspace: keyspace}, newCache()
	s, err := watch("tokyo", keyspace, "", false)
	if err != nil {
		return "", err
	}
	begin := time.Now()
	l.start(changes, writers)
	at, path := region("tokyo"), []string{}
	// lead leads the reader on: to another region, behind what it has.
	lead := func(r region, why string) error {
		s.stop()
		path = append(path, fmt.Sprintf("%s after %d events (%s)", at, c.events, why))
		return until(startLimit, "a watch at "+string(r), func() bool {
			s, err = watch(r, keyspace, c.cursor, false)
			at = r
			return err == nil
		})
	}
	killed, started := false, false
	for {
		switch done := l.done.Load(); {
		case !killed && done > int64(changes)*3/10:
			killed = true
			if err := node("kill", "tokyo"); err != nil {
				return "", err
			}
		case killed && !started && at == "frankfurt" && done > int64(changes)*6/10:
			started = true
			if err := node("start", "tokyo"); err != nil {
				return "", err
			}
		case started && at == "frankfurt" && ready("tokyo"):
			if err := lead("tokyo", "left"); err != nil {
				return "", err
			}
		case started && at == "tokyo" && done == int64(changes):
			l.work.Wait()
			return told(l, c, s, path, time.Since(begin))
		}
		if l.err != nil {
			return "", l.err
		}
		e, err := s.next(quiet)
		switch {
		case err == nil:
			c.take(e)
		case !broken(err):
			return "", fmt.Errorf("at %s, after %d events: %w", at, c.events, err)
		default:
			if err := lead("frankfurt", "killed"); err != nil {
				return "", err
			}
		}
	}
}

// told reads what is still to come and compares: with every region, and with what
// was written.
func told(l *load, c *cache, s *stream, path []string, took time.Duration) (string, error) {
	defer s.stop()
	docs, err := agreed(l.keyspace)
	if err != nil {
		return "", err
	}
	for begin := time.Now(); !maps.Equal(c.docs, docs); {
		if time.Since(begin) > settleLimit {
			return "", c.missed("every region", docs)
		}
		e, err := s.next(quiet)
		if err != nil {
			return "", errors.Join(err, c.missed("every region", docs))
		}
		c.take(e)
	}
	missing := 0
	for i := range int(l.done.Load()) {
		if i%10 < 8 && !c.told[key(i)] {
			missing++
		}
	}
	if missing > 0 || c.resets > 0 {
		return "", fmt.Errorf("%d documents of which it never heard, %d resets", missing, c.resets)
	}
	return fmt.Sprintf("%d changes in %.1f s, watched at %s, then tokyo: %d events, 0 missed, "+
		"%d told again, %d documents equal everywhere, longest cursor %d bytes, %d calls to a dead tokyo",
		l.done.Load(), took.Seconds(), strings.Join(path, ", "), c.events, c.again, len(docs),
		c.widest, l.dead.Load()), nil
}

// lags does not read for longer than a node waits, is dropped, and resumes where
// it was told to.
func lags() (string, error) {
	const keyspace, count = "lags", 64
	body := strings.Repeat("x", 512<<10)
	for i := range count {
		if _, err := call("PUT", region("frankfurt").url()+"/v1/docs/"+keyspace+"/"+key(i), body); err != nil {
			return "", err
		}
	}
	s, err := watch("frankfurt", keyspace, "", true)
	if err != nil {
		return "", err
	}
	defer s.stop()
	time.Sleep(patience + time.Second) // this is what the node is to notice
	c := newCache()
	var last event
	for last.name != "dropped" {
		if last, err = s.next(quiet); err != nil {
			return "", fmt.Errorf("a slow reader is not told that it is dropped, after %d events: %w", c.events, err)
		}
		c.take(last)
	}
	before := c.events
	if before == count || last.data.Cursor != last.id || last.data.Reason == "" {
		return "", fmt.Errorf("dropped after %d of %d events: %+v", before, count, last.data.Reason)
	}
	// The cursor is good in another region too.
	if s, err = watch("washington", keyspace, last.data.Cursor, false); err != nil {
		return "", err
	}
	defer s.stop()
	for len(c.docs) < count {
		e, err := s.next(quiet)
		if err != nil {
			return "", fmt.Errorf("%d of %d documents: %w", len(c.docs), count, err)
		}
		c.take(e)
	}
	return fmt.Sprintf("a reader that paused %v was dropped after %d of %d documents (%s); with the "+
		"cursor it was given it got the rest in washington, %d told again", patience+time.Second,
		before, count, last.data.Reason, c.again), nil
}

// restarts kills every node at once and starts them all: a cursor of before is good.
func restarts() (string, error) {
	const keyspace, count = "restarts", 500
	c := newCache()
	fill := func(from int) error {
		for i := range count {
			if _, err := call("PUT", region("tokyo").url()+"/v1/docs/"+keyspace+"/"+key(from+i), i); err != nil {
				return err
			}
		}
		return nil
	}
	read := func(want int) error {
		s, err := watch("tokyo", keyspace, c.cursor, false)
		if err != nil {
			return err
		}
		defer s.stop()
		for len(c.docs) < want {
			e, err := s.next(quiet)
			if err != nil {
				return fmt.Errorf("%d of %d documents: %w", len(c.docs), want, err)
			}
			c.take(e)
		}
		return nil
	}
	if err := errors.Join(fill(0), read(count)); err != nil {
		return "", err
	}
	for _, what := range []string{"kill", "start"} {
		for _, r := range regions {
			if err := node(what, r); err != nil {
				return "", err
			}
		}
	}
	if err := until(startLimit, "tokyo is ready", func() bool { return ready("tokyo") }); err != nil {
		return "", err
	}
	before := c.events
	if err := errors.Join(fill(count), read(2*count)); err != nil {
		return "", err
	}
	if c.resets > 0 {
		return "", fmt.Errorf("%d resets", c.resets)
	}
	return fmt.Sprintf("all nodes killed and started: %d documents before, %d events after, %d told again, no reset",
		count, c.events-before, c.again), nil
}
