package deploy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// atoll builds the binary once and returns its path.
var atoll = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "atoll-deploy-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "atoll")
	out, err := exec.Command("go", "build", "-o", bin, "../cmd/atoll").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := atoll(); err == nil {
		os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// command is atoll with arguments, in an environment without settings.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := atoll()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(bin, args...)
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "ATOLL_")
	})
	return c
}

func output(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c.Args[1:], err, out)
	}
	return string(out)
}

// show returns the configuration that a node would start with.
func show(t *testing.T, file string, env []string) string {
	t.Helper()
	c := command(t, "config", "show", "--config", file)
	c.Env = append(c.Env, env...)
	return output(t, c)
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rules is a file of Prometheus rules.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Record, Alert, Expr, For string
			Labels, Annotations      map[string]string
		}
	}
}

func readRules(t *testing.T) (r rules) {
	t.Helper()
	if err := yaml.UnmarshalStrict(read(t, "prometheus/atoll.rules.yaml"), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRunbooks: every alert has its section in RUNBOOKS.md, and every section
// its alert; each says what is wrong, what to look at and what to do.
func TestRunbooks(t *testing.T) {
	sections := map[string]string{}
	for _, s := range strings.Split(string(read(t, "RUNBOOKS.md")), "\n## ")[1:] {
		title, body, _ := strings.Cut(s, "\n")
		sections[title] = body
	}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			body, ok := sections[r.Alert]
			if !ok {
				t.Errorf("%s has no section", r.Alert)
			}
			delete(sections, r.Alert)
			for _, part := range []string{"**Meaning.**", "**Look.**", "**Do.**"} {
				if !strings.Contains(body, part) {
					t.Errorf("%s: no %s", r.Alert, part)
				}
			}
			if want := "deploy/RUNBOOKS.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
				t.Errorf("%s leads to %q, want %q", r.Alert, r.Annotations["runbook"], want)
			}
			if s := r.Labels["severity"]; s != "page" && s != "ticket" || r.Annotations["summary"] == "" {
				t.Errorf("%s: severity %q, summary %q", r.Alert, s, r.Annotations["summary"])
			}
		}
	}
	for title := range sections {
		t.Errorf("section %s has no alert", title)
	}
}

// expressions returns every query of the rules and of the dashboard by where it
// stands.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			all["rule "+r.Alert+r.Record] = r.Expr
		}
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "grafana/atoll.json"), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for i, target := range p.Targets {
			all[fmt.Sprintf("panel %d %s, query %d", p.ID, p.Title, i)] = target.Expr
		}
	}
	if len(all) < 50 {
		t.Fatalf("only %d queries: the test looks at the wrong place", len(all))
	}
	return all
}

// named finds the metrics that a query names: what is no function, no label and
// no keyword. A name with a colon is a rule's.
var named = regexp.MustCompile(`\b(atoll_[a-z0-9_]+|go_[a-z0-9_]+|process_[a-z0-9_]+|atoll:[a-z0-9_:]+)`)

// TestMetricsExist asks two real nodes for their metrics, and wants every one
// that a rule or a panel names, with the labels that it selects by.
func TestMetricsExist(t *testing.T) {
	page := pair(t)
	recorded := map[string]bool{}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			recorded[r.Record] = true
		}
	}
	for where, expr := range expressions(t) {
		names := named.FindAllString(expr, -1)
		if len(names) == 0 && !strings.Contains(expr, `up{job="atoll"}`) {
			t.Errorf("%s names no metric: %s", where, expr)
		}
		for _, name := range names {
			if !page[name] && !recorded[name] {
				t.Errorf("%s: no node has %s", where, name)
			}
		}
	}
}

// pair runs two nodes, in two regions, until each has met the other, and
// returns the names of all samples that the first shows.
func pair(t *testing.T) map[string]bool {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	output(t, command(t, "ca", "init", "pair", "--dir", ca))
	peers := []string{freeAddr(t), freeAddr(t)}
	var urls []string
	for i, region := range []string{"eu", "us"} {
		at := filepath.Join(dir, region)
		output(t, command(t, "ca", "issue", region+"/1", "--dir", ca, "--host", "127.0.0.1",
			"--cert", at+".pem", "--key", at+"-key.pem"))
		urls = append(urls, start(t, "--region-name", region, "--data", at,
			"--listen-http", "127.0.0.1:0", "--listen-https", freeAddr(t), "--listen-dns", "",
			"--listen-peer", peers[i], "--join", peers[1-i],
			"--tls-ca", filepath.Join(ca, "ca.pem"), "--tls-cert", at+".pem",
			"--tls-key", at+"-key.pem"))
	}
	names := map[string]bool{}
	deadline := time.Now().Add(30 * time.Second)
	for !names["atoll_peer_rtt_seconds"] || !names["atoll_http_requests_total"] {
		if time.Now().After(deadline) {
			t.Fatalf("the nodes never met; metrics: %v", slices.Sorted(maps.Keys(names)))
		}
		time.Sleep(20 * time.Millisecond)
		names = samples(t, urls[0]+"/metrics")
	}
	return names
}

// samples returns the names on a page of metrics; a failed request has none.
func samples(t *testing.T, url string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	r, err := http.Get(url)
	if err != nil {
		return names
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", url, r.Status, err, b)
	}
	for line := range bytes.Lines(b) {
		name, _, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		name, _, _ = strings.Cut(name, "{")
		names[name] = name != "#" && name != ""
	}
	return names
}

// freeAddr returns an address of loopback whose UDP and TCP ports are free,
// below the range from which systems pick ports.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return addr
		}
	}
	t.Fatal("no port is free for both")
	return ""
}

// start runs a node until the test ends and returns the URL of its API.
func start(t *testing.T, args ...string) string {
	t.Helper()
	c := command(t, append([]string{"start"}, args...)...)
	said, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	url, all := "", ""
	lines := bufio.NewScanner(said)
	for url == "" && lines.Scan() {
		all += lines.Text() + "\n"
		if _, rest, ok := strings.Cut(lines.Text(), "documents  http://"); ok {
			url = "http://" + strings.Split(rest, "/")[0]
		}
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, said)
	}()
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		<-read
		if err := c.Wait(); err != nil {
			t.Errorf("the node ended: %v", err)
		}
	})
	if url == "" {
		t.Fatalf("the node did not start:\n%s", all)
	}
	return url
}
