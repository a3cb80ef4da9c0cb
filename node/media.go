package node

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/wire"
)

// chunkServer answers what peers ask of this node's chunks.
type chunkServer struct {
	get     func(context.Context, atoll.Hash, []atoll.NodeID, bool) ([]byte, error)
	keep    func(context.Context, atoll.Object) error
	keepOne func(context.Context, atoll.NodeID, atoll.Hash) error
}

// ServeChunks names who answers peers: get returns a chunk, from elsewhere too
// if through says so and from homes first; keep makes all chunks of an object
// durable here, keepOne a chunk that the peer has. Until then, and when one of
// them fails, peers hear "absent".
func (n *Node) ServeChunks(
	get func(ctx context.Context, h atoll.Hash, homes []atoll.NodeID, through bool) ([]byte, error),
	keep func(context.Context, atoll.Object) error,
	keepOne func(ctx context.Context, from atoll.NodeID, h atoll.Hash) error,
) {
	n.chunkServer.Store(&chunkServer{get, keep, keepOne})
}

// Chunks returns the node's store of chunks. It is closed with the node.
func (n *Node) Chunks() *store.Chunks { return n.chunks }

// OpenKeyspace returns the settings of a keyspace that is about to be written,
// and makes it if that is allowed.
func (n *Node) OpenKeyspace(ctx context.Context, ks atoll.Keyspace) (atoll.Settings, error) {
	if err := n.begin(ctx); err != nil {
		return atoll.Settings{}, err
	}
	return n.writable(ks)
}

// CatchUp returns when this replica holds all that a session has seen.
func (n *Node) CatchUp(ctx context.Context, session atoll.Token) error {
	t, err := parseToken(session)
	if err != nil {
		return err
	}
	return n.await(ctx, t)
}

// MediaSpaces returns the keyspaces whose documents name objects.
func (n *Node) MediaSpaces(ctx context.Context) (spaces []atoll.Keyspace, err error) {
	err = n.loop.look(ctx, func(c *replication.Core) {
		for _, ks := range c.Keyspaces() {
			if strings.HasPrefix(string(ks), string(atoll.Keyspace("").Media())) {
				spaces = append(spaces, ks)
			}
		}
	})
	return spaces, err
}

// FetchChunk asks a peer for a chunk; through lets it ask others, homes first.
// The bytes are as they came: the caller compares them with the hash. The error
// is of kind atoll.NotFound when the peer does not have it and of kind
// atoll.BehindSession when it could not be asked.
func (n *Node) FetchChunk(
	ctx context.Context, to atoll.NodeID, h atoll.Hash, homes []atoll.NodeID, through bool,
) ([]byte, error) {
	t, body, err := n.ask(ctx, to, wire.ChunkGet{Hash: h, Homes: homes, Through: through}.Append(nil))
	switch {
	case err != nil:
		return nil, err
	case t != wire.TypeChunk:
		return nil, atoll.Errorf(atoll.NotFound, "%s does not have chunk %s", to, h)
	}
	return body, nil
}

// KeepObject asks a peer to hold all chunks of an object, and returns when they
// are durable there.
func (n *Node) KeepObject(ctx context.Context, to atoll.NodeID, o atoll.Object) error {
	t, _, err := n.ask(ctx, to,
		wire.ObjectKeep{Manifest: o.Manifest, Size: o.Size, Homes: o.Homes}.Append(nil))
	if err == nil && t != wire.TypeObjectKept {
		err = atoll.Errorf(atoll.NotFound, "%s could not get all of %s", to, o.Hash)
	}
	return err
}

// KeepChunk asks a peer to fetch a chunk from this node, and returns when it is
// durable there.
func (n *Node) KeepChunk(ctx context.Context, to atoll.NodeID, h atoll.Hash) error {
	t, _, err := n.ask(ctx, to, wire.ChunkKeep{Hash: h}.Append(nil))
	if err == nil && t != wire.TypeObjectKept {
		err = atoll.Errorf(atoll.NotFound, "%s could not get chunk %s", to, h)
	}
	return err
}

// ask sends one request and returns the one frame of its answer.
func (n *Node) ask(
	ctx context.Context, to atoll.NodeID, request []byte,
) (wire.Type, []byte, error) {
	stream, err := n.transport.OpenCall(ctx, to, request)
	if err != nil {
		return 0, nil, err
	}
	defer stream.Close()
	t, body, err := stream.Next()
	switch {
	case err != nil:
		return 0, nil, atoll.Errorf(atoll.BehindSession, "%s did not answer", to).Because(err)
	case len(body) > atoll.ChunkSize:
		return 0, nil, atoll.Errorf(atoll.TooLarge, "%s answers with %d bytes", to, len(body)).
			WithLimit("chunk bytes", atoll.ChunkSize)
	}
	return t, body, nil // the reader is ours and reads no more
}

// call is the transport's handler of what is no pull.
func (n *Node) call(
	ctx context.Context, from atoll.NodeID, req []byte, w *transport.PullWriter,
) error {
	t, body, err := wire.NewReader(bytes.NewReader(req), transport.MaxPullRequest).Next()
	if err != nil {
		n.monitor.metrics.malformed.Inc()
		return err
	}
	if t == wire.TypeScrub {
		return n.answerScrub(body, w)
	}
	server := n.chunkServer.Load()
	if server == nil {
		return w.Frame(wire.TypeChunkAbsent, nil)
	}
	switch t {
	case wire.TypeChunkGet:
		return server.answerGet(ctx, body, w)
	case wire.TypeObjectKeep:
		return server.answerKeep(ctx, body, w)
	case wire.TypeChunkKeep:
		return server.answerKeepOne(ctx, from, body, w)
	}
	return errors.New("a call of a later version")
}

func (s *chunkServer) answerGet(ctx context.Context, body []byte, w *transport.PullWriter) error {
	g, err := wire.DecodeChunkGet(body)
	if err != nil {
		return err
	}
	b, err := s.get(ctx, g.Hash, g.Homes, g.Through)
	if err != nil {
		return w.Frame(wire.TypeChunkAbsent, nil)
	}
	return w.Frame(wire.TypeChunk, b)
}

func (s *chunkServer) answerKeep(ctx context.Context, body []byte, w *transport.PullWriter) error {
	k, err := wire.DecodeObjectKeep(body)
	if err != nil {
		return err
	}
	return kept(w, s.keep(ctx, atoll.Object{Manifest: k.Manifest, Size: k.Size, Homes: k.Homes}))
}

func (s *chunkServer) answerKeepOne(
	ctx context.Context, from atoll.NodeID, body []byte, w *transport.PullWriter,
) error {
	k, err := wire.DecodeChunkKeep(body)
	if err != nil {
		return err
	}
	return kept(w, s.keepOne(ctx, from, k.Hash))
}

// kept answers a request to keep something.
func kept(w *transport.PullWriter, err error) error {
	if err != nil {
		return w.Frame(wire.TypeChunkAbsent, nil)
	}
	return w.Frame(wire.TypeObjectKept, nil)
}
