package main

import (
	"encoding/json"
	"testing"
)

// TestWorldJSON holds the names in what wan --json and node --json print.
func TestWorldJSON(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  string
	}{
		{
			link{From: "a", To: "b", RTTMS: 86, JitterMS: 1.5, Loss: 0.01, Packets: packets{3, 2, 1}},
			`{"from":"a","to":"b","rtt_ms":86,"jitter_ms":1.5,"loss":0.01,"cut":false,` +
				`"packets":{"sent":3,"delivered":2,"dropped":1}}`,
		},
		{
			devNode{"a/1", "a", "killed", "http://127.0.1.1:8080"},
			`{"id":"a/1","region":"a","state":"killed","http":"http://127.0.1.1:8080"}`,
		},
	} {
		if got, err := json.Marshal(tt.value); err != nil || string(got) != tt.want {
			t.Errorf("got %s (%v)\nwant %s", got, err, tt.want)
		}
	}
}
