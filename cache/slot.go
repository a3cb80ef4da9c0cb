package cache

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/golang/groupcache"
	pb "github.com/golang/groupcache/groupcachepb"

	"github.com/atolledge/atoll"
)

// groupcache keeps its groups in a table of the process, for ever, and knows one
// function that gives them their peers. So a node cannot own a group: it rents
// one, and gives it back when it closes. slots is that table's other half, the
// only state at package level here, and it grows to the most Tiers of one size
// that were open at once. What a Tier leaves in its group is out of reach for
// the next: keys begin with the life of the slot. It is the first to be evicted.
var slots struct {
	sync.Mutex
	once sync.Once
	all  map[string]*slot
	free map[int64][]*slot // by memory
}

// slot is one group and the Tier that has it.
type slot struct {
	group  *groupcache.Group
	memory int64
	life   uint64
	tier   atomic.Pointer[Tier]
}

// acquire gives t a group of memory bytes, and the life that its keys carry.
func acquire(t *Tier, memory int64) (*slot, uint64) {
	slots.Lock()
	defer slots.Unlock()
	slots.once.Do(func() {
		slots.all, slots.free = make(map[string]*slot), make(map[int64][]*slot)
		groupcache.RegisterPerGroupPeerPicker(pickerOf)
	})
	var s *slot
	if free := slots.free[memory]; len(free) > 0 {
		s = free[len(free)-1]
		slots.free[memory] = free[:len(free)-1]
	} else {
		s = &slot{memory: memory}
		name := fmt.Sprintf("atoll/chunks/%d", len(slots.all))
		s.group = groupcache.NewGroup(name, memory, groupcache.GetterFunc(s.load))
		slots.all[name] = s
	}
	s.life++
	s.tier.Store(t)
	return s, s.life
}

// release gives the group back.
func (s *slot) release() {
	slots.Lock()
	defer slots.Unlock()
	s.tier.Store(nil)
	slots.free[s.memory] = append(slots.free[s.memory], s)
}

func pickerOf(group string) groupcache.PeerPicker {
	slots.Lock()
	defer slots.Unlock()
	if s := slots.all[group]; s != nil {
		return s
	}
	return groupcache.NoPeers{}
}

// The kinds of key. A chunk that this node is to load itself and one that its
// owner is asked for are different keys to groupcache, so that an owner's load
// never waits for one that waits for another node: where two nodes take each
// other for the owner, both loads end.
const (
	kindOwn   = 'l'
	kindOwned = 'r'
)

// key is kind 1, life 8, hash 32.
func key(kind byte, life uint64, h atoll.Hash) string {
	b := binary.BigEndian.AppendUint64([]byte{kind}, life)
	return string(append(b, h[:]...))
}

func hashOf(key string) (h atoll.Hash) {
	copy(h[:], key[9:])
	return h
}

// load is the group's getter.
func (s *slot) load(ctx context.Context, key string, dest groupcache.Sink) error {
	t := s.tier.Load()
	if t == nil {
		return errClosed
	}
	return t.load(ctx, hashOf(key), dest)
}

// PickPeer implements groupcache.PeerPicker: the owner, if it is another node.
func (s *slot) PickPeer(key string) (groupcache.ProtoGetter, bool) {
	t := s.tier.Load()
	if t == nil || key[0] == kindOwn {
		return nil, false
	}
	owner := Ranked(hashOf(key), t.cfg.Owners())
	if len(owner) == 0 || owner[0] == t.cfg.Self {
		return nil, false
	}
	return peer{t, owner[0]}, true
}

// peer is groupcache's way to a chunk's owner.
type peer struct {
	tier *Tier
	node atoll.NodeID
}

// Get implements groupcache.ProtoGetter.
func (p peer) Get(ctx context.Context, in *pb.GetRequest, out *pb.GetResponse) error {
	h := hashOf(in.GetKey())
	b, err := p.tier.checked(h, func() ([]byte, error) {
		return p.tier.cfg.Ask(ctx, p.node, h, homesOf(ctx))
	})
	out.Value = b
	return err
}
