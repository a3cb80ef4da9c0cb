package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/geodns/steer"
)

// fakeWorld is an api.Node that keeps documents in a map, and the dev world's
// protocol beside it. It is naive on purpose: the commands are under test here,
// not replication.
type fakeWorld struct {
	mu      sync.Mutex
	docs    map[atoll.Keyspace]map[atoll.Key]fakeDoc
	drained map[atoll.Region]bool
	links   []link
	nodes   []devNode
}

type fakeDoc struct {
	body    map[string]any
	etag    string
	version int
}

func newFakeWorld() *fakeWorld {
	w := &fakeWorld{
		docs:    map[atoll.Keyspace]map[atoll.Key]fakeDoc{},
		drained: map[atoll.Region]bool{},
		links:   []link{{From: "east", To: "west", RTTMS: 86}, {From: "west", To: "east", RTTMS: 86}},
	}
	for _, id := range []string{"east/1", "west/1", "west/2"} {
		region, n, _ := strings.Cut(id, "/")
		w.nodes = append(w.nodes, devNode{id, region, "running", "http://127.0." + n + ".1:8080"})
	}
	return w
}

func (w *fakeWorld) Self() atoll.NodeID { return "east/1" }
func (w *fakeWorld) Ready() []string    { return nil }

func (w *fakeWorld) Read(_ context.Context, r atoll.Read) (atoll.Document, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ks, ok := w.docs[r.Keyspace]
	if !ok {
		return atoll.Document{}, atoll.Errorf(atoll.UnknownKeyspace,
			"there is no keyspace %q", r.Keyspace).WithHint("the first write makes it")
	}
	d, ok := ks[r.Key]
	if !ok {
		return atoll.Document{}, atoll.Errorf(atoll.NotFound, "there is no document %q", r.Key)
	}
	doc := d.document(r.Key)
	if r.Key == "contested" {
		at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
		doc.Conflicts = []atoll.Conflict{{Path: "/a", Kind: "register", Values: []atoll.Value{
			{JSON: []byte(`1`), Origin: 7, Region: "east", Time: at, Winner: true},
			{JSON: []byte(`"two"`), Origin: 8, Time: at.Add(-time.Second)},
		}}}
	}
	doc.Session = "seen"
	return doc, nil
}

func (d fakeDoc) document(k atoll.Key) atoll.Document {
	body, err := json.Marshal(d.body)
	if err != nil {
		panic(err)
	}
	return atoll.Document{Key: k, Body: body, ETag: d.etag}
}

func (w *fakeWorld) Write(_ context.Context, req atoll.Write) (atoll.Written, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if req.Keyspace == "full" {
		return atoll.Written{}, atoll.Errorf(atoll.DiskFull, "the disk is below its reserve").
			WithHint("make room, or lower limits.disk_reserve").WithLimit("disk_reserve", 512<<20)
	}
	if w.docs[req.Keyspace] == nil {
		w.docs[req.Keyspace] = map[atoll.Key]fakeDoc{}
	}
	old, existed := w.docs[req.Keyspace][req.Key]
	if len(req.IfNoneMatch) > 0 && existed || len(req.IfMatch) > 0 && req.IfMatch[0] != "*" &&
		req.IfMatch[0] != old.etag {
		return atoll.Written{}, atoll.Errorf(atoll.PreconditionFailed, "the document is another by now")
	}
	if req.Change == atoll.Delete {
		delete(w.docs[req.Keyspace], req.Key)
		return atoll.Written{Existed: existed, Session: "wrote"}, nil
	}
	body, err := change(old.body, req)
	if err != nil {
		return atoll.Written{}, err
	}
	d := fakeDoc{body, fmt.Sprintf("etag%d", old.version+1), old.version + 1}
	w.docs[req.Keyspace][req.Key] = d
	return atoll.Written{Existed: existed, ETag: d.etag, Session: "wrote"}, nil
}

// change applies a write to the top-level fields of a document.
func change(old map[string]any, req atoll.Write) (map[string]any, error) {
	body := maps.Clone(old)
	if body == nil || req.Change == atoll.Put {
		body = map[string]any{}
	}
	d := json.NewDecoder(strings.NewReader(string(req.Body)))
	d.UseNumber()
	if req.Change == atoll.Ops {
		var batch struct{ Ops []operation }
		if err := d.Decode(&batch); err != nil {
			return nil, atoll.Errorf(atoll.BadJSON, "%v", err)
		}
		// The order is kept where a test can see it.
		for _, op := range batch.Ops {
			line := op.Op + " " + string(op.By) + string(op.Value)
			if op.Member != nil {
				line += " of " + *op.Member
			}
			name := strings.TrimPrefix(op.Path, "/")
			body[name] = strings.TrimSpace(fmt.Sprint(cmp.Or(body[name], any("")), " ", line))
		}
		return body, nil
	}
	var fields map[string]any
	if err := d.Decode(&fields); err != nil {
		return nil, atoll.Errorf(atoll.BadJSON, "%v", err)
	}
	for name, v := range fields {
		if body[name] = v; v == nil {
			delete(body, name)
		}
	}
	return body, nil
}

func (w *fakeWorld) List(_ context.Context, l atoll.Listing) (atoll.Page, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.docs[l.Keyspace] == nil {
		return atoll.Page{}, atoll.Errorf(atoll.UnknownKeyspace, "there is no keyspace %q", l.Keyspace)
	}
	var page atoll.Page
	for _, k := range slices.Sorted(maps.Keys(w.docs[l.Keyspace])) {
		if k <= l.After || !strings.HasPrefix(string(k), l.Prefix) {
			continue
		}
		if len(page.Items) == l.Limit {
			page.Next = page.Items[l.Limit-1].Key
			break
		}
		page.Items = append(page.Items, w.docs[l.Keyspace][k].document(k))
	}
	return page, nil
}

func (w *fakeWorld) Settings(context.Context, atoll.Keyspace) (atoll.Settings, error) {
	return atoll.Settings{}, nil
}

func (w *fakeWorld) Configure(context.Context, atoll.Keyspace, atoll.Settings) (bool, error) {
	return false, nil
}

func (w *fakeWorld) Conflicts() []atoll.Conflicted { return nil }

func (w *fakeWorld) Cluster() atoll.Cluster {
	return atoll.Cluster{Name: "atoll", Self: "east/1", Regions: []atoll.RegionView{
		{Name: "east", Lat: 50.1, Lon: 8.7, State: atoll.StateUp, Nodes: []atoll.NodeView{
			{ID: "east/1", Addr: "127.0.1.1:7950", State: atoll.StateUp},
		}},
		{
			Name: "west", Lat: -38.9, Lon: -77, State: atoll.StateDown,
			Votes: []atoll.Vote{{Voter: "east", Age: time.Second}, {Voter: "south", Up: true}},
			Nodes: []atoll.NodeView{{
				ID: "west/1", Addr: "127.0.2.1:7950", State: atoll.StateDown,
				RTT: 86 * time.Millisecond, Behind: atoll.Behind{Dots: 12, Lag: 1500 * time.Millisecond},
			}},
		},
	}}
}

func (w *fakeWorld) Drain(_ context.Context, r atoll.Region, force bool) error {
	if r != "east" && r != "west" {
		return atoll.Errorf(atoll.UnknownRegion, "there is no region %q", r).
			WithHint("regions: east, west")
	}
	if r == "east" && !force {
		return atoll.Errorf(atoll.BadRequest, "no healthy region would remain").
			WithHint("drain it all the same with ?force=1")
	}
	w.drained[r] = true
	return nil
}

func (w *fakeWorld) Undrain(_ context.Context, r atoll.Region) error {
	delete(w.drained, r)
	return nil
}

func (w *fakeWorld) explain(name, ip string) (any, error) {
	e := geodns.Explanation{
		Name: name, Client: ip, Source: "argument", Range: "192.0.2.0/24", TTL: 30, MapVersion: "1",
		Place: &geodns.Place{Country: "DE", Lat: 50, Lon: 8.7}, Answer: []string{"127.0.1.1"},
		List: []steer.Candidate{
			{Region: "east", KM: 12.3, State: "up", Eligible: true, Why: "chosen: the nearest"},
			{Region: "west", KM: 6531, State: "down", Why: "down",
				Votes: []steer.Vote{{Voter: "east"}, {Voter: "south", Up: true}}},
		},
	}
	if strings.HasPrefix(ip, "127.") {
		e.Place = nil
	}
	return e, nil
}

// dev answers the protocol of the dev world.
func (w *fakeWorld) dev() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/dev/wan", func(rw http.ResponseWriter, _ *http.Request) {
		var links []map[string]any
		for _, l := range w.links {
			links = append(links, map[string]any{
				"from": l.From, "to": l.To, "rtt_ms": l.RTTMS, "jitter_ms": 1.5, "loss": 0.01,
				"cut": l.Cut, "packets": map[string]int{"sent": 10, "delivered": 9, "dropped": 1},
			})
		}
		writeTest(rw, map[string]any{"links": links})
	})
	mux.HandleFunc("POST /v1/dev/wan/{what}", func(rw http.ResponseWriter, r *http.Request) {
		var ask struct {
			A, B   string
			OneWay bool    `json:"one_way"`
			RTTMS  float64 `json:"rtt_ms"`
		}
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		for i := range w.links {
			l := &w.links[i]
			forth, back := l.From == ask.A && l.To == ask.B, l.From == ask.B && l.To == ask.A
			switch r.PathValue("what") {
			case "cut":
				l.Cut = l.Cut || forth || back && !ask.OneWay
			case "slow":
				if forth || back {
					l.RTTMS = ask.RTTMS
				}
			case "heal":
				l.Cut, l.RTTMS = false, 86
			}
		}
	})
	mux.HandleFunc("GET /v1/dev/nodes", func(rw http.ResponseWriter, _ *http.Request) {
		var nodes []map[string]string
		for _, n := range w.nodes {
			nodes = append(nodes, map[string]string{
				"id": n.ID, "region": n.Region, "state": n.State, "http": n.HTTP,
			})
		}
		writeTest(rw, map[string]any{"nodes": nodes})
	})
	mux.HandleFunc("POST /v1/dev/nodes/{what}", func(rw http.ResponseWriter, r *http.Request) {
		var ask struct{ Node string }
		_ = json.NewDecoder(r.Body).Decode(&ask)
		i := slices.IndexFunc(w.nodes, func(n devNode) bool { return n.ID == ask.Node })
		if i < 0 {
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(http.StatusNotFound)
			writeTest(rw, map[string]string{
				"type": "urn:atoll:problem:not-found", "detail": "there is no node " + ask.Node,
			})
			return
		}
		w.nodes[i].State = map[string]string{"kill": "killed", "start": "running"}[r.PathValue("what")]
	})
	return mux
}

func writeTest(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func (w *fakeWorld) Leave(_ context.Context, id atoll.NodeID) error {
	if id != w.Self() {
		return atoll.Errorf(atoll.BadRequest, "this is %s", w.Self())
	}
	return nil
}

func (w *fakeWorld) Forget(_ context.Context, id atoll.NodeID) ([]atoll.Origin, error) {
	if id == w.Self() {
		return nil, atoll.Errorf(atoll.PreconditionFailed, "%s is connected", id)
	}
	return []atoll.Origin{7}, nil
}
