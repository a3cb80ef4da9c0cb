// Package console provides the page at /console/, where a person sees the
// regions of a cluster, the links between them and the documents in them, and
// the stream of snapshots that the page lives from.
//
// The page is a handful of files in the binary: no build step, nothing from
// elsewhere. Its files need no token, since a browser cannot send one for them;
// all that they show does.
package console

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
)

// Prefix is where the console is mounted.
const Prefix = "/console/"

// Limits of the streams of one console.
const (
	MaxStreams = 32               // open at once: an operations room, not an audience
	StreamAge  = 10 * time.Minute // then a page asks again, and its role is looked at again
	Period     = time.Second      // between snapshots
)

// Config makes a Console. Node and Now are needed.
type Config struct {
	Node api.Node

	// Sources returns the nodes that the console can look into. What they
	// measured counts; of other nodes the console knows what Node heard. Nil:
	// there are none.
	Sources func() []Source

	// Names are the routed DNS names that the page can ask about; it proposes
	// the first one. None: the node serves no DNS.
	Names []string

	// Dev returns the truth about a dev world, which no real cluster knows of
	// itself. Nil outside of one.
	Dev func() Dev

	// Credit is what has to be shown where a place is derived from an address,
	// as a link to CreditURL.
	Credit, CreditURL string

	Version string
	Now     func() time.Time
}

// Source is a node of this process.
type Source struct {
	Node    atoll.NodeID
	View    func() atoll.Cluster // what it knows; nil: nothing
	Metrics prometheus.Gatherer
}

// Dev is what a dev world does to its nodes and links.
type Dev struct {
	Nodes []DevNode `json:"nodes"`
	Links []DevLink `json:"links"` // one entry a direction
}

// DevNode is one node of a dev world.
type DevNode struct {
	ID      atoll.NodeID `json:"id"`
	Running bool         `json:"running"`
	URL     string       `json:"url"` // where its HTTP API is
}

// DevLink is one direction between two regions of a dev world.
type DevLink struct {
	From  atoll.Region `json:"from"`
	To    atoll.Region `json:"to"`
	RTTMS float64      `json:"rtt_ms"` // twice the delay of this direction
	Cut   bool         `json:"cut"`
	Slow  bool         `json:"slow"`
}

// Console answers below Prefix.
type Console struct {
	cfg   Config
	files map[string]file
	slots chan struct{} // one per open stream

	mu     sync.Mutex // guards latest and meter
	latest []byte     // the last snapshot, encoded
	made   time.Time  // when
	meter  meter

	closing sync.Once
	closed  chan struct{}
}

// New makes a Console.
func New(c Config) (*Console, error) {
	if c.Node == nil || c.Now == nil {
		return nil, errors.New("console: the Config has no Node or no Now")
	}
	files, err := load()
	return &Console{
		cfg: c, files: files, slots: make(chan struct{}, MaxStreams),
		meter: meter{}, closed: make(chan struct{}),
	}, err
}

// Mount says how an api.Server serves the console. Anyone may have the page;
// the stream asks for a reader itself.
func (c *Console) Mount() api.Mount {
	return api.Mount{Prefix: Prefix, Read: guard.Anyone, Write: guard.Operator, Handler: c}
}

// Close ends all streams: a server that shuts down would wait for them.
func (c *Console) Close() { c.closing.Do(func() { close(c.closed) }) }

// ServeHTTP answers GET and HEAD of the page's files, and GET of its events.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, Prefix)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if name == "events" {
		c.stream(w, r)
		return
	}
	c.serveFile(w, r, name)
}
