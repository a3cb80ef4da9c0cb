package replication

import (
	"bytes"
	"testing"

	"github.com/atolledge/atoll"
)

// TestDamagedDocument makes the stored bytes of a document unreadable at one of
// two nodes: it is refused there and deleted nowhere, and comes back with its next
// change.
func TestDamagedDocument(t *testing.T) {
	s := cores(t, 2, 16)
	a, b := s.nodes[0], s.nodes[1]
	put(t, s, a, testSpace, "x", []byte("1"))
	put(t, s, a, testSpace, "y", []byte("2"))
	s.pass("3s")
	at := DocKey(testSpace, 0, "x")
	whole, _ := b.store.Get(at)
	b.store.Apply([]Write{{at, []byte{0xff, 0xff, 0xff}}})

	if r := put(t, s, b, testSpace, "x", []byte("3")); atoll.KindOf(r.Err) != atoll.Internal {
		t.Errorf("a write of it: %v", r.Err)
	}
	for _, full := range []bool{false, true} {
		if full {
			clock := b.core.Clock(testAddress)
			s.step(b, Cut{testAddress, clock.Runs()[0]})
		}
		err := Answer(b.store, Pull{Address: testAddress}, func(m Message) error {
			if d, ok := m.(Doc); ok && d.Key == "x" {
				t.Errorf("answers with %+v", d)
			}
			return nil
		})
		if atoll.KindOf(err) != atoll.Internal {
			t.Errorf("an answer to a pull ends with %v", err)
		}
	}
	if err := InRanges(b.store, testAddress, []int{ScrubRange("x")}, func(Message) error { return nil }); err == nil {
		t.Error("scrubbing tells of it")
	}
	if sums, ok := SumsOf(b.store, testAddress, a.core.Clock(testAddress)); !ok || !sums.Touched[ScrubRange("x")] {
		t.Error("scrubbing compares it")
	}

	put(t, s, a, testSpace, "y", []byte("4")) // others go on
	s.pass("3s")
	if ay, by := s.docs(a, "y"), s.docs(b, "y"); !bytes.Equal(ay, by) {
		t.Errorf("y is %x and %x", ay, by)
	}
	put(t, s, a, testSpace, "x", []byte("5"))
	s.pass("5s")
	ax, bx := s.docs(a, "x"), s.docs(b, "x")
	if !bytes.Equal(ax, bx) || len(bx) == 0 || bytes.Equal(bx, whole) {
		t.Errorf("x is %x and %x, was %x", ax, bx, whole)
	}
	if r := put(t, s, b, testSpace, "x", []byte("6")); r.Err != nil {
		t.Errorf("whole again, a write: %v", r.Err)
	}
}

// docs returns the live part of a stored document.
func (s *script) docs(n *scripted, key atoll.Key) []byte {
	d := decodeStored(n.store.Get(DocKey(testSpace, 0, key)))
	return d.Append(nil)
}
