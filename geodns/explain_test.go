package geodns

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/miekg/dns"
)

func TestExplainJSON(t *testing.T) {
	w := newIslands()
	w.set("tokyo:down")
	c := w.cluster()
	c.Regions[1].Votes = []atoll.Vote{
		{Voter: "frankfurt", Age: 1200 * time.Millisecond}, {Voter: "washington", Up: true},
	}
	w.now.Store(&c)
	e, err := newServer(t, w).Explain("WWW.atoll.test", netip.MustParseAddr("::ffff:1.2.3.4"))
	if err != nil {
		t.Fatal(err)
	}
	version := e.MapVersion
	if len(version) != 16 {
		t.Errorf("map version %q", version)
	}
	got, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"www.atoll.test.","client":"1.2.3.4","source":"argument","range":"1.0.0.0/8",
"place":{"country":"JP","lat":35.5,"lon":138.5},"list":[
{"region":"frankfurt","km":9297,"state":"up","eligible":true,"why":"chosen: the nearest healthy region","votes":[]},
{"region":"washington","km":10974,"state":"up","eligible":true,"why":"farther than frankfurt","votes":[]},
{"region":"tokyo","km":111,"state":"down","eligible":false,"why":"down: 1 of 2 voters see it","votes":[
{"voter":"frankfurt","up":false,"age_ms":1200},{"voter":"washington","up":true,"age_ms":0}]}],
"answer":["127.0.2.1","2001:db8::2"],"map_version":"` + version + `","ttl_s":30}`
	if string(got) != strings.ReplaceAll(want, "\n", "") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestExplainUnknownPlace(t *testing.T) {
	e, err := newServer(t, newIslands()).Explain("a.b.deep.atoll.test.", netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Place != nil || e.List[0].Region != "washington" || e.List[0].KM != 0 {
		t.Errorf("%+v", e)
	}
}

func TestExplainRefuses(t *testing.T) {
	s := newServer(t, newIslands())
	client := netip.MustParseAddr("1.2.3.4")
	for _, c := range []struct {
		name   string
		client netip.Addr
		want   atoll.Kind
	}{
		{"", client, atoll.BadRequest},
		{"a..b", client, atoll.BadRequest},
		{"www.atoll.test.", netip.Addr{}, atoll.BadRequest},
		{"example.org", client, atoll.NotFound},
		{"tokyo.atoll.test", client, atoll.NotFound},
		{"atoll.test", client, atoll.NotFound},
		{"nothing.atoll.test", client, atoll.NotFound},
	} {
		_, err := s.Explain(c.name, c.client)
		if atoll.KindOf(err) != c.want {
			t.Errorf("%q %v: %v, want %s", c.name, c.client, err, c.want)
		}
	}
	_, err := s.Explain("example.org", client)
	want := "routed names: www.atoll.test., deep.atoll.test., a.b.deep.atoll.test."
	if e, ok := err.(*atoll.Error); !ok || e.Hint != want {
		t.Errorf("hint of %v", err)
	}
}

// TestExplainAgreesWithAnswer asks for the answer and for the reason.
func TestExplainAgreesWithAnswer(t *testing.T) {
	addr := start(t, newServer(t, newIslands()))
	for _, subnet := range []string{"1.2.3.0/24", "2.1.0.0/24", "3.0.0.0/24", "10.0.0.0/24", ""} {
		m := ask(t, "udp", addr, "www.atoll.test. TXT "+subnet)
		region, _ := strings.CutPrefix(m.Answer[0].(*dns.TXT).Txt[0], "region=")
		why := ask(t, "tcp", addr, "_explain.www.atoll.test. TXT "+subnet)
		var lines []string
		for _, rr := range why.Answer {
			lines = append(lines, rr.(*dns.TXT).Txt...)
		}
		if len(lines) != 5 || !strings.HasPrefix(lines[1], "1. "+region+": ") ||
			!strings.HasSuffix(lines[1], "chosen: the nearest healthy region") {
			t.Errorf("%s: answered %s, explained %q", subnet, region, lines)
		}
		if src := map[bool]string{true: "(ecs)", false: "(resolver)"}[strings.HasPrefix(subnet, "1.") ||
			strings.HasPrefix(subnet, "2.") || strings.HasPrefix(subnet, "3.")]; !strings.Contains(lines[0], src) {
			t.Errorf("%s: %s, want %s", subnet, lines[0], src)
		}
	}
}
