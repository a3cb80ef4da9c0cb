package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun reads the two files from a folder and writes the third.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "stars.ndjson")
	if err := run(dir, out); err == nil {
		t.Error("nothing to read, and no error")
	}
	for name, text := range map[string]string{
		"stars.6.json":   `{"features":[{"id":1,"properties":{"mag":2},"geometry":{}}]}`,
		"starnames.json": `{"1":{"name":"One"}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(dir, out); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	want := `{"id":"hip-1","name":"One","magnitude":2,"ra":0,"dec":0}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

func TestConvert(t *testing.T) {
	const names = `{"2":{"name":"Sirius","c":"CMa","desig":"α"},"3":{"c":"Car"}}`
	tests := []struct {
		name, features, want, err string
	}{
		{"none", ``, "", ""},
		{
			"named, west of Greenwich, brightest first",
			`{"id":3,"properties":{"mag":1,"bv":""},"geometry":{"coordinates":[-146.0847,19.1]}},
			 {"id":2,"properties":{"mag":-1.44,"bv":"0.009"},"geometry":{"coordinates":[101.2872,-16]}}`,
			`{"id":"hip-2","name":"Sirius","designation":"α CMa","constellation":"CMa",` +
				`"magnitude":-1.44,"color_index":0.009,"ra":101.2872,"dec":-16}` + "\n" +
				`{"id":"hip-3","constellation":"Car","magnitude":1,"ra":213.9153,"dec":19.1}` + "\n",
			"",
		},
		{
			"ties by number, nameless",
			`{"id":9,"properties":{"mag":5,"bv":"1"},"geometry":{"coordinates":[0,0]}},
			 {"id":8,"properties":{"mag":5,"bv":"-0.1"},"geometry":{"coordinates":[0,0]}}`,
			`{"id":"hip-8","magnitude":5,"color_index":-0.1,"ra":0,"dec":0}` + "\n" +
				`{"id":"hip-9","magnitude":5,"color_index":1,"ra":0,"dec":0}` + "\n",
			"",
		},
		{"bad colour", `{"id":8,"properties":{"mag":5,"bv":"red"}}`, "", "star 8: colour index"},
		{"bad JSON", `{`, "", "stars: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := convert([]byte(`{"features":[`+tt.features+`]}`), []byte(names))
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s (%v)\nwant %s", got, err, tt.want)
			}
		})
	}
}
