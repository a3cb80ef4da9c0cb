package api

import (
	"net/http"
	"net/netip"

	"github.com/atolledge/atoll"
)

// cluster is what one node knows of the cluster.
type cluster struct {
	Cluster    string       `json:"cluster"`
	Self       self         `json:"self"`
	Regions    []regionView `json:"regions" doc:"in order of name"`
	Forgetting []forgetting `json:"forgetting" doc:"origins that are being forgotten"`
	CatchingUp catchingUp   `json:"catching_up" doc:"of the asked node"`
	Refused    []refused    `json:"refused" doc:"what nodes said that could not be true"`

	// Clocks: keyspace -> origin -> the highest sequence number below which
	// nothing is missing.
	Clocks map[string]map[string]uint64 `json:"clocks" doc:"keyspace, origin, dots known"`
	Scrub  scrub                        `json:"scrub" doc:"what comparing replicas has found since the node started"`
}

type scrub struct {
	Partitions  uint64 `json:"partitions" doc:"compared with a peer's"`
	Differences uint64 `json:"differences" doc:"ranges of documents that were not the same; each is a bug"`
}

// forgetting is how far the cluster is in forgetting an origin.
type forgetting struct {
	Origin  string   `json:"origin"`
	Node    string   `json:"node"`
	Phase   string   `json:"phase" doc:"promised, gathered, closed or pruned"`
	Waiting []string `json:"waiting" doc:"nodes that have not come as far"`
	Done    bool     `json:"done" doc:"nothing of it is left anywhere"`
}

// catchingUp is how far a node is in taking whole partitions in.
type catchingUp struct {
	Partitions int    `json:"partitions" doc:"that are left"`
	Sources    int    `json:"sources" doc:"nodes that they come from"`
	Documents  uint64 `json:"documents" doc:"taken in since the process began"`
	Bytes      uint64 `json:"bytes"`
}

// refused counts what a node said and was not used.
type refused struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

type self struct {
	Node   string `json:"node"`
	Region string `json:"region"`
}

type regionView struct {
	Name      string     `json:"name"`
	Lat       float64    `json:"lat" doc:"degrees, north positive"`
	Lon       float64    `json:"lon" doc:"degrees, east positive"`
	State     string     `json:"state" doc:"up, down, drained or starting"`
	Votes     []vote     `json:"votes"`
	Addresses []string   `json:"addresses" doc:"public addresses of its nodes"`
	Nodes     []nodeView `json:"nodes"`
}

type vote struct {
	Voter string  `json:"voter" doc:"the region whose vote it is"`
	Up    bool    `json:"up"`
	AgeMS float64 `json:"age_ms"`
}

type nodeView struct {
	ID     string  `json:"id"`
	Origin string  `json:"origin" doc:"16 hex digits: its data directory"`
	Addr   string  `json:"addr" doc:"peer address"`
	Joined stamp   `json:"joined"`
	State  string  `json:"state"`
	RTTMS  float64 `json:"rtt_ms" doc:"0 when not measured"`
	Offset float64 `json:"offset_ms" doc:"of its clock, ahead of the answering node's; 0 when not measured"`
	Behind behind  `json:"behind"`
}

type behind struct {
	Dots uint64  `json:"dots" doc:"that this node knows and the other has not reported"`
	MS   float64 `json:"ms"`
}

func newCluster(c atoll.Cluster) cluster {
	out := cluster{
		Cluster: c.Name,
		Self:    self{string(c.Self), string(c.Self.Region())},
		Regions: make([]regionView, 0, len(c.Regions)),
		Clocks:  make(map[string]map[string]uint64, len(c.Clocks)),
		Scrub:   scrub{c.Scrub.Partitions, c.Scrub.Differences},
	}
	for _, r := range c.Regions {
		out.Regions = append(out.Regions, newRegion(r))
	}
	out.Forgetting, out.Refused = []forgetting{}, []refused{}
	for _, f := range c.Forgetting {
		x := forgetting{Origin: f.Origin.String(), Node: string(f.Node), Phase: f.Phase,
			Waiting: []string{}, Done: f.Done}
		for _, id := range f.Waiting {
			x.Waiting = append(x.Waiting, string(id))
		}
		out.Forgetting = append(out.Forgetting, x)
	}
	for _, r := range c.Refused {
		out.Refused = append(out.Refused, refused{string(r.Node), r.Reason, r.Count})
	}
	out.CatchingUp = catchingUp(c.CatchingUp)
	for ks, clock := range c.Clocks {
		origins := make(map[string]uint64, len(clock))
		for o, n := range clock {
			origins[o.String()] = n
		}
		out.Clocks[string(ks)] = origins
	}
	return out
}

func newRegion(r atoll.RegionView) regionView {
	out := regionView{
		Name: string(r.Name), Lat: r.Lat, Lon: r.Lon, State: r.State,
		Votes:     make([]vote, 0, len(r.Votes)),
		Addresses: append([]string{}, r.Addresses...),
		Nodes:     make([]nodeView, 0, len(r.Nodes)),
	}
	for _, v := range r.Votes {
		out.Votes = append(out.Votes, vote{string(v.Voter), v.Up, milliseconds(v.Age)})
	}
	for _, n := range r.Nodes {
		out.Nodes = append(out.Nodes, nodeView{
			ID: string(n.ID), Origin: n.Origin.String(), Addr: n.Addr, Joined: stamp(n.Joined), State: n.State,
			RTTMS: milliseconds(n.RTT), Offset: milliseconds(n.Offset),
			Behind: behind{n.Behind.Dots, milliseconds(n.Behind.Lag)},
		})
	}
	return out
}

func (s *Server) getCluster(w *response, q *request) error {
	return writeJSON(w, http.StatusOK, newCluster(s.node.Cluster()))
}

// maxConflicts is the most entries of the feed that one answer has.
const maxConflicts = 1000

type conflictFeed struct {
	Items []conflicted `json:"items" doc:"newest first"`
}

// conflicted is one entry of the feed of recent concurrent writes.
type conflicted struct {
	Keyspace string  `json:"keyspace"`
	Key      string  `json:"key"`
	Cell     string  `json:"cell" doc:"JSON Pointer (RFC 6901); empty for the document"`
	Kind     string  `json:"kind" doc:"register, kind-clash or delete-edit"`
	At       stamp   `json:"at" doc:"when this node saw it"`
	Winner   *value  `json:"winner" doc:"null if nothing won"`
	Losers   []value `json:"losers"`
}

func newConflicted(c atoll.Conflicted) conflicted {
	out := conflicted{
		Keyspace: string(c.Keyspace), Key: string(c.Key), Cell: c.Path, Kind: c.Kind,
		At: stamp(c.At), Losers: []value{},
	}
	for _, v := range c.Values {
		if v.Winner && out.Winner == nil {
			winner := newValue(v)
			out.Winner = &winner
		} else {
			out.Losers = append(out.Losers, newValue(v))
		}
	}
	return out
}

func (s *Server) getConflicts(w *response, q *request) error {
	limit, err := q.limit(defaultPage, maxConflicts)
	if err != nil {
		return err
	}
	ks, err := q.one("keyspace")
	if err != nil {
		return err
	}
	out := conflictFeed{Items: []conflicted{}}
	for _, c := range s.node.Conflicts() {
		if len(out.Items) == limit {
			break
		}
		if ks == "" || ks == string(c.Keyspace) {
			out.Items = append(out.Items, newConflicted(c))
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) drainRegion(w *response, q *request) error {
	force, err := q.flag("force")
	if err != nil {
		return err
	}
	if err := s.node.Drain(q.Context(), atoll.Region(q.vars["region"]), force); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) undrainRegion(w *response, q *request) error {
	if err := s.node.Undrain(q.Context(), atoll.Region(q.vars["region"])); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// member is what is left, or forgotten.
type member struct {
	Node    string   `json:"node"`
	Origins []string `json:"origins" doc:"16 hex digits each"`
}

func (q *request) node() atoll.NodeID {
	return atoll.NodeID(q.vars["region"] + "/" + q.vars["name"])
}

func (s *Server) leaveNode(w *response, q *request) error {
	if err := s.node.Leave(q.Context(), q.node()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) forgetNode(w *response, q *request) error {
	gone, err := s.node.Forget(q.Context(), q.node())
	if err != nil {
		return err
	}
	out := member{Node: string(q.node())}
	for _, o := range gone {
		out.Origins = append(out.Origins, o.String())
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) explainDNS(w *response, q *request) error {
	if s.explain == nil {
		return atoll.Errorf(atoll.NotFound, "this node serves no DNS")
	}
	name, err := q.one("name")
	if err != nil {
		return err
	}
	if name == "" {
		return atoll.Errorf(atoll.BadRequest, "explain which name?").
			WithHint("add ?name=www.atoll.test and, for another client than yourself, &ip=ADDRESS")
	}
	ip, err := clientIP(q)
	if err != nil {
		return err
	}
	why, err := s.explain(name, ip)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, why)
}

// clientIP returns the address that the query names, else the peer's own.
func clientIP(q *request) (string, error) {
	text, err := q.one("ip")
	if err != nil {
		return "", err
	}
	if text == "" {
		peer, err := netip.ParseAddrPort(q.RemoteAddr)
		if err != nil {
			return "", atoll.Errorf(atoll.BadRequest, "explain for which address?").Because(err)
		}
		return peer.Addr().Unmap().String(), nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return "", atoll.Errorf(atoll.BadRequest, "ip=%q is no address", text).Because(err)
	}
	return addr.Unmap().String(), nil
}

// readiness says whether the node should get traffic.
type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons" doc:"why not; empty when ready"`
}

func (s *Server) getReady(w *response, q *request) error {
	reasons := append([]string{}, s.node.Ready()...)
	status := http.StatusOK
	if len(reasons) > 0 {
		w.Header().Set("Retry-After", "1")
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, status, readiness{len(reasons) == 0, reasons})
}

// liveness says that the process answers.
type liveness struct {
	Live bool `json:"live"`
}

func (s *Server) getLive(w *response, q *request) error {
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, liveness{true})
}

func (s *Server) getMetrics(w *response, q *request) error {
	s.metrics.expose.ServeHTTP(w, q.Request)
	return nil
}

func (s *Server) getOpenAPI(w *response, q *request) error {
	return writeBody(w, http.StatusOK, typeJSON, s.spec)
}
