package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Times of clients.
const (
	think       = 15 * time.Millisecond // between two requests of a client, in the mean
	patience    = 3 * time.Second       // for one answer: nodes stop for longer
	sessionEnds = 10 * time.Second      // a session that is behind for so long is given up
)

// wrote is one change that a client asked for and what it was told.
type wrote struct {
	answered bool // acknowledged; else it may be there or not
	safe     bool // at level regions:2
	node     *node
	wipes    int64 // of the node when it was acknowledged
}

// excused reports whether an acknowledged change may be gone: it was promised to
// one disk, and that is lost.
func (w wrote) excused() bool { return !w.safe && w.node.wipes.Load() != w.wipes }

// document is one that only one client writes.
type document struct {
	put, del wrote
	deleted  bool // del was asked for
}

// client writes documents of its own and remembers what it was told.
type client struct {
	crowd  *crowd
	name   string
	home   int // region
	rng    *rand.Rand
	token  string
	behind time.Time // since when the session is behind, without a success

	docs     []document
	incs     []wrote
	version  int // last that was tried
	floor    int // what the session must not read below
	versions []wrote

	reads, late, sessions int
}

// crowd is all clients.
type crowd struct {
	c       *cluster
	http    *http.Client
	all     []*client
	stop    context.CancelFunc
	ctx     context.Context
	work    sync.WaitGroup
	failed  chan struct{} // closed when a guarantee was broken
	mu      sync.Mutex
	problem error
}

func newCrowd(c *cluster, n int, seed uint64) *crowd {
	x := &crowd{c: c, failed: make(chan struct{}),
		http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: n}}}
	x.ctx, x.stop = context.WithCancel(context.Background())
	for i := range n {
		x.all = append(x.all, &client{crowd: x, name: fmt.Sprintf("c%02d", i), home: i % len(regions),
			rng: rand.New(rand.NewPCG(seed, uint64(i+100)))})
	}
	return x
}

// begin lets the clients go.
func (x *crowd) begin() {
	for _, c := range x.all {
		x.work.Go(func() {
			for x.ctx.Err() == nil {
				c.act()
				select {
				case <-x.ctx.Done():
				case <-time.After(time.Duration(c.rng.Int64N(2 * int64(think)))):
				}
			}
		})
	}
}

// end stops them after their last answer.
func (x *crowd) end() {
	x.stop()
	x.work.Wait()
}

// fail records the first broken promise.
func (x *crowd) fail(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.problem == nil {
		x.problem = fmt.Errorf(format, args...)
		close(x.failed)
	}
}

func (x *crowd) broken() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.problem
}

// act does one thing, mostly at home.
func (c *client) act() {
	n := c.node()
	switch p := c.rng.IntN(100); {
	case p < 35:
		c.putDoc(n)
	case p < 45:
		c.deleteDoc(n)
	case p < 60:
		c.increment(n)
	case p < 70:
		c.putVersion(n)
	case p < 90:
		c.readVersion(n)
	default:
		c.fight(n)
	}
}

// node returns one at home, or now and then anywhere.
func (c *client) node() *node {
	region := c.home
	if c.rng.IntN(5) == 0 {
		region = c.rng.IntN(len(regions))
	}
	return c.crowd.c.nodes[region*nodesPerRegion+c.rng.IntN(nodesPerRegion)]
}

// request is one call; safe asks for two regions.
type request struct {
	method, key, kind, body string
	safe, session           bool
	header                  [2]string // one more
}

// errUnanswered means that the change may have been made or not.
var errUnanswered = errors.New("no answer")

// do sends r to n. Status 0 is no answer.
func (c *client) do(n *node, r request) (status int, body []byte, err error) {
	req, err := http.NewRequest(r.method, n.url+"/v1/docs/"+keyspace+"/"+r.key, strings.NewReader(r.body))
	if err != nil {
		return 0, nil, err
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	if r.safe {
		req.Header.Set("Atoll-Durability", "regions:2")
		req.Header.Set("Atoll-Timeout", "2s")
	}
	if r.session && c.token != "" {
		req.Header.Set("Atoll-Session", c.token)
	}
	if r.header[0] != "" {
		req.Header.Set(r.header[0], r.header[1])
	}
	res, err := c.crowd.http.Do(req)
	if err != nil {
		return 0, nil, errUnanswered
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		return 0, nil, errUnanswered
	}
	if r.session {
		c.follow(res, body)
	}
	return res.StatusCode, body, nil
}

// follow takes the session's new token, or gives the session up when it has been
// behind for long: what it saw may have been lost with a disk.
func (c *client) follow(res *http.Response, body []byte) {
	behind := res.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), "problem:behind")
	switch {
	case behind && c.behind.IsZero():
		c.late++
		c.behind = time.Now()
	case behind:
		c.late++
		if time.Since(c.behind) > sessionEnds {
			c.token, c.floor, c.behind = "", 0, time.Time{}
			c.sessions++
		}
	default:
		c.behind = time.Time{}
		if t := res.Header.Get("Atoll-Session"); t != "" {
			c.token = t
		}
	}
}

// made turns an answer into what is remembered. A level that was not reached in
// time leaves the write where it is, promised to one disk.
func (c *client) made(n *node, wipes int64, safe bool, status int, body []byte) wrote {
	ok := status == http.StatusCreated || status == http.StatusNoContent || status == http.StatusOK
	if status == http.StatusServiceUnavailable && strings.Contains(string(body), "durability-not-reached") {
		ok, safe = true, false
	}
	return wrote{answered: ok, safe: safe, node: n, wipes: wipes}
}

// write sends a change and remembers it. wipes is read before: a directory that
// is lost between the request and the answer is lost.
func (c *client) write(n *node, r request) (wrote, int) {
	wipes := n.wipes.Load()
	status, body, _ := c.do(n, r)
	if status >= 500 && status != http.StatusServiceUnavailable || status == http.StatusBadRequest {
		c.crowd.fail("%s %s at %s: status %d: %s", r.method, r.key, n.id, status, body)
	}
	return c.made(n, wipes, r.safe, status, body), status
}

func (c *client) docKey(i int) string { return fmt.Sprintf("doc/%s/%05d", c.name, i) }

func (c *client) putDoc(n *node) {
	i := len(c.docs)
	w, _ := c.write(n, request{method: "PUT", key: c.docKey(i), kind: "application/json",
		body: fmt.Sprintf(`{"i":%d,"by":%q}`, i, c.name), safe: c.rng.IntN(3) == 0, session: true})
	c.docs = append(c.docs, document{put: w})
}

// deleteDoc deletes one of the last documents, in whatever region: the session
// makes the node see it first.
func (c *client) deleteDoc(n *node) {
	i := len(c.docs) - 1 - c.rng.IntN(50)
	if i < 0 || c.docs[i].deleted || !c.docs[i].put.answered || c.token == "" {
		return
	}
	w, status := c.write(n, request{method: "DELETE", key: c.docKey(i), safe: c.rng.IntN(3) == 0,
		session: true, header: [2]string{"If-Match", "*"}})
	switch status {
	case http.StatusPreconditionFailed: // the session is younger than the document
		return
	case http.StatusServiceUnavailable:
		if !w.answered {
			return // refused: nothing has changed
		}
	}
	c.docs[i].del, c.docs[i].deleted = w, true
}

func (c *client) increment(n *node) {
	w, _ := c.write(n, request{method: "PATCH", key: "count/" + c.name,
		kind: "application/vnd.atoll.ops+json", body: `{"ops":[{"op":"inc","path":"/n","by":1}]}`,
		safe: c.rng.IntN(3) == 0})
	c.incs = append(c.incs, w)
}

// putVersion writes a number that only grows.
func (c *client) putVersion(n *node) {
	c.version++
	w, _ := c.write(n, request{method: "PUT", key: "v/" + c.name, kind: "application/json",
		body: fmt.Sprintf(`{"v":%d}`, c.version), safe: c.rng.IntN(3) == 0, session: true})
	c.versions = append(c.versions, w)
	if w.answered && c.token != "" {
		c.floor = c.version
	}
}

// readVersion reads it anywhere, with the session.
func (c *client) readVersion(n *node) {
	floor, had := c.floor, c.token != ""
	status, body, err := c.do(n, request{method: "GET", key: "v/" + c.name, session: true})
	if err != nil || status == http.StatusServiceUnavailable {
		return
	}
	c.reads++
	var doc struct{ V int }
	if status == http.StatusOK {
		if err := json.Unmarshal(body, &doc); err != nil {
			c.crowd.fail("v/%s at %s: %q", c.name, n.id, body)
		}
	}
	if had && doc.V < floor && !c.doubtful(doc.V) {
		c.crowd.fail("SESSION: %s read version %d of v/%s at %s after it had seen %d", c.name, doc.V, c.name, n.id, floor)
	}
	if doc.V > c.version {
		c.crowd.fail("INVENTED: version %d of v/%s at %s, %d were written", doc.V, c.name, n.id, c.version)
	}
	if c.token != "" {
		c.floor = max(c.floor, doc.V)
	}
}

// doubtful reports whether version v was never answered: a node that was stopped
// may have made that write when it went on, after all that were written since.
func (c *client) doubtful(v int) bool {
	return v > 0 && v <= len(c.versions) && !c.versions[v-1].answered
}

// fight writes what all others write too.
func (c *client) fight(n *node) {
	key := fmt.Sprintf("hot/%d", c.rng.IntN(5))
	switch c.rng.IntN(4) {
	case 0:
		c.write(n, request{method: "DELETE", key: key})
	case 1:
		c.write(n, request{method: "PUT", key: key, kind: "application/json",
			body: fmt.Sprintf(`{"by":%q,"tags":["a"]}`, c.name)})
	default:
		c.write(n, request{method: "PATCH", key: key, kind: "application/vnd.atoll.ops+json",
			body: fmt.Sprintf(`{"ops":[{"op":"inc","path":"/n","by":1},{"op":"add","path":"/tags","value":%q}]}`, c.name)})
	}
}
