package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestVerify takes what nodes hold against what one client was told.
func TestVerify(t *testing.T) {
	n := &node{id: "tokyo/1"}
	wiped := &node{id: "tokyo/2"}
	wiped.wipes.Store(1)
	told := wrote{answered: true, node: n}
	lost := wrote{answered: true, node: wiped}             // by a disk that is gone
	safe := wrote{answered: true, node: wiped, safe: true} // and by another
	perhaps := wrote{node: n}
	const doc0 = `{"by":"c00","i":0}`
	for _, tt := range []struct {
		name string
		c    client
		docs map[string]string
		want string // of the error; "" for none
	}{
		{"nothing at all", client{}, nil, ""},
		{"there", client{docs: []document{{put: told}}}, map[string]string{"doc/c00/00000": doc0}, ""},
		{"lost", client{docs: []document{{put: told}}}, nil, "LOST"},
		{"lost with its disk", client{docs: []document{{put: lost}}}, nil, ""},
		{"lost with one of two disks", client{docs: []document{{put: safe}}}, nil, "LOST"},
		{"never answered", client{docs: []document{{put: perhaps}}}, nil, ""},
		{"another's text", client{docs: []document{{put: told}}}, map[string]string{"doc/c00/00000": `{"i":0}`}, "WRONG"},
		{"deleted", client{docs: []document{{put: told, del: told, deleted: true}}}, nil, ""},
		{"deleted, perhaps", client{docs: []document{{put: told, del: perhaps, deleted: true}}},
			map[string]string{"doc/c00/00000": doc0}, ""},
		{"resurrected", client{docs: []document{{put: told, del: told, deleted: true}}},
			map[string]string{"doc/c00/00000": doc0}, "RESURRECTED"},
		{"counted", client{incs: []wrote{told, perhaps, lost}}, map[string]string{"count/c00": `{"n":1}`}, ""},
		{"counted too little", client{incs: []wrote{told, told}}, map[string]string{"count/c00": `{"n":1}`}, "COUNT"},
		{"counted twice", client{incs: []wrote{told}}, map[string]string{"count/c00": `{"n":2}`}, "COUNT"},
		{"last version", client{version: 2, versions: []wrote{told, perhaps}}, map[string]string{"v/c00": `{"v":1}`}, ""},
		{"older version that may have come late", client{version: 2, versions: []wrote{perhaps, told}},
			map[string]string{"v/c00": `{"v":1}`}, ""},
		{"older version", client{version: 2, versions: []wrote{told, safe}}, map[string]string{"v/c00": `{"v":1}`}, "VERSION"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.name = "c00"
			docs := map[string]json.RawMessage{}
			for k, v := range tt.docs {
				docs[k] = json.RawMessage(v)
			}
			err := (&crowd{all: []*client{&tt.c}}).verify(docs)
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
