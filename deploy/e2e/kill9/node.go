package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// startLimit is how long a node may take to be ready again.
const startLimit = 20 * time.Second

// node is an atoll start that is killed and comes back on the same data.
type node struct {
	atoll, data, http, peer, url string
	process                      *exec.Cmd
}

func newNode(atoll, data string) (*node, error) {
	n := &node{atoll: atoll, data: data}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.http, n.peer = tcp.Addr().String(), udp.LocalAddr().String()
	n.url = "http://" + n.http
	_, _ = tcp.Close(), udp.Close() // the node takes them a moment later
	return n, nil
}

// start runs the node and returns how long it took to be ready.
func (n *node) start() (time.Duration, error) {
	begin := time.Now()
	n.process = exec.Command(n.atoll, "start", "--data", n.data, "--listen-http", n.http,
		"--listen-peer", n.peer, "--listen-dns", "", "--log-level", "warn",
		"--media-sweep", "500ms", "--media-grace", "100ms")
	n.process.Stderr = os.Stderr
	if err := n.process.Start(); err != nil {
		return 0, err
	}
	for time.Since(begin) < startLimit {
		if r, err := http.Get(n.url + "/readyz"); err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return time.Since(begin), nil
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	n.kill()
	return 0, fmt.Errorf("the node is not ready after %s", startLimit)
}

// kill is kill -9.
func (n *node) kill() {
	_ = n.process.Process.Kill()
	_ = n.process.Wait() // says that it was killed
	http.DefaultClient.CloseIdleConnections()
}

// stop ends the node as an operator does.
func (n *node) stop() error {
	if err := n.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := n.process.Wait(); err != nil {
		return fmt.Errorf("after SIGTERM: %w", err)
	}
	return nil
}
