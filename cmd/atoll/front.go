package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/node"
)

// front is the world's own address: an API and a DNS server over the first
// living node. It answers the dev commands also when no node lives.
type front struct {
	w       *world
	api     *http.Server
	dns     *geodns.Server
	http    net.Listener
	udp     net.PacketConn
	tcp     net.Listener
	metrics *prometheus.Registry
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

func newFront(w *world) (*front, error) {
	f := &front{w: w, cancel: func() {}}
	if err := f.open(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// open binds the world's addresses and makes what answers there.
func (f *front) open() (err error) {
	if f.http, err = listenTCP("HTTP", frontHTTP); err != nil {
		return err
	}
	if f.tcp, err = listenTCP("DNS", frontDNS); err != nil {
		return err
	}
	if f.udp, err = net.ListenPacket("udp", frontDNS); err != nil {
		return busy("DNS", "udp", frontDNS, err)
	}
	w, pass := f.w, passing{f.w}
	f.dns, err = newDNS(hostConfig{
		zones: []geodns.Zone{{Name: zoneName}}, places: w.places,
	}, frontSecure, pass.Cluster, nil)
	if err != nil {
		return err
	}
	anyone, err := guard.New(nil)
	if err != nil {
		return err
	}
	f.metrics = prometheus.NewRegistry()
	page, err := newConsole(pass, []geodns.Zone{{Name: zoneName}}, w.sources, w.truth)
	if err != nil {
		return err
	}
	s, err := api.New(api.Config{
		Node: pass, Media: passingMedia{w}, Guard: anyone, Hosts: []string{"*.atoll.test"}, Explain: explainer(f.dns),
		Metrics: f.metrics, Watch: pass.Watch, Mounts: append(w.mounts(), page.Mount()), Logger: w.cfg.log,
	})
	if err != nil {
		return err
	}
	f.api = api.NewHTTPServer(s, w.cfg.log)
	return nil
}

func (f *front) run() {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.work.Go(func() { _ = f.api.Serve(f.http) })
	f.work.Go(func() { _ = f.dns.Run(ctx, []net.PacketConn{f.udp}, []net.Listener{f.tcp}) })
}

func (f *front) close() {
	f.cancel()
	if f.api != nil {
		_ = f.api.Close()
	}
	for _, l := range []net.Listener{f.http, f.tcp} {
		if l != nil {
			_ = l.Close()
		}
	}
	if f.udp != nil {
		_ = f.udp.Close()
	}
	f.work.Wait()
}

// passing is an api.Node that passes each call to the first living node that is
// ready.
type passing struct{ w *world }

func (p passing) node() (*node.Node, error) {
	alive := p.w.living()
	for _, h := range alive {
		if len(h.node.Ready()) == 0 {
			return h.node, nil
		}
	}
	if len(alive) > 0 {
		return alive[0].node, nil
	}
	return nil, atoll.Errorf(atoll.ShuttingDown, "no node of the dev world is running").
		WithHint("atoll node start washington")
}

func (p passing) Self() atoll.NodeID {
	if n, err := p.node(); err == nil {
		return n.Self()
	}
	return "world/0"
}

func (p passing) Ready() []string {
	n, err := p.node()
	if err != nil {
		return []string{err.Error()}
	}
	return n.Ready()
}

func (p passing) Read(ctx context.Context, r atoll.Read) (atoll.Document, error) {
	n, err := p.node()
	if err != nil {
		return atoll.Document{}, err
	}
	return n.Read(ctx, r)
}

func (p passing) Write(ctx context.Context, w atoll.Write) (atoll.Written, error) {
	n, err := p.node()
	if err != nil {
		return atoll.Written{}, err
	}
	return n.Write(ctx, w)
}

func (p passing) List(ctx context.Context, l atoll.Listing) (atoll.Page, error) {
	n, err := p.node()
	if err != nil {
		return atoll.Page{}, err
	}
	return n.List(ctx, l)
}

func (p passing) Settings(ctx context.Context, ks atoll.Keyspace) (atoll.Settings, error) {
	n, err := p.node()
	if err != nil {
		return atoll.Settings{}, err
	}
	return n.Settings(ctx, ks)
}

func (p passing) Configure(
	ctx context.Context, ks atoll.Keyspace, s atoll.Settings,
) (bool, error) {
	n, err := p.node()
	if err != nil {
		return false, err
	}
	return n.Configure(ctx, ks, s)
}

func (p passing) Conflicts() []atoll.Conflicted {
	n, err := p.node()
	if err != nil {
		return nil
	}
	return n.Conflicts()
}

func (p passing) Cluster() atoll.Cluster {
	n, err := p.node()
	if err != nil {
		return atoll.Cluster{Name: p.w.ca.Cluster, Self: p.Self()}
	}
	return n.Cluster()
}

func (p passing) Drain(ctx context.Context, r atoll.Region, force bool) error {
	n, err := p.node()
	if err != nil {
		return err
	}
	return n.Drain(ctx, r, force)
}

func (p passing) Undrain(ctx context.Context, r atoll.Region) error {
	n, err := p.node()
	if err != nil {
		return err
	}
	return n.Undrain(ctx, r)
}

// Leave goes to the node that is to leave: the world knows all of them.
func (p passing) Leave(ctx context.Context, id atoll.NodeID) error {
	_, running, err := p.w.find(string(id))
	if err != nil {
		return err
	}
	if running == nil {
		return atoll.Errorf(atoll.PreconditionFailed, "%s does not run", id).
			WithHint("a node that is gone is taken out with atoll node forget")
	}
	return running.node.Leave(ctx, id)
}

func (p passing) Forget(ctx context.Context, id atoll.NodeID) ([]atoll.Origin, error) {
	n, err := p.node()
	if err != nil {
		return nil, err
	}
	return n.Forget(ctx, id)
}

// serveDev answers /v1/dev/: the links and the nodes of the world.
func (w *world) serveDev(rw http.ResponseWriter, r *http.Request) {
	var ask struct {
		A      atoll.Region `json:"a"`
		B      atoll.Region `json:"b"`
		OneWay bool         `json:"one_way"`
		RTT    float64      `json:"rtt_ms"`
		Node   string       `json:"node"`
	}
	if r.Method == http.MethodPost {
		d := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 4<<10))
		d.DisallowUnknownFields()
		if err := d.Decode(&ask); err != nil {
			api.Refuse(rw, r, atoll.Errorf(atoll.BadJSON, "the request: %v", err))
			return
		}
	}
	var err error
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/dev/wan":
		writeJSON(rw, w.links())
		return
	case "GET /v1/dev/nodes":
		writeJSON(rw, w.nodes())
		return
	case "POST /v1/dev/wan/cut":
		if err = w.link(ask.A, ask.B); err == nil {
			w.sea.Cut(ask.A, ask.B, ask.OneWay)
		}
	case "POST /v1/dev/wan/slow":
		if err = w.link(ask.A, ask.B); err == nil {
			err = w.slow(ask.A, ask.B, ask.RTT)
		}
	case "POST /v1/dev/wan/heal":
		w.sea.Heal()
	case "POST /v1/dev/nodes/kill":
		err = w.kill(ask.Node)
	case "POST /v1/dev/nodes/start":
		err = w.start(ask.Node)
	default:
		err = atoll.Errorf(atoll.NotFound, "no dev command %s %s", r.Method, r.URL.Path)
	}
	if err != nil {
		api.Refuse(rw, r, err)
		return
	}
	writeJSON(rw, map[string]bool{"ok": true})
}

func (w *world) slow(a, b atoll.Region, ms float64) error {
	if !(ms >= 0 && ms <= 60_000) {
		return atoll.Errorf(atoll.BadRequest, "a round trip of %v ms is not within 0 and 60000", ms).
			WithLimit("rtt_ms", 60_000)
	}
	w.sea.Slow(a, b, time.Duration(ms*float64(time.Millisecond)))
	return nil
}

// link refuses what is no link of this world.
func (w *world) link(a, b atoll.Region) error {
	known := 0
	for _, c := range cities {
		if c.name == a || c.name == b {
			known++
		}
	}
	if known != 2 {
		return atoll.Errorf(atoll.UnknownRegion, "there is no link between %q and %q", a, b).
			WithHint("the regions are washington, frankfurt and tokyo")
	}
	return nil
}

func (w *world) links() any {
	var all []link
	for _, s := range w.sea.Links() {
		l := link{From: string(s.From), To: string(s.To), Loss: s.Loss, Cut: s.Cut,
			RTTMS: ms(2 * s.OneWay), JitterMS: ms(s.Jitter)}
		l.Packets.Sent, l.Packets.Delivered = s.Sent, s.Delivered
		l.Packets.Dropped = s.Blocked + s.Lost + s.Overflow
		all = append(all, l)
	}
	return map[string]any{"links": all}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (w *world) nodes() any {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []devNode
	for _, h := range w.hosts {
		n := devNode{ID: string(h.id), Region: string(h.id.Region()), State: "killed",
			HTTP: "http://" + h.addrs.http}
		if h.host != nil {
			n.State = "running"
		}
		all = append(all, n)
	}
	return map[string]any{"nodes": all}
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}
