package deploy_test

import (
	"net/netip"
	"path"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// service is what the tests look at of a service in compose/compose.yaml.
type service struct {
	Environment map[string]string
	Networks    map[string]struct {
		Address netip.Addr `json:"ipv4_address"`
	}
	Volumes []string
}

// TestCompose: each of the three nodes starts with the configuration that the
// file gives it, says where it is, and knows the others.
func TestCompose(t *testing.T) {
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal(read(t, "compose/compose.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) != 3 {
		t.Fatalf("%d services", len(file.Services))
	}
	for name, s := range file.Services {
		var env []string
		for k, v := range s.Environment {
			env = append(env, k+"="+v)
		}
		got := show(t, "compose/atoll.yaml", env)
		at := s.Networks["sea"].Address.String()
		for _, want := range []string{"name: " + name, "advertise: " + at + ":7950"} {
			if !strings.Contains(got, want+"\n") {
				t.Errorf("%s: no %q in\n%s", name, want, got)
			}
		}
		for other, o := range file.Services {
			peer := "- " + o.Networks["sea"].Address.String() + ":7950\n"
			if strings.Contains(got, peer) != (other != name) {
				t.Errorf("%s joins %s: %v", name, other, other == name)
			}
		}
		mounted := map[string]bool{}
		for _, v := range s.Volumes {
			mounted[strings.Split(v, ":")[1]] = true
		}
		for line := range strings.Lines(got) {
			_, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if path.IsAbs(value) && !mounted[value] {
				t.Errorf("%s: nothing is mounted at %s", name, value)
			}
		}
	}
}
