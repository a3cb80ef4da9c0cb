package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// wanBytes is how many bytes of chunks a node has got from other regions.
func wanBytes(api string) (float64, error) {
	r, err := http.Get(api + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), `atoll_media_read_bytes_total{from="wan"} `); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, lines.Err() // nothing yet
}

// sampleEvery is how often the memory is looked at.
const sampleEvery = 100 * time.Millisecond

// memory is what the kernel counts as a process's, over some time.
type memory struct {
	pid     int
	stop    chan struct{}
	samples chan []int64 // of VmRSS in bytes, once stopped
}

func watch(pid int) (*memory, error) {
	if _, err := status(pid, "VmRSS"); err != nil {
		return nil, err
	}
	m := &memory{pid, make(chan struct{}), make(chan []int64, 1)}
	go m.run()
	return m, nil
}

func (m *memory) run() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var samples []int64
	for {
		if rss, err := status(m.pid, "VmRSS"); err == nil {
			samples = append(samples, rss)
		}
		select {
		case <-m.stop:
			m.samples <- samples
			return
		case <-tick.C:
		}
	}
}

// end returns how much larger the last third of the samples is than the second,
// in the mean: what still grows when everything is warm.
func (m *memory) end() (growth float64) {
	close(m.stop)
	s := <-m.samples
	third := len(s) / 3
	return mean(s[2*third:]) - mean(s[third:2*third])
}

func mean(s []int64) (m float64) {
	for _, v := range s {
		m += float64(v) / float64(len(s))
	}
	return m
}

// status reads a field of /proc/PID/status, in bytes.
func status(pid int, field string) (n int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, line, _ := strings.Cut(string(b), "\n"+field+":")
	if _, err := fmt.Sscan(line, &n); err != nil {
		return 0, fmt.Errorf("%s of process %d: %w", field, pid, err)
	}
	return n << 10, nil
}
