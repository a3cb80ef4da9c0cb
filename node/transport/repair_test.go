package transport

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/wire"
)

// BenchmarkRepair changes 1 % of many documents at one replica while another is
// cut off, and counts every byte that both then say until they agree, as frames
// and as the packed frames that cross an ocean: beside the keys and bodies of
// what was changed, which have to travel in any case. Bodies are random text.
func BenchmarkRepair(b *testing.B) {
	const docs, changed = 100_000, 1_000
	s := newStrait(b)
	for i := range docs {
		s.put(i, 0)
	}
	s.connect()
	s.disconnect()
	rng := rand.New(rand.NewPCG(1, 1))
	for round := 1; b.Loop(); round++ {
		live := 0
		for _, i := range rng.Perm(docs)[:changed] {
			live += s.put(i, round)
		}
		s.bytes, s.packed, s.docs = 0, 0, 0
		s.connect()
		s.disconnect()
		s.flush()
		b.ReportMetric(float64(s.packed)/float64(live), "packed-of-live-bytes")
		b.ReportMetric(float64(s.bytes)/float64(live), "of-live-bytes")
		b.ReportMetric(float64(s.docs)/changed, "docs-sent-per-changed")
		b.ReportMetric(float64(s.bytes-live)/changed, "other-bytes-per-doc")
	}
}

// strait is two replicas and what goes between them, each message as its frame.
type strait struct {
	b           *testing.B
	now         time.Time
	nodes       [2]*shore
	packer      *packer
	frames      []byte // since the last flush
	scratch     []byte
	bytes, docs int
	packed      int
	id          uint64
	rng         *rand.Rand
}

// shore is one of them.
type shore struct {
	self  replication.Member
	core  *replication.Core
	store *replication.Memory
	sends []replication.Send
	pulls []replication.OpenPull
	wake  time.Time
}

const benchSpace = atoll.Keyspace("bench")

func newStrait(b *testing.B) *strait {
	m, err := newMetrics(nil)
	if err != nil {
		b.Fatal(err)
	}
	s := &strait{b: b, now: time.Unix(1_700_000_000, 0), rng: rand.New(rand.NewPCG(7, 7))}
	if s.packer, err = newPacker(m); err != nil {
		b.Fatal(err)
	}
	for i := range s.nodes {
		region := atoll.Region('a' + rune(i))
		n := &shore{store: replication.NewMemory(), self: replication.Member{
			Origin: atoll.Origin(0x9e3779b97f4a7c15 * uint64(i+1)), Node: atoll.NodeID(region + "/1"), Region: region}}
		n.core = replication.New(replication.Config{Self: n.self, View: n.store, Chunk: 256, Keep: 4096,
			Rand: rand.New(rand.NewPCG(uint64(i), 1))}, s.now)
		s.nodes[i] = n
		s.step(i, replication.Wake{})
	}
	for i := range s.nodes {
		s.step(i, replication.Layout{Members: []replication.Member{s.nodes[0].self, s.nodes[1].self}})
	}
	return s
}

// put writes document i and returns how many bytes its key and body have.
func (s *strait) put(i, round int) int {
	key := atoll.Key(fmt.Sprintf("item/%07d", i))
	text := make([]byte, 174) // 232 characters
	for j := range text {
		text[j] = byte(s.rng.Uint32())
	}
	body := fmt.Sprintf(`{"round":%d,"text":"%s"}`, round, base64.RawURLEncoding.EncodeToString(text))
	tree, err := crdt.Parse([]byte(body))
	if err != nil {
		s.b.Fatal(err)
	}
	s.id++
	s.now = s.now.Add(time.Millisecond)
	s.step(0, replication.Mutate{ID: s.id, Keyspace: benchSpace, Key: key,
		Edit: func(e *crdt.Edit) error { return crdt.Put(e, tree) }})
	return len(key) + len(body)
}

func (s *strait) step(i int, in replication.Input) {
	n := s.nodes[i]
	out := n.core.Step(s.now, in)
	n.store.Apply(out.Writes)
	n.sends = append(n.sends, out.Sends...)
	n.pulls = append(n.pulls, out.Pulls...)
	n.wake = out.Wake
}

func (s *strait) connect() {
	for i, n := range s.nodes {
		s.step(1-i, replication.PeerUp{Member: n.self})
	}
	for !s.agreed() {
		if !s.carry() {
			next := s.nodes[0].wake
			if s.nodes[1].wake.Before(next) {
				next = s.nodes[1].wake
			}
			s.now = s.now.Add(max(next.Sub(s.now), time.Millisecond))
			s.step(0, replication.Wake{})
			s.step(1, replication.Wake{})
		}
	}
}

// disconnect ends the session once all that was said has arrived.
func (s *strait) disconnect() {
	for s.carry() {
	}
	for i, n := range s.nodes {
		s.step(1-i, replication.PeerDown{Node: n.self.Node})
	}
}

// carry delivers what is on its way; false when nothing is.
func (s *strait) carry() (any bool) {
	for i, n := range s.nodes {
		sends, pulls := n.sends, n.pulls
		n.sends, n.pulls = nil, nil
		any = any || len(sends)+len(pulls) > 0
		for _, m := range sends {
			s.count(m.Message)
			s.step(1-i, replication.Receive{From: n.self.Node, Message: m.Message})
		}
		for _, p := range pulls {
			s.count(p.Pull)
			view := s.nodes[1-i].store.Snapshot()
			_ = replication.Answer(view, p.Pull, func(m replication.Message) error {
				s.count(m)
				s.step(i, replication.PullEvent{Session: p.Session, Message: m})
				return nil
			})
		}
	}
	return any
}

func (s *strait) count(m replication.Message) {
	if _, ok := m.(replication.Doc); ok {
		s.docs++
	}
	_ = wire.EmitPull(m, func(t wire.Type, body []byte) error {
		n := len(s.frames)
		s.frames = wire.AppendFrame(s.frames, t, body)
		s.bytes += len(s.frames) - n
		return nil
	})
	if len(s.frames) >= pullBuffer {
		s.flush()
	}
}

func (s *strait) flush() {
	var packed []byte
	packed, s.scratch = s.packer.pack(s.frames, s.scratch)
	s.packed += len(packed)
	s.frames = s.frames[:0]
}

func (s *strait) agreed() bool {
	for p := range benchSpace.Partitions() {
		a := replication.Address{Keyspace: benchSpace, Partition: p}
		zero, one := s.nodes[0].core.Clock(a), s.nodes[1].core.Clock(a)
		if !zero.Equal(one) {
			return false
		}
	}
	return true
}
