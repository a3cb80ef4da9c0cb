package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of patience: those of a machine that does much else.
const (
	settleLimit = 90 * time.Second // for the regions to agree
	startLimit  = 60 * time.Second // for a node to be ready again
	callLimit   = 20 * time.Second // for one answer
	pause       = 20 * time.Millisecond
)

// region is one of the dev world.
type region string

var regions = []region{"washington", "frankfurt", "tokyo"}

func (r region) url() string {
	for i, x := range regions {
		if x == r {
			return fmt.Sprintf("http://127.0.%d.1:8080", i+1)
		}
	}
	panic("no region " + r)
}

var client = http.Client{Timeout: callLimit, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// call sends a request and returns the body of an answer that is a success.
func call(method, url string, body any) ([]byte, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	q, err := http.NewRequest(method, url, in)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, out)
	}
	return out, err
}

// node kills or starts the node of a region.
func node(what string, r region) error {
	_, err := call("POST", "http://127.0.0.1:8080/v1/dev/nodes/"+what, map[string]string{"node": string(r) + "/1"})
	return err
}

func ready(r region) bool {
	_, err := call("GET", r.url()+"/readyz", nil)
	return err == nil
}

// until waits for a condition.
func until(limit time.Duration, what string, ok func() bool) error {
	for begin := time.Now(); !ok(); time.Sleep(pause) {
		if time.Since(begin) > limit {
			return fmt.Errorf("not within %v: %s", limit, what)
		}
	}
	return nil
}

// export returns all documents that a region has.
func export(r region, keyspace string) (map[string]string, error) {
	out, err := call("GET", r.url()+"/v1/docs/"+keyspace+"/_export", nil)
	docs := map[string]string{}
	for line := range bytes.Lines(out) {
		var item struct {
			Key string
			Doc json.RawMessage
		}
		if err := json.Unmarshal(line, &item); err != nil {
			return nil, err
		}
		docs[item.Key] = string(item.Doc)
	}
	return docs, err
}

// agreed waits until all regions export the same, and returns it.
func agreed(keyspace string) (docs map[string]string, err error) {
	return docs, until(settleLimit, "the regions agree", func() bool {
		first, err := call("GET", regions[0].url()+"/v1/docs/"+keyspace+"/_export", nil)
		for _, r := range regions[1:] {
			out, fault := call("GET", r.url()+"/v1/docs/"+keyspace+"/_export", nil)
			if err != nil || fault != nil || !bytes.Equal(first, out) {
				return false
			}
		}
		docs, err = export(regions[0], keyspace)
		return err == nil
	})
}

// load writes changes, each acknowledged by some region: of ten one writes over and
// one deletes what an earlier one wrote.
type load struct {
	keyspace string
	next     atomic.Int64 // change to be written
	done     atomic.Int64 // acknowledged
	dead     atomic.Int64 // calls that a dead region did not answer
	work     sync.WaitGroup
	once     sync.Once
	err      error
}

func (l *load) start(changes, writers int) {
	for range writers {
		l.work.Go(func() {
			for i := l.next.Add(1) - 1; i < int64(changes); i = l.next.Add(1) - 1 {
				if err := l.change(int(i)); err != nil {
					l.once.Do(func() { l.err = err })
					return
				}
				l.done.Add(1)
			}
		})
	}
}

// change makes one change: in its region, or the next one that answers.
func (l *load) change(i int) (err error) {
	for try := range len(regions) {
		r := regions[(i+try)%len(regions)]
		switch doc := r.url() + "/v1/docs/" + l.keyspace + "/"; i % 10 {
		case 8:
			_, err = call("PUT", doc+key(i-len(regions)), map[string]int{"again": i})
		case 9:
			_, err = call("DELETE", doc+key(i-len(regions)), nil)
		default:
			_, err = call("PUT", doc+key(i), map[string]int{"change": i})
		}
		if err == nil {
			return nil
		}
		l.dead.Add(1)
	}
	return err
}

func key(i int) string { return fmt.Sprintf("k%05d", i) }
