package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/atolledge/atoll"
)

var regions = []atoll.Region{"washington", "frankfurt", "tokyo"}

const nodesPerRegion = 2

// keyspace is where the clients write.
const keyspace = "soak"

// cluster is all nodes and the sea between them.
type cluster struct {
	atoll string
	dir   string
	sea   *sea
	nodes []*node
	http  *http.Client
}

// node is one process, its directory and its addresses.
type node struct {
	id             string
	region         atoll.Region
	data, url      string
	http, peer, at string // listen.http, listen.peer, and where the sea has it
	wipes          atomic.Int64
	busy           bool // stopped by a fault; only faults look at it

	mu      sync.Mutex
	process *exec.Cmd
}

func newCluster(bin, dir string, seed uint64) (*cluster, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	c := &cluster{
		atoll: bin, dir: dir, sea: newSea(seed),
		http: &http.Client{Timeout: 8 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
	}
	if err := c.run("ca", "init", "soak", "--dir", c.path("ca")); err != nil {
		return nil, err
	}
	for _, r := range regions {
		for i := range nodesPerRegion {
			if err := c.add(r, i+1); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) run(args ...string) error {
	if out, err := exec.Command(c.atoll, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("atoll %v: %w: %s", args, err, out)
	}
	return nil
}

// add makes a node with a certificate and a place in the sea.
func (c *cluster) add(r atoll.Region, i int) error {
	n := &node{id: fmt.Sprintf("%s/%d", r, i), region: r}
	n.data = c.path(fmt.Sprintf("%s-%d", r, i))
	var err error
	if n.http, err = freeAddr(); err == nil {
		if n.peer, err = freeAddr(); err == nil {
			n.at, err = freeAddr()
		}
	}
	if err != nil {
		return err
	}
	n.url = "http://" + n.http
	if err := c.run("ca", "issue", n.id, "--dir", c.path("ca"), "--host", "127.0.0.1",
		"--cert", n.data+".pem", "--key", n.data+"-key.pem"); err != nil {
		return err
	}
	c.nodes = append(c.nodes, n)
	return c.sea.harbour(n.at, n.peer, r)
}

// taken keeps addresses apart that were found free.
var taken = map[string]bool{}

// freeAddr returns an address of loopback whose UDP and TCP ports are free, below
// the range from which systems pick ports.
func freeAddr() (string, error) {
	for port := 20000 + os.Getpid()%10000; port < 32000; port++ {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if taken[addr] {
			continue
		}
		taken[addr] = true
		t, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		_ = t.Close()
		if err == nil {
			return addr, u.Close()
		}
	}
	return "", errors.New("no port is free")
}

// start runs the node's process; it is ready some time later.
func (c *cluster) start(n *node) error {
	args := []string{"start", "--name", filepath.Base(n.id), "--region-name", string(n.region),
		"--data", n.data, "--listen-http", n.http, "--listen-https", "", "--listen-dns", "",
		"--listen-peer", n.peer, "--advertise", n.at, "--tls-ca", filepath.Join(c.path("ca"), "ca.pem"),
		"--tls-cert", n.data + ".pem", "--tls-key", n.data + "-key.pem",
		"--limits-disk-reserve", "64MiB", "--log-level", "warn"}
	for _, other := range c.nodes {
		if other != n {
			args = append(args, "--join", other.at)
		}
	}
	log, err := os.OpenFile(n.data+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p := exec.Command(c.atoll, args...)
	p.Stdout, p.Stderr = log, log
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // never outlives this one
	if err := p.Start(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process = p
	return nil
}

// startAll starts those nodes that do not run and waits until all are ready.
func (c *cluster) startAll() error {
	for _, n := range c.nodes {
		if !n.runs() {
			if err := c.start(n); err != nil {
				return err
			}
		}
	}
	deadline := time.Now().Add(startLimit)
	for _, n := range c.nodes {
		for !c.ready(n) {
			if time.Now().After(deadline) {
				return fmt.Errorf("%s is not ready after %s; its log is %s.log", n.id, startLimit, n.data)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func (c *cluster) ready(n *node) bool {
	r, err := c.http.Get(n.url + "/readyz")
	if err != nil {
		return false
	}
	_ = r.Body.Close()
	return r.StatusCode == http.StatusOK
}

func (n *node) runs() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process != nil
}

// signal sends a signal to the process, if there is one.
func (n *node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		_ = n.process.Process.Signal(s)
	}
}

// kill is kill -9.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		_ = n.process.Process.Kill()
		_ = n.process.Wait() // says that it was killed
		n.process = nil
	}
}

// wipe loses the disk of a node that does not run.
func (n *node) wipe() error {
	n.wipes.Add(1)
	return os.RemoveAll(n.data)
}

// heal ends all faults and has every node running.
func (c *cluster) heal() error {
	c.sea.net.Heal()
	for _, n := range c.nodes {
		n.signal(syscall.SIGCONT)
	}
	return c.startAll()
}

// agree waits until all nodes export the same and returns it, by key.
func (c *cluster) agree() (map[string]json.RawMessage, error) {
	deadline := time.Now().Add(settleLimit)
	for {
		first, err := c.export(c.nodes[0])
		differs := ""
		for _, n := range c.nodes[1:] {
			if err == nil && differs == "" {
				var b []byte
				if b, err = c.export(n); !bytes.Equal(b, first) {
					differs = n.id
				}
			}
		}
		if err == nil && differs == "" {
			return parse(first)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("after %s %s and %s do not hold the same: %w",
				settleLimit, c.nodes[0].id, differs, errors.Join(err, errDiffer))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var errDiffer = errors.New("replicas differ")

func (c *cluster) export(n *node) ([]byte, error) {
	r, err := c.http.Get(n.url + "/v1/docs/" + keyspace + "/_export")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("export of %s: %s", n.id, r.Status)
	}
	return io.ReadAll(r.Body)
}

// parse reads export lines.
func parse(export []byte) (map[string]json.RawMessage, error) {
	docs := map[string]json.RawMessage{}
	lines := bufio.NewScanner(bytes.NewReader(export))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var item struct {
			Key string
			Doc json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &item); err != nil {
			return nil, fmt.Errorf("export: %q: %w", lines.Text(), err)
		}
		docs[item.Key] = item.Doc
	}
	return docs, lines.Err()
}

// end kills what still runs.
func (c *cluster) end() {
	for _, n := range c.nodes {
		n.kill()
	}
	c.sea.close()
}
