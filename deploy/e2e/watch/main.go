// Command watch is somebody who lives from /v1/watch of a dev world that runs:
// a cache of documents, in words of HTTP alone.
//
//	watch [-changes 10000] [-writers 32]
//
// While it watches tokyo, 10,000 changes are written in all regions. In their
// middle tokyo is killed: it goes on at frankfurt with the last id that it got, and
// moves back when tokyo is there again. At the end it has what every region has.
// Then it reads too slowly and is told where to resume; and the whole world is
// killed and started, and its cursor is still good. A line each; exit 1 when
// something was missed.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	changes := flag.Int("changes", 10_000, "to be written")
	writers := flag.Int("writers", 32, "at the same time")
	flag.Parse()
	for _, story := range []func() (string, error){
		func() (string, error) { return moves(*changes, *writers) }, lags, restarts,
	} {
		line, err := story()
		if err != nil {
			fmt.Fprintln(os.Stderr, "watch:", err)
			os.Exit(1)
		}
		fmt.Println(line)
	}
}
