package main

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

// happened is all that ever changes in a fake world; a cursor is the number of
// events behind it.
var happened = []atoll.Event{
	{Kind: atoll.EventPut, Key: "a", Body: []byte(`{"n":1}`), ETag: "e1"},
	{Kind: atoll.EventPut, Key: "b\x1b", Body: []byte(`{"n":"<&>"}`), ETag: "e2"},
	{Kind: atoll.EventMark},
	{Kind: atoll.EventDelete, Key: "a"},
	{Kind: atoll.EventReset},
	{Kind: atoll.EventPut, Key: "c", Body: []byte(`[]`), ETag: "e3"},
}

// Watch tells a few events, then the node stops.
func (w *fakeWorld) Watch(_ context.Context, ask atoll.Watch) iter.Seq2[[]atoll.Event, error] {
	return func(yield func([]atoll.Event, error) bool) {
		at, err := strconv.Atoi(strings.TrimPrefix("0"+string(ask.Cursor), "0c"))
		switch {
		case ask.Keyspace == "nowhere":
			yield(nil, atoll.Errorf(atoll.UnknownKeyspace, "there is no keyspace %q", ask.Keyspace))
			return
		case err != nil:
			yield(nil, atoll.Errorf(atoll.BadRequest, "the cursor is none of this watch"))
			return
		}
		for n, e := range happened[at:min(at+4, len(happened))] {
			e.Cursor = atoll.Cursor("c" + strconv.Itoa(at+n+1))
			if !yield([]atoll.Event{e}, nil) {
				return
			}
		}
		yield(nil, atoll.Errorf(atoll.ShuttingDown, "this node is stopping"))
	}
}

func TestReadEvents(t *testing.T) {
	for _, c := range []struct {
		text string
		want []event
	}{
		{"", nil},
		{": hello\n\n", []event{{}}},
		{"id: 1\nevent: put\ndata: {}\n\n", []event{{"1", "put", []byte("{}")}}},
		{"data:a\ndata: b\ndata\n\n", []event{{"", "", []byte("a\nb\n")}}},
		{"id: 1\n\nevent: x\ndata: y\n\n", []event{{id: "1"}, {"1", "x", []byte("y")}}},
		{"id: 1\r\ndata: y\r\n\r\n", []event{{"1", "", []byte("y")}}},
		{"id: 1\nevent: put\ndata: cut", nil},
		{"retry: 5\nfoo: bar\ndata: x:y\n\n", []event{{"", "", []byte("x:y")}}},
	} {
		var got []event
		for e, err := range readEvents(strings.NewReader(c.text)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		same := len(got) == len(c.want)
		for i := range got {
			same = same && got[i].id == c.want[i].id && got[i].name == c.want[i].name &&
				string(got[i].data) == string(c.want[i].data)
		}
		if !same {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// TestResumable: what asking again cannot mend ends the command.
func TestResumable(t *testing.T) {
	for err, want := range map[error]bool{
		brokenWatch(errors.New("x")):                       true,
		dropped([]byte(`{"reason":"slow"}`)):               true,
		dropped([]byte(`?`)):                               true,
		atoll.Errorf(atoll.RateLimited, "many"):            true,
		atoll.Errorf(atoll.UnknownKeyspace, "no keyspace"): false,
		atoll.Errorf(atoll.BadRequest, "a bad cursor"):     false,
		atoll.Errorf(atoll.Unauthenticated, "who?"):        false,
		misuse("--api"):                                    false,
	} {
		if resumable(err) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
}
