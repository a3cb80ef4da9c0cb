package api_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/node"
	"github.com/atolledge/atoll/node/transport"
)

// startNode runs a cluster of one until the test ends.
func startNode(t *testing.T, change ...func(*node.Config)) *node.Node {
	t.Helper()
	ca, err := transport.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	const id = atoll.NodeID("tokyo/1")
	cert, err := ca.Issue(transport.Spec{Node: id}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := node.Config{
		Node: id, Lat: 35.7, Lon: 139.7, Dir: filepath.Join(t.TempDir(), "data"), Peer: conn,
		Advertise: conn.LocalAddr().String(), Addresses: []string{"127.0.3.1"}, CA: ca,
		Certificate: cert, Clock: time.Now, Random: rand.Reader,
		Rand: mrand.New(mrand.NewPCG(1, 2)), Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&cfg)
	}
	n, err := node.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, n)
	return n
}

// run runs n until the test ends.
func run(t *testing.T, n *node.Node) {
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-end; err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSuiteOnNode holds the real node to what the fake is held to.
func TestSuiteOnNode(t *testing.T) {
	suite(t, func(t *testing.T) api.Node { return startNode(t) })
}

// onNode runs a test on a real node over HTTP/1.1 and HTTP/2.
func onNode(t *testing.T, f func(*testing.T, client), change ...func(*api.Config)) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			f(t, connect(t, serve(t, newServer(t, startNode(t), change...)), http2))
		})
	}
}

// TestNodeLimits: depth, cells, bytes of a request and of a merged document,
// each on both sides of its limit.
func TestNodeLimits(t *testing.T) {
	onNode(t, func(t *testing.T, c client) {
		deep := func(n int) string {
			return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1)
		}
		wide := func(n int) string {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, `,"k%d":1`, i)
			}
			return "{" + b.String()[1:] + "}"
		}
		c.want(c.put(star, deep(32)), 201)
		c.want(c.put(star, wide(4000)), 204)
		for what, body := range map[string]string{
			"depth": deep(33), "very deep": deep(100_000), "cells": wide(4200),
			"arrays": strings.Repeat("[", 33) + strings.Repeat("]", 33),
			"bytes":  `"` + strings.Repeat("x", api.MaxDocument) + `"`,
		} {
			p := c.refused(c.put(star, body), 413, atoll.TooLarge)
			if p.Limit == nil || p.Limit.Name == "" || p.Limit.Value == 0 {
				t.Errorf("%s: the problem names no limit: %+v", what, p)
			}
		}
		c.want(c.get(star), 200, sorted(wide(4000)))
	})
}

// sorted is what a document reads as: its keys in byte order.
func sorted(doc string) string {
	var tree map[string]int
	if err := json.Unmarshal([]byte(doc), &tree); err != nil {
		panic(err)
	}
	return string(jsonText(tree))
}

// TestNodeMergedLimit: patches cannot grow a document over its limit, and over
// it only what shrinks it is taken.
func TestNodeMergedLimit(t *testing.T) {
	n := startNode(t)
	c := connect(t, serve(t, newServer(t, n)), true)
	merge := headers{"Content-Type", "application/merge-patch+json"}
	big := strings.Repeat("x", 1000<<10)
	grew := 0
	for ; grew < 12; grew++ {
		r := c.do("PATCH", star, merge, fmt.Sprintf(`{"f%d":%q}`, grew, big))
		if r.StatusCode >= 300 {
			p := c.refused(r, 413, atoll.TooLarge)
			if p.Limit == nil || p.Limit.Value != 8<<20 {
				t.Errorf("%+v", p)
			}
			break
		}
	}
	if grew != 8 {
		t.Errorf("took %d patches of 1,000 KiB", grew)
	}
	c.want(c.do("PATCH", star, merge, `{"f0":null}`), 204)
	c.want(c.do("PATCH", star, merge, `{"small":1}`), 204)
}

// TestNodeHeaders: durability, timeout, TTL, session.
func TestNodeHeaders(t *testing.T) {
	onNode(t, func(t *testing.T, c client) {
		c.want(c.put(star, `{}`, "Atoll-Durability", "all"), 201)
		for _, level := range []string{"local", "region", "regions:1"} {
			c.want(c.put(star, `{}`, "Atoll-Durability", level), 204)
		}
		c.refused(c.put(star, `{"v":9}`, "Atoll-Durability", "regions:2"),
			409, atoll.DurabilityImpossible)
		for _, h := range [][2]string{
			{"Atoll-Durability", "most"}, {"Atoll-Durability", "regions:0"},
			{"Atoll-Durability", "regions:x"}, {"Atoll-Timeout", "soon"}, {"Atoll-Timeout", "-1s"},
			{"Atoll-TTL", "1"}, {"Atoll-TTL", "-1h"}, {"Atoll-Session", "!!!"}, {"Atoll-Session", "AQ9"},
			{"If-Match", "nope"}, {"If-None-Match", `W/`}, {"Idempotency-Key", "x"},
		} {
			method, body := "PUT", `{"v":9}`
			ct := "application/json"
			if h[0] == "Idempotency-Key" {
				method, ct = "PATCH", "application/merge-patch+json"
			}
			c.refused(c.do(method, star, headers{"Content-Type", ct, h[0], h[1]}, body),
				400, atoll.BadRequest)
		}
		c.want(c.get(star), 200, `{}`)
		c.want(c.put(star, `{"v":1}`, "Atoll-TTL", "1h"), 204)
		c.want(c.get(star), 200, `{"v":1}`)
	})
}

// TestNodeStrangers: bad tokens, hosts and origins get nowhere near the node.
func TestNodeStrangers(t *testing.T) {
	onNode(t, func(t *testing.T, c client) {
		writer := []string{"Authorization", "Bearer w"}
		c.want(c.put(star, `{"v":1}`, writer...), 201)
		c.refused(c.put(star, `{}`), 401, atoll.Unauthenticated)
		for _, bad := range []string{"Bearer x", "Bearer ", "Basic dzp3", "w", "Bearer w w", "bearer"} {
			c.refused(c.put(star, `{}`, "Authorization", bad), 401, atoll.Unauthenticated)
		}
		c.refused(c.put(star, `{}`, "Authorization", "Bearer r"), 403, atoll.Forbidden)
		c.refused(c.do("POST", "/v1/regions/tokyo/drain", writer, ""), 403, atoll.Forbidden)
		for _, host := range []string{"evil.example", "evil.example:8080", "127.0.0.1.evil.example",
			"localhost.evil.example", "xn--atoll-.test"} {
			c.refused(c.put(star, `{}`, append(writer, "Host", host)...), 421, atoll.BadRequest)
		}
		c.refused(c.put(star, `{}`, append(writer, "Origin", "https://evil.example")...),
			403, atoll.Forbidden)
		c.want(c.get(star, writer...), 200, `{"v":1}`)
	}, withTokens(t))
}

// TestNodeRegions: a region that there is, one that there is not, the last one.
func TestNodeRegions(t *testing.T) {
	n := startNode(t)
	c := connect(t, serve(t, newServer(t, n)), false)
	until(t, "the node is in the roster", func() bool { return len(n.Cluster().Regions) == 1 })
	c.refused(c.do("POST", "/v1/regions/tokyo/drain", nil, ""), 412, atoll.PreconditionFailed)
	c.want(c.do("POST", "/v1/regions/tokyo/drain?force=1", nil, ""), 204)
	until(t, "tokyo is drained", func() bool {
		return n.Cluster().Regions[0].State == atoll.StateDrained
	})
	c.want(c.do("POST", "/v1/regions/tokyo/undrain", nil, ""), 204)
	until(t, "tokyo is up", func() bool { return n.Cluster().Regions[0].State == atoll.StateUp })
	c.refused(c.do("POST", "/v1/regions/atlantis/drain", nil, ""), 404, atoll.UnknownRegion)
	c.refused(c.do("POST", "/v1/regions/%ff/drain", nil, ""), 404, atoll.UnknownRegion)
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestNodeFullDisk: 507 for what adds, while reads and deletes go on.
func TestNodeFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	t.Run("with room", func(t *testing.T) {
		n := startNode(t, func(c *node.Config) { c.Dir = dir })
		c := connect(t, serve(t, newServer(t, n)), false)
		c.want(c.put(star, `{"v":1}`), 201)
		c.want(c.put(star+"x", `{"v":1}`), 201)
	})
	n := startNode(t, func(c *node.Config) { c.Dir, c.Reserve = dir, 1<<60 })
	c := connect(t, serve(t, newServer(t, n)), false)
	p := c.refused(c.put(star, `{"v":2}`), 507, atoll.DiskFull)
	if p.Hint == "" || p.Limit == nil || p.Limit.Name != "limits.disk_reserve" {
		t.Errorf("%+v", p)
	}
	c.refused(c.do("PATCH", star, headers{"Content-Type", "application/merge-patch+json"}, `{}`),
		507, atoll.DiskFull)
	c.refused(c.put("/v1/keyspaces/stars", `{"ttl_ms":1000}`), 507, atoll.DiskFull)
	c.want(c.get(star), 200, `{"v":1}`)
	c.want(c.do("DELETE", star, nil, ""), 204)
	c.refused(c.get(star), 404, atoll.NotFound)
	if keys, _ := c.keys("/v1/docs/stars"); len(keys) != 1 {
		t.Errorf("keys %v", keys)
	}
}

// TestNodeIfMatchRaces: 32 clients that read, change and write with If-Match:
// no increment is lost.
func TestNodeIfMatchRaces(t *testing.T) {
	onNode(t, func(t *testing.T, c client) {
		const clients, each = 32, 4
		c.want(c.put(star, `{"n":0}`), 201)
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range each {
					for {
						r := c.get(star)
						var doc struct{ N int }
						c.decodeInto(r, &doc)
						w := c.put(star, fmt.Sprintf(`{"n":%d}`, doc.N+1), "If-Match", r.Header.Get("ETag"))
						if w.StatusCode == 204 {
							break
						}
						if w.StatusCode != 412 {
							t.Errorf("%d %s", w.StatusCode, w.body)
							return
						}
					}
				}
			})
		}
		all.Wait()
		c.want(c.get(star), 200, fmt.Sprintf(`{"n":%d}`, clients*each))
	})
}
