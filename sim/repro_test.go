package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

func TestReproRoundTrip(t *testing.T) {
	r := &Repro{Atoll: "v1", Trace: "0123456789abcdef", OK: true, Plan: Random(77)}
	got, err := ReadRepro(r.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("%+v\nwant %+v", got, r)
	}
}

// TestReproRefused edits a file that can be run.
func TestReproRefused(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`"version": 1`, `"version": 2`, "plan version 2, this atoll knows 1"},
		{`"plan"`, `"plans"`, `unknown field "plans"`},
		{`{`, `[`, "not a run"},
		{`"id": "a/2"`, `"id": "a/1"`, `node "a/1" is there twice`},
		{`"id": "a/2"`, `"id": "c/2"`, `node "c/2" is in no region`},
		{`"skew_ms": 0`, `"skew_ms": 9999999`, "a skew of 9999999 ms"},
		{`"chunk": 8`, `"chunk": 0`, "chunk 0"},
		{`"disk_ms": 0`, `"disk_ms": -1`, "disk of -1 ms"},
		{`"loss_ppm": 0`, `"loss_ppm": -1`, "-1 parts per million"},
		{`"jitter_ms": 0`, `"jitter_ms": -1`, "jitter of -1 ms"},
		{`"keyspace": "_sim"`, `"keyspace": "other"`, `keyspace "other"`},
		{`"clients": [`, `"clients": ["z/1",`, `"z/1", which is no node`},
		{`"gap_ms": 100`, `"gap_ms": 0`, "clients need a mix, and a gap"},
		{`"chaos_ms": 20000`, `"chaos_ms": -1`, "phases of -1"},
		{`"kind": "heal"`, `"kind": "flood"`, `unknown fault "flood"`},
		{`"kind": "heal"`, `"kind": "trim"`, `trim: there is no node ""`},
		{`"at_ms": 5`, `"at_ms": 20001`, "within the chaos"},
		{`"at_ms": 5`, `"at_ms": 5, "for_ms": 9223372036854775807`, "within the chaos"},
		{`80`, `-80`, "a round trip of -80 ms"},
		{`"regions": [`, `"regions": ["c",`, "rtt_ms has 2 rows for 3 regions"},
	} {
		text := string((&Repro{Plan: quiet(Fault{At: 5, Kind: Heal})}).JSON())
		if !strings.Contains(text, c.from) {
			t.Fatalf("the file has no %s:\n%s", c.from, text)
		}
		_, err := ReadRepro([]byte(strings.Replace(text, c.from, c.to, 1)))
		var e *atoll.Error
		if !errors.As(err, &e) || !strings.Contains(e.Detail, c.want) {
			t.Errorf("%s: %v, want %s", c.to, err, c.want)
		}
	}
	if _, err := ReadRepro([]byte("{}")); err == nil || !strings.Contains(err.Error(), "no plan") {
		t.Errorf("%v, want that the plan is missing", err)
	}
	if _, err := ReadRepro(make([]byte, MaxRepro+1)); atoll.KindOf(err) != atoll.TooLarge {
		t.Errorf("%v, want too-large", err)
	}
}

func TestPlanLimits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Plan)
		want   string
	}{
		"nodes":  {func(p *Plan) { p.Nodes = make([]Node, MaxNodes+1) }, "1025 nodes"},
		"none":   {func(p *Plan) { p.Nodes = nil }, "0 nodes"},
		"faults": {func(p *Plan) { p.Faults = make([]Fault, MaxFaults+1) }, "16385 faults"},
		"clients": {func(p *Plan) {
			p.Workload.Clients = make([]atoll.NodeID, MaxClients+1)
		}, "4097 clients"},
		"keys":    {func(p *Plan) { p.Workload.Keys = MaxKeys + 1 }, "65537 keys"},
		"mix":     {func(p *Plan) { p.Workload.Mix.Put = -1 }, "a weight of -1"},
		"columns": {func(p *Plan) { p.RTT[1] = nil }, "row 1 of rtt_ms has 0 columns"},
		"check":   {func(p *Plan) { p.Checks = append(p.Checks, "luck") }, `unknown check "luck"`},
	} {
		p := quiet()
		c.change(p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestFaultString(t *testing.T) {
	for want, f := range map[string]Fault{
		"cut a - b":          {Kind: Partition, A: "a", B: "b"},
		"cut a - all others": {Kind: Partition, A: "a"},
		"cut a -> b/1":       {Kind: OneWay, A: "a", B: "b/1"},
		"slow a - b by 5 ms": {Kind: Slow, A: "a", B: "b", By: 5},
		"crash a/1":          {Kind: Crash, A: "a/1"},
		"trim a/1":           {Kind: Trim, A: "a/1"},
		"heal":               {Kind: Heal},
	} {
		if got := f.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// FuzzReadRepro feeds the reader anything. A file that it takes reads back the
// same.
func FuzzReadRepro(f *testing.F) {
	var small bytes.Buffer // white space is nothing to try
	file := (&Repro{Trace: "0123456789abcdef", Plan: quiet(Fault{At: 5, Kind: Heal})}).JSON()
	if err := json.Compact(&small, file); err != nil {
		f.Fatal(err)
	}
	f.Add(small.Bytes())
	f.Add([]byte(`{"plan":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadRepro(b)
		if err != nil {
			var e *atoll.Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		again, err := ReadRepro(r.JSON())
		if err != nil || !bytes.Equal(again.JSON(), r.JSON()) {
			t.Fatalf("%v after one round: %+v", err, r)
		}
		if !json.Valid(r.JSON()) {
			t.Fatal("not JSON")
		}
	})
}
