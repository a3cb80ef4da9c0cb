package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// maxLine bounds a line of an export; documents here have a few bytes.
const maxLine = 1 << 20

// client is what one writer did: documents of its own, one write each, and
// increments of one counter.
type client struct {
	name         string
	puts, incs   int // acknowledged
	tried, added int // sent; what was not answered may be there or not
	holes        map[int]bool
}

// ledger is what all writers were told.
type ledger struct{ clients []*client }

func newLedger(n int) *ledger {
	l := new(ledger)
	for i := range n {
		l.clients = append(l.clients, &client{name: fmt.Sprintf("c%02d", i), holes: map[int]bool{}})
	}
	return l
}

func (l *ledger) acknowledged() (n int) {
	for _, c := range l.clients {
		n += c.puts + c.incs
	}
	return n
}

// tested implements workload.
func (l *ledger) tested(rounds int) error {
	if n := l.acknowledged(); n < rounds {
		return fmt.Errorf("only %d writes were acknowledged in %d rounds", n, rounds)
	}
	return nil
}

func (l *ledger) String() string { return fmt.Sprintf("acknowledged=%d", l.acknowledged()) }

// load implements workload.
func (l *ledger) load(url string, end func()) int {
	before := l.acknowledged()
	transport := &http.Transport{MaxIdleConnsPerHost: len(l.clients)}
	defer transport.CloseIdleConnections()
	h := &http.Client{Transport: transport}
	var work sync.WaitGroup
	for _, c := range l.clients {
		work.Go(func() {
			for c.write(h, url) {
			}
		})
	}
	end()
	work.Wait()
	return l.acknowledged() - before
}

// write makes the client's next write; false when it got no answer.
func (c *client) write(h *http.Client, url string) bool {
	if c.tried%4 == 3 && c.added < c.tried/3 {
		c.added++
		ok := send(h, "PATCH", url+"/v1/docs/kill/count/"+c.name, "application/vnd.atoll.ops+json",
			`{"ops":[{"op":"inc","path":"/n","by":1}]}`)
		if ok {
			c.incs++
		}
		return ok
	}
	i := c.tried
	c.tried++
	ok := send(h, "PUT", fmt.Sprintf("%s/v1/docs/kill/doc/%s/%06d", url, c.name, i),
		"application/json", fmt.Sprintf(`{"i":%d}`, i))
	if ok {
		c.puts++
	} else {
		c.holes[i] = true
	}
	return ok
}

// send reports whether a write was acknowledged.
func send(h *http.Client, method, url, kind, body string) bool {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", kind)
	r, err := h.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	return r.StatusCode == http.StatusCreated || r.StatusCode == http.StatusNoContent
}

// verify implements workload.
func (l *ledger) verify(url string) (int, error) {
	docs, err := export(url)
	if err != nil {
		return 0, err
	}
	for _, c := range l.clients {
		for i := range c.tried {
			key := fmt.Sprintf("doc/%s/%06d", c.name, i)
			got, ok := docs[key]
			if !ok && !c.holes[i] {
				return 0, fmt.Errorf("LOST: %s was acknowledged and is not there", key)
			}
			if ok && got.I != i {
				return 0, fmt.Errorf("WRONG: %s says %d", key, got.I)
			}
		}
		if n := docs["count/"+c.name].N; n < c.incs || n > c.added {
			return 0, fmt.Errorf("LOST: counter of %s is %d, acknowledged %d of %d",
				c.name, n, c.incs, c.added)
		}
	}
	return len(docs), nil
}

// doc is a document of this test: I of a writer's own, N of its counter.
type doc struct{ I, N int }

// export reads all documents. Before the first write there is no keyspace.
func export(url string) (map[string]doc, error) {
	r, err := http.Get(url + "/v1/docs/kill/_export")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	docs := make(map[string]doc)
	if r.StatusCode == http.StatusNotFound {
		return docs, nil
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var item struct {
			Key string
			Doc doc
		}
		if err := json.Unmarshal(lines.Bytes(), &item); err != nil {
			return nil, fmt.Errorf("export: %q: %w", lines.Text(), err)
		}
		docs[item.Key] = item.Doc
	}
	return docs, lines.Err()
}
