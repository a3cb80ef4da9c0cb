package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// open is a stream that reads what was written before its other end closed.
func open(t *testing.T, text string) *stream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(theirs, text)
		_ = theirs.Close()
	}()
	return &stream{in: bufio.NewReader(ours), socket: ours, stop: func() {}}
}

func TestCache(t *testing.T) {
	const put = "id: 1\nevent: put\ndata: {\"key\":\"a\",\"etag\":\"e1\",\"doc\":{\"n\":1}}\n\n"
	const gone = "id: 2\nevent: delete\ndata: {\"key\":\"a\"}\n\n"
	for _, c := range []struct {
		name, text            string
		docs                  map[string]string
		events, again, resets int
		cursor                string
	}{
		{"a put", put, map[string]string{"a": `{"n":1}`}, 1, 0, 0, "1"},
		{"the same again", put + put, map[string]string{"a": `{"n":1}`}, 2, 1, 0, "1"},
		{"put and delete", put + gone, nil, 2, 0, 0, "2"},
		{"two deletes", put + gone + gone, nil, 3, 1, 0, "2"},
		{"a delete of what it never had", gone, nil, 1, 0, 0, "2"},
		{"a beat and a mark", ":\n\nid: 9\n\n", nil, 0, 0, 0, "9"},
		{"a reset", put + "id: 3\nevent: reset\ndata: {}\n\n", nil, 1, 0, 1, "3"},
		{"one that is cut off", put + "id: 4\nevent: del", map[string]string{"a": `{"n":1}`}, 1, 0, 0, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, got := open(t, c.text), newCache()
			for {
				e, err := s.next(time.Minute)
				if err != nil {
					if !broken(err) {
						t.Errorf("%v does not count as broken", err)
					}
					break
				}
				got.take(e)
			}
			if err := got.missed("here", c.docs); err != nil {
				t.Error(err)
			}
			if got.events != c.events || got.again != c.again || got.resets != c.resets || got.cursor != c.cursor {
				t.Errorf("%d events, %d again, %d resets, at %s", got.events, got.again, got.resets, got.cursor)
			}
		})
	}
}

// What a stream and a cache would let pass must fail.
func TestMissed(t *testing.T) {
	c := newCache()
	c.docs["a"] = "1"
	for _, docs := range []map[string]string{{}, {"a": "2"}, {"a": "1", "b": "1"}} {
		if c.missed("here", docs) == nil {
			t.Errorf("%v is not what the cache has", docs)
		}
	}
	s := open(t, "id: "+strings.Repeat("x", maxCursor+1)+"\n\n")
	if _, err := s.next(time.Minute); err == nil || !strings.Contains(err.Error(), "4097 bytes") {
		t.Errorf("too long a cursor: %v", err)
	}
}
