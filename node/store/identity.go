package store

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
)

// Keys of the node itself; replication's begin with a letter.
var (
	keyOrigin      = []byte{0, 'o'}
	keyIncarnation = []byte{0, 'i'}
	keyFenced      = []byte{0, 'f'}
	keyExpelled    = []byte{0, 'x'}
)

// Identity is what a data directory gives to the node that opens it.
type Identity struct {
	Origin      atoll.Origin
	Incarnation uint64 // grows with each start
	Minted      bool   // the origin is new
}

// Begin notes a start of the node and returns who it is. A directory that is
// new, or whose origin was fenced, gets a new origin from random; so does one
// whose origin the cluster has forgotten, which begins empty.
func (s *Store) Begin(random io.Reader) (Identity, error) {
	v := s.Snapshot()
	id := Identity{
		Origin:      atoll.Origin(number(v, keyOrigin)),
		Incarnation: number(v, keyIncarnation) + 1,
	}
	fenced := number(v, keyFenced) == uint64(id.Origin)
	expelled := id.Origin != 0 && number(v, keyExpelled) == uint64(id.Origin)
	v.Close()
	if err := v.Err(); err != nil {
		return Identity{}, fmt.Errorf("store: %w", err)
	}
	if expelled {
		// Broken off, it begins anew: the mark goes with the rest, and then there is
		// no origin either.
		if err := s.db.DropAll(); err != nil {
			return Identity{}, fmt.Errorf("store: dropping what a forgotten origin held: %w", err)
		}
		id.Origin = 0
	}
	if id.Minted = id.Origin == 0 || fenced; id.Minted {
		var b [8]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return Identity{}, fmt.Errorf("store: minting an origin: %w", err)
		}
		id.Origin = atoll.Origin(binary.BigEndian.Uint64(b[:]) | 1) // never zero
	}
	return id, s.Commit([]replication.Write{
		{Key: keyOrigin, Value: binary.BigEndian.AppendUint64(nil, uint64(id.Origin))},
		{Key: keyIncarnation, Value: binary.BigEndian.AppendUint64(nil, id.Incarnation)},
	})
}

// Fence returns the write that makes the next Begin mint a new origin.
func Fence(o atoll.Origin) replication.Write {
	return replication.Write{Key: keyFenced, Value: binary.BigEndian.AppendUint64(nil, uint64(o))}
}

// Expel returns the write that makes the next Begin start empty.
func Expel(o atoll.Origin) replication.Write {
	return replication.Write{Key: keyExpelled, Value: binary.BigEndian.AppendUint64(nil, uint64(o))}
}

func number(v replication.View, key []byte) uint64 {
	b, ok := v.Get(key)
	if !ok || len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
