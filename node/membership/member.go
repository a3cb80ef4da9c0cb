package membership

import (
	"encoding/binary"
	"errors"

	"github.com/hashicorp/memberlist"

	"github.com/atolledge/atoll"
)

// Member is a node that memberlist knows to be there.
type Member struct {
	Node        atoll.NodeID
	Region      atoll.Region
	Origin      atoll.Origin
	Incarnation uint64 // of the node's process
	Addr        string // where peers reach it, ip:port
}

// metaVersion is the first byte of a node's meta; others are not understood.
const metaVersion = 1

// errMeta is the cause of ignoring a node.
var errMeta = errors.New("membership: node meta is malformed")

// appendMeta appends what memberlist carries with a node's name and address:
//
//	version 1, origin 8, incarnation uvarint, region length uvarint and bytes
//
// Bytes after that are of later versions.
func appendMeta(dst []byte, m Member) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, metaVersion), uint64(m.Origin))
	dst = binary.AppendUvarint(dst, m.Incarnation)
	dst = binary.AppendUvarint(dst, uint64(len(m.Region)))
	return append(dst, m.Region...)
}

// decodeMeta fills in Origin, Incarnation and Region.
func decodeMeta(b []byte) (Member, error) {
	if len(b) < 9 || b[0] != metaVersion {
		return Member{}, errMeta
	}
	m := Member{Origin: atoll.Origin(binary.BigEndian.Uint64(b[1:]))}
	b = b[9:]
	incarnation, n := binary.Uvarint(b)
	if n <= 0 {
		return Member{}, errMeta
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > atoll.MaxRegion || size > uint64(len(b)-n) {
		return Member{}, errMeta
	}
	m.Incarnation, m.Region = incarnation, atoll.Region(b[n:n+int(size)])
	if m.Origin == 0 || m.Region == "" {
		return Member{}, errMeta
	}
	return m, nil
}

// memberOf reads a node as memberlist gives it.
func memberOf(n *memberlist.Node) (Member, error) {
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return Member{}, err
	}
	m.Node, m.Addr = atoll.NodeID(n.Name), n.Address()
	if m.Node.Region() != m.Region {
		return Member{}, errMeta
	}
	return m, nil
}
