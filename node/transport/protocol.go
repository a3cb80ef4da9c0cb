package transport

import (
	"time"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll/replication/wire"
)

// The protocol above QUIC, ALPN "atoll/1". After the TLS handshake the dialer
// opens a bidi stream for HELLO; nothing else is read before both HELLOs fit.
//
//	bidi stream  kind 1, HELLO frame      -> HELLO frame, once per connection
//	             kind 2, request until FIN -> frames until FIN (a pull)
//	             kind 3, pool 1, any bytes both ways (memberlist)
//	             kind 6, request until FIN -> frames until FIN (a call: chunks)
//	             kind 7, request until FIN -> frames until FIN (a client's read)
//	uni stream   kind 4, frames without end (the control lane)
//	             kind 5, frames without end (the eager lane)
//	datagram     pool 1, bytes: pool 0 is the Handler's, others memberlist's
//
// Calls to another region have connections of their own beside it, of ALPN
// "atoll-calls/1", that carry bidi streams of kind 6 and nothing else (bulk.go).
//
// On lanes and in pulls, frames to a peer in another region that has the feature
// may be packed: one frame holds them, compressed.
const (
	alpn = "atoll/1"

	kindHello   = 1
	kindPull    = 2
	kindGossip  = 3
	kindControl = 4
	kindEager   = 5
	kindCall    = 6
	kindRead    = 7

	poolHandler = 0
)

// Limits in bytes, unless their names say otherwise.
const (
	// MaxDatagram is the most that one datagram carries: what fits into a
	// packet of packetSize behind the QUIC headers, whatever the path.
	MaxDatagram = 1150

	// MaxPullRequest bounds the request of a pull: a clock of many origins.
	MaxPullRequest = 1 << 20

	// packetSize is that of every packet: paths of 1,280 bytes carry it over
	// IPv6. The path is not probed for more, because a path that shrinks later
	// would swallow a connection whole.
	packetSize = 1200

	// Windows: at 229 ms they let a stream carry 36 MB/s.
	streamWindowFirst = 1 << 20
	streamWindow      = 8 << 20
	connWindowFirst   = 2 << 20
	connWindow        = 32 << 20

	// pullBuffer gathers the frames of a pull's answer into one write.
	pullBuffer = 32 << 10

	maxStreams    = 1024 // bidi streams that a peer may have open: pulls and gossip
	maxUniStreams = 2    // the two lanes

	maxHandshakes = 1024 // incoming ones under way; more are refused
	retryFrom     = 64   // incoming ones from which on addresses are validated
	maxGreetings  = 256  // accepted connections that have not said HELLO
	maxDials      = 256  // outgoing ones under way
	maxWants      = 1024 // addresses that Connect keeps

	datagramQueue = 256 // datagrams waiting in front of QUIC, for each peer
	packetQueue   = 1024
	streamQueue   = 64
	pendingQueue  = 16 // gossip packets that wait for a dial, for each address
)

// Times. A peer that says nothing for idleTimeout is down; keepAlive leaves it
// three chances.
const (
	keepAlive        = time.Second
	idleTimeout      = 4 * time.Second
	handshakeTimeout = 4 * time.Second
	helloTimeout     = 4 * time.Second
	kindTimeout      = 5 * time.Second
	dialTimeout      = 10 * time.Second

	// PullSilence is how long the answer to a pull may bring no byte while
	// somebody waits for it. Each that stands still holds one of the core's
	// sessions. A node reads its disk for that long only if the disk is lost.
	PullSilence = 10 * time.Second

	backoffFirst = 100 * time.Millisecond
	backoffLast  = 3 * time.Second
	steady       = time.Second // a connection that lived so long was no failure
)

// Urgencies of streams (RFC 9218): small control frames go before eager deltas,
// both before the bulk of pulls, whose streams stay at QUIC's default of 3.
const (
	urgencyControl = 0
	urgencyEager   = 2
)

// Lane is one of the kept streams to each peer.
type Lane uint8

// The lanes. A full lane refuses the frame, says so and counts it.
const (
	Control Lane = iota // what must not get lost in silence: reports, heads
	Eager               // deltas on their way: a pull repairs what was refused
	lanes
)

// String returns the lane's name in metrics.
func (l Lane) String() string { return [...]string{"control", "eager"}[l] }

// laneLimits are what a lane holds, for each peer, while its stream is busy.
var laneLimits = [lanes]struct{ bytes, frames int }{
	Control: {bytes: wire.MaxFrame + 1<<20, frames: 16_384},
	Eager:   {bytes: wire.MaxFrame + 1<<20, frames: 16_384},
}

// laneUrgencies are the urgencies of the lanes' streams.
var laneUrgencies = [lanes]int8{Control: urgencyControl, Eager: urgencyEager}

// laneKinds are the kind bytes of the lanes' streams.
var laneKinds = [lanes]byte{Control: kindControl, Eager: kindEager}

// Codes with which a connection or a stream is closed. Numbers stay.
const (
	codeShutdown  quic.ApplicationErrorCode = 0 // the node goes away
	codeReplaced  quic.ApplicationErrorCode = 1 // the peer has a newer connection
	codeDuplicate quic.ApplicationErrorCode = 2 // both dialed; the other one stays
	codeRefused   quic.ApplicationErrorCode = 3 // HELLO does not fit; the text says why
	codeProtocol  quic.ApplicationErrorCode = 4 // bytes that break the protocol
	codeUnwanted  quic.ApplicationErrorCode = 5 // Disconnect

	streamDone    quic.StreamErrorCode = 0 // the reader has enough
	streamFailed  quic.StreamErrorCode = 1 // the handler gave an error
	streamRefused quic.StreamErrorCode = 2 // unknown kind, over a limit, too many
)

// quicConfig is the same for both sides.
func quicConfig() *quic.Config {
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		HandshakeIdleTimeout:           handshakeTimeout,
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     streamWindowFirst,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: connWindowFirst,
		MaxConnectionReceiveWindow:     connWindow,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          maxUniStreams,
		InitialPacketSize:              packetSize,
		DisablePathMTUDiscovery:        true,
		EnableDatagrams:                true,
	}
}
