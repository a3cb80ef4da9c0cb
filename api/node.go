package api

import (
	"context"

	"github.com/atolledge/atoll"
)

// Node is what the handlers ask of the node behind them. All methods are safe
// for concurrent use; their errors are *atoll.Error values.
type Node interface {
	Self() atoll.NodeID

	// Ready returns the reasons why this node should get no traffic; none when
	// it should.
	Ready() []string

	// Read returns the document as this replica has it: atoll.NotFound if it
	// does not exist, atoll.UnknownKeyspace if its keyspace does not.
	Read(context.Context, atoll.Read) (atoll.Document, error)

	// Write applies one change and returns when it is as durable as asked.
	Write(context.Context, atoll.Write) (atoll.Written, error)

	// List returns one page of documents in byte order of their keys.
	List(context.Context, atoll.Listing) (atoll.Page, error)

	// Settings returns the settings of a keyspace; Configure writes them and
	// makes the keyspace if it does not exist.
	Settings(context.Context, atoll.Keyspace) (atoll.Settings, error)
	Configure(context.Context, atoll.Keyspace, atoll.Settings) (created bool, err error)

	// Conflicts returns the recent concurrent writes that this node has seen,
	// newest first.
	Conflicts() []atoll.Conflicted

	Cluster() atoll.Cluster

	// Drain takes a region out of DNS answers, everywhere and durably; it is
	// refused when no healthy region would remain, unless forced.
	Drain(ctx context.Context, r atoll.Region, force bool) error
	Undrain(ctx context.Context, r atoll.Region) error

	// Leave takes the node itself out of the cluster, when others have all that it
	// wrote; then its process ends. Forget takes out one that is gone, for good.
	Leave(ctx context.Context, id atoll.NodeID) error
	Forget(ctx context.Context, id atoll.NodeID) ([]atoll.Origin, error)
}
