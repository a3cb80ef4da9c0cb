package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
)

// hello is the first event of a stream: what does not change while it lasts.
type hello struct {
	Principal string   `json:"principal"`
	Role      string   `json:"role"`
	Version   string   `json:"version"`
	Names     []string `json:"names"`
	Dev       bool     `json:"dev"`
	PeriodMS  int64    `json:"period_ms"`
	Credit    string   `json:"credit"`
	CreditURL string   `json:"credit_url"`
}

// stream sends server-sent events: "hello" once, then a "snapshot" each Period,
// until the client leaves, StreamAge has passed or the console is closed. An
// event is whole or absent: a client that is slow is cut by the server's limits.
func (c *Console) stream(w http.ResponseWriter, r *http.Request) {
	who := api.PrincipalOf(r.Context())
	if err := guard.Require(who, guard.Reader); err != nil {
		api.Refuse(w, r, err)
		return
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	default:
		api.Refuse(w, r, atoll.Errorf(atoll.RateLimited, "too many consoles are open on this node").
			WithHint("close one, or open the console of another node").
			WithLimit("console streams", MaxStreams))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy that gathers would make it a lie
	if r.Method == http.MethodHead {
		return
	}
	names := append([]string{}, c.cfg.Names...)
	greeting, err := json.Marshal(hello{
		Principal: who.Name, Role: who.Role.String(), Version: c.cfg.Version, Names: names,
		Dev: c.cfg.Dev != nil, PeriodMS: Period.Milliseconds(),
		Credit: c.cfg.Credit, CreditURL: c.cfg.CreditURL,
	})
	if err == nil && send(w, "hello", greeting) == nil {
		c.follow(w, r)
	}
}

// follow sends snapshots until somebody has enough.
func (c *Console) follow(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(Period)
	defer tick.Stop()
	end := time.NewTimer(StreamAge)
	defer end.Stop()
	for {
		b, err := c.snapshot()
		if err != nil || send(w, "snapshot", b) != nil {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		case <-c.closed:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// send writes one event. JSON has no line breaks of its own.
func send(w http.ResponseWriter, name string, data []byte) error {
	var b bytes.Buffer
	b.WriteString("event: " + name + "\ndata: ")
	b.Write(data)
	b.WriteString("\n\n")
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// snapshot returns the newest snapshot, encoded. All streams share one: a
// hundred pages cost what one does. The caller must not change it.
func (c *Console) snapshot() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if age := now.Sub(c.made); c.latest != nil && age >= 0 && age < Period*9/10 {
		return c.latest, nil
	}
	b, err := json.Marshal(c.look(now))
	if err == nil {
		c.latest, c.made = b, now
	}
	return b, err
}
