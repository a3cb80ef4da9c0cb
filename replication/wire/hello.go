package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/atolledge/atoll"
)

// The wire versions that this code speaks.
const (
	MinVersion = 1
	MaxVersion = 1
)

// Limits of a HELLO, in bytes.
const (
	MaxHello   = 4 << 10 // the whole body, with fields of later versions
	maxCluster = 63      // a cluster's name
	maxNode    = 127     // a node's id: region, slash, number or name
)

// Features are optional abilities, a bit each. Two nodes use those that both
// have.
type Features uint64

// The features. Bits are never reused.
const (
	FeaturePacked Features = 1 << 0 // reads TypePacked frames on lanes and in pulls
)

// ClusterID names a cluster: names may repeat in the world, fingerprints do not.
type ClusterID struct {
	Name string
	CA   [32]byte // SHA-256 of the CA certificate's DER
}

// Hello is the first frame in each direction of a connection.
//
//	cluster string, ca 32, node string, origin 8, incarnation uvarint,
//	region string, wire min uvarint, wire max uvarint, features uvarint,
//	layout epoch uvarint
//
// where string is its length as uvarint and its bytes.
type Hello struct {
	Cluster     ClusterID
	Node        atoll.NodeID
	Origin      atoll.Origin
	Incarnation uint64 // grows with each start of the node's process
	Region      atoll.Region
	WireMin     uint64 // the oldest version spoken
	WireMax     uint64 // the newest
	Features    Features
	LayoutEpoch uint64
}

// Terms are what two nodes use with each other.
type Terms struct {
	Version  uint64
	Features Features
}

// Errors of Negotiate, for errors.Is. Each comes wrapped with both values.
var (
	ErrCluster = errors.New("wire: another cluster")
	ErrCA      = errors.New("wire: another certificate authority")
	ErrVersion = errors.New("wire: no common wire version")
)

// AppendHello appends the body of a HELLO frame to dst.
func AppendHello(dst []byte, h Hello) []byte {
	dst = appendString(dst, h.Cluster.Name)
	dst = append(dst, h.Cluster.CA[:]...)
	dst = appendString(dst, h.Node)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Origin))
	dst = binary.AppendUvarint(dst, h.Incarnation)
	dst = appendString(dst, h.Region)
	dst = binary.AppendUvarint(dst, h.WireMin)
	dst = binary.AppendUvarint(dst, h.WireMax)
	dst = binary.AppendUvarint(dst, uint64(h.Features))
	return binary.AppendUvarint(dst, h.LayoutEpoch)
}

// DecodeHello reads what AppendHello writes and ignores bytes after it, which
// a later version may have added. The error is ErrMalformed and names the field.
func DecodeHello(body []byte) (Hello, error) {
	f := fields{b: body}
	h := Hello{Cluster: ClusterID{Name: f.string("cluster", maxCluster)}}
	copy(h.Cluster.CA[:], f.bytes("ca", len(h.Cluster.CA)))
	h.Node = atoll.NodeID(f.string("node", maxNode))
	if b := f.bytes("origin", 8); b != nil {
		h.Origin = atoll.Origin(binary.BigEndian.Uint64(b))
	}
	h.Incarnation = f.uvarint("incarnation")
	h.Region = atoll.Region(f.string("region", atoll.MaxRegion))
	h.WireMin = f.uvarint("wire min")
	h.WireMax = f.uvarint("wire max")
	h.Features = Features(f.uvarint("features"))
	h.LayoutEpoch = f.uvarint("layout epoch")
	if f.bad != "" {
		return Hello{}, fmt.Errorf("%w: HELLO %s", ErrMalformed, f.bad)
	}
	return h, h.check()
}

// check tests what must hold between the fields of a HELLO.
func (h Hello) check() error {
	switch {
	case h.Node == "" || h.Region == "" || h.Cluster.Name == "":
		return fmt.Errorf("%w: HELLO with an empty name", ErrMalformed)
	case h.Node.Region() != h.Region:
		return fmt.Errorf("%w: HELLO node %q in region %q", ErrMalformed, h.Node, h.Region)
	case h.Origin == 0:
		return fmt.Errorf("%w: HELLO with origin 0", ErrMalformed)
	case h.WireMin > h.WireMax:
		return fmt.Errorf("%w: HELLO wire %d..%d", ErrMalformed, h.WireMin, h.WireMax)
	}
	return nil
}

// Negotiate returns the terms between h and peer: the newest version and the
// features that both have. The error is ErrCluster, ErrCA or ErrVersion. Both
// sides come to the same result.
func (h Hello) Negotiate(peer Hello) (Terms, error) {
	version := min(h.WireMax, peer.WireMax)
	switch {
	case h.Cluster.Name != peer.Cluster.Name:
		return Terms{}, fmt.Errorf("%w: here %q, there %q", ErrCluster, h.Cluster.Name, peer.Cluster.Name)
	case h.Cluster.CA != peer.Cluster.CA:
		return Terms{}, fmt.Errorf("%w: here %x…, there %x…", ErrCA,
			h.Cluster.CA[:4], peer.Cluster.CA[:4])
	case version < max(h.WireMin, peer.WireMin):
		return Terms{}, fmt.Errorf("%w: here %d..%d, there %d..%d", ErrVersion,
			h.WireMin, h.WireMax, peer.WireMin, peer.WireMax)
	}
	return Terms{Version: version, Features: h.Features & peer.Features}, nil
}

func appendString[S ~string](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// fields takes values off the front of b. After a failure bad names the field
// and all further values are zero.
type fields struct {
	b   []byte
	bad string
}

func (f *fields) fail(name string) {
	f.b = nil
	if f.bad == "" {
		f.bad = name
	}
}

// uvarint takes a varint in its shortest form.
func (f *fields) uvarint(name string) uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 || n > 1 && f.b[n-1] == 0 {
		f.fail(name)
		return 0
	}
	f.b = f.b[n:]
	return v
}

// bytes takes n bytes, which alias the input.
func (f *fields) bytes(name string, n int) []byte {
	if n > len(f.b) {
		f.fail(name)
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) string(name string, limit int) string {
	n := f.uvarint(name)
	if n > uint64(limit) {
		f.fail(name)
		return ""
	}
	return string(f.bytes(name, int(n)))
}
