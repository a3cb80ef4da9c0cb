package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxCursor is what the API promises of the length of an id, in bytes.
const maxCursor = 4096

// event is one server-sent event (HTML, section 9.2.6); name is "" of one that
// only moves the cursor or keeps the connection.
type event struct {
	id, name string
	data     struct {
		Key, ETag, Reason, Cursor string
		Doc                       json.RawMessage
	}
}

// stream is an open watch.
type stream struct {
	in     *bufio.Reader
	id     string // of the last event
	socket net.Conn
	stop   context.CancelFunc
}

// watch opens a watch in a region, behind a cursor if there is one. The socket of
// one that is to read slowly gets a small buffer.
func watch(r region, keyspace, cursor string, slowly bool) (*stream, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &stream{id: cursor, stop: stop}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if tcp, ok := c.(*net.TCPConn); ok && slowly {
				err = tcp.SetReadBuffer(64 << 10)
			}
			s.socket = c
			return c, err
		},
	}}
	q, err := http.NewRequestWithContext(ctx, "GET", r.url()+"/v1/watch/"+keyspace, nil)
	if err != nil {
		stop()
		return nil, err
	}
	if cursor != "" {
		q.Header.Set("Last-Event-ID", cursor)
	}
	resp, err := client.Do(q)
	if err != nil {
		stop()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		stop()
		return nil, fmt.Errorf("watching at %s: %s", r, resp.Status)
	}
	s.in = bufio.NewReader(resp.Body)
	return s, nil
}

// next returns the next event, or an error when none comes within patience.
func (s *stream) next(patience time.Duration) (e event, err error) {
	// What came before the end of the socket is read all the same.
	err = s.socket.SetReadDeadline(time.Now().Add(patience))
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return e, err
	}
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n":
			e.id = s.id
			return e, nil
		case name == "id":
			s.id = value
		case name == "event":
			e.name = value
		case name == "data": // our JSON has no line breaks in it
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				return e, fmt.Errorf("event %s: %w", e.name, err)
			}
		}
		if len(s.id) > maxCursor {
			return e, fmt.Errorf("a cursor of %d bytes", len(s.id))
		}
	}
}

// broken reports whether a stream ended because its node did, not in silence.
func broken(err error) bool {
	slow, ok := errors.AsType[net.Error](err)
	return !ok || !slow.Timeout()
}
