package main

import (
	"fmt"
	"maps"
)

// cache is what a reader of events knows of a keyspace.
type cache struct {
	docs   map[string]string // by key, as JSON
	etags  map[string]string
	told   map[string]bool // keys of which it ever heard
	events int
	again  int // puts of what it had, deletes of what it knew to be gone
	resets int
	cursor string // of the last event
	widest int    // bytes of the longest cursor
}

func newCache() *cache {
	return &cache{docs: map[string]string{}, etags: map[string]string{}, told: map[string]bool{}}
}

// take takes an event in.
func (c *cache) take(e event) {
	c.cursor = e.id
	c.widest = max(c.widest, len(e.id))
	switch e.name {
	case "put":
		if c.etags[e.data.Key] == e.data.ETag {
			c.again++
		}
		c.docs[e.data.Key], c.etags[e.data.Key] = string(e.data.Doc), e.data.ETag
	case "delete":
		if _, had := c.docs[e.data.Key]; !had && c.told[e.data.Key] {
			c.again++
		}
		delete(c.docs, e.data.Key)
		delete(c.etags, e.data.Key)
	case "reset":
		c.resets++
		clear(c.docs)
		clear(c.etags)
		return
	default:
		return
	}
	c.events++
	c.told[e.data.Key] = true
}

// missed says what stands between the cache and what a region has.
func (c *cache) missed(r region, docs map[string]string) error {
	for key, doc := range docs {
		if c.docs[key] != doc {
			return fmt.Errorf("%s is %s in %s and %q in the cache", key, doc, r, c.docs[key])
		}
	}
	for key := range maps.Keys(c.docs) {
		if _, ok := docs[key]; !ok {
			return fmt.Errorf("%s is gone in %s and not in the cache", key, r)
		}
	}
	return nil
}
