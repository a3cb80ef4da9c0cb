package wire

import (
	"encoding/binary"

	"github.com/atolledge/atoll"
)

// The frames of media. Each call has a stream of its own, whose request is the
// first, the second or the last of these frames and whose answer is one of the
// others.
const (
	TypeChunkGet    Type = 48 // hash 32, flags 1 (1: through), list of node string
	TypeObjectKeep  Type = 49 // manifest 32, size, list of node string
	TypeChunk       Type = 50 // bytes
	TypeChunkAbsent Type = 51 // empty: not here, or not to be had
	TypeObjectKept  Type = 52 // empty: all of it is durable there
	TypeChunkKeep   Type = 53 // hash 32
)

const flagThrough = 1

// maxHomes bounds the nodes that one request names.
const maxHomes = 64

// ChunkGet asks for the chunk Hash. Through asks a node that does not have it to
// get it from others of the cluster, Homes first; else it says that it is absent.
type ChunkGet struct {
	Hash    atoll.Hash
	Through bool
	Homes   []atoll.NodeID
}

// ObjectKeep asks a node to fetch all chunks of an object of Size bytes, Homes
// first, and to answer when they are on its disk.
type ObjectKeep struct {
	Manifest atoll.Hash
	Size     int64
	Homes    []atoll.NodeID
}

// ChunkKeep asks a node to fetch one chunk from the node that asks, of an object
// that is on its way, and to answer when it is on its disk.
type ChunkKeep struct{ Hash atoll.Hash }

// Append appends g's frame to b.
func (g ChunkGet) Append(b []byte) []byte {
	body := append(g.Hash[:len(g.Hash):len(g.Hash)], flags(g.Through, flagThrough))
	return AppendFrame(b, TypeChunkGet, appendNodes(body, g.Homes))
}

// Append appends k's frame to b.
func (k ObjectKeep) Append(b []byte) []byte {
	body := binary.AppendUvarint(k.Manifest[:len(k.Manifest):len(k.Manifest)], uint64(k.Size))
	return AppendFrame(b, TypeObjectKeep, appendNodes(body, k.Homes))
}

// Append appends k's frame to b.
func (k ChunkKeep) Append(b []byte) []byte {
	return AppendFrame(b, TypeChunkKeep, k.Hash[:])
}

// DecodeChunkGet reads the body of a TypeChunkGet.
func DecodeChunkGet(body []byte) (ChunkGet, error) {
	d := decoder{b: body}
	var g ChunkGet
	g.Hash = d.hash()
	g.Through = d.byte()&flagThrough != 0
	g.Homes = d.nodes()
	return g, d.err("chunk request")
}

// DecodeObjectKeep reads the body of a TypeObjectKeep.
func DecodeObjectKeep(body []byte) (ObjectKeep, error) {
	d := decoder{b: body}
	k := ObjectKeep{Manifest: d.hash()}
	size := d.uvarint()
	if size > atoll.MaxMedia {
		d.bad = true
	}
	k.Size, k.Homes = int64(size), d.nodes()
	return k, d.err("object to keep")
}

// DecodeChunkKeep reads the body of a TypeChunkKeep.
func DecodeChunkKeep(body []byte) (ChunkKeep, error) {
	d := decoder{b: body}
	k := ChunkKeep{d.hash()}
	return k, d.err("chunk to keep")
}

func appendNodes(b []byte, nodes []atoll.NodeID) []byte {
	nodes = nodes[:min(len(nodes), maxHomes)]
	b = binary.AppendUvarint(b, uint64(len(nodes)))
	for _, n := range nodes {
		b = appendString(b, n)
	}
	return b
}

func (d *decoder) hash() (h atoll.Hash) {
	copy(h[:], d.bytes(uint64(len(h))))
	return h
}

func (d *decoder) nodes() []atoll.NodeID {
	nodes := make([]atoll.NodeID, d.count(1))
	if len(nodes) > maxHomes {
		d.bad = true
		return nil
	}
	for i := range nodes {
		nodes[i] = atoll.NodeID(d.string())
	}
	return nodes
}
