package geo

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// The file of a table is
//
//	magic    8 bytes "ATOLLGEO"
//	version  1 byte, 1
//	body     one gzip member to the end of the file
//
// and the body, all numbers uvarint (zigzag where signed):
//
//	made, attribution       length, bytes
//	places                  count, then each: length, country; latitude,
//	                        longitude in hundredths of a degree, signed
//	IPv4 ranges, then IPv6  count n, then three columns of n, each column
//	                        together because that packs best:
//	    shift   1 byte      trailing zero bits of the step, 0 for the first
//	    step                (start - previous start) >> shift; the first is 0
//	    value               place number from 1, 0 for a gap
const (
	magic      = "ATOLLGEO"
	version    = 1
	maxBody    = 64 << 20 // bytes of an unpacked body
	maxText    = 1 << 10  // bytes of a text in it
	hundredths = 100
)

//go:generate sh gen/fetch.sh
//go:embed country.atollgeo
var country []byte

// Attribution is what has to be shown, as a link to https://db-ip.com, with
// answers of the embedded table.
const Attribution = "IP Geolocation by DB-IP"

// Default returns the embedded table: country by country, IPv4 and IPv6, from
// DB-IP Lite. It unpacks it at each call.
func Default() (*Table, error) { return Decode(country) }

// Encode returns the file of t.
func (t *Table) Encode() ([]byte, error) {
	out := bytes.NewBufferString(magic)
	out.WriteByte(version)
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(t.body()); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (t *Table) body() []byte {
	b := appendText(nil, t.Made)
	b = appendText(b, t.Attribution)
	b = binary.AppendUvarint(b, uint64(len(t.places)))
	for _, p := range t.places {
		b = appendText(b, p.Country)
		b = binary.AppendVarint(b, int64(math.Round(p.Lat*hundredths)))
		b = binary.AppendVarint(b, int64(math.Round(p.Lon*hundredths)))
	}
	return t.v6.append(t.v4.append(b))
}

func (f *family[K]) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(f.starts)))
	steps := make([]uint64, len(f.starts))
	prev := f.starts[0]
	for i, start := range f.starts {
		d := uint64(start - prev)
		shift := bits.TrailingZeros64(d) % 64 // a step of 0 has no shift
		b = append(b, byte(shift))
		steps[i], prev = d>>shift, start
	}
	for _, s := range steps {
		b = binary.AppendUvarint(b, s)
	}
	for _, v := range f.vals {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Decode reads the file of a table; every limit, order and number is checked.
func Decode(file []byte) (*Table, error) {
	if len(file) <= len(magic) || string(file[:len(magic)]) != magic {
		return nil, errors.New("geo table: not a table file")
	}
	if v := file[len(magic)]; v != version {
		return nil, fmt.Errorf("geo table: version %d, this program reads %d", v, version)
	}
	z, err := gzip.NewReader(bytes.NewReader(file[len(magic)+1:]))
	if err != nil {
		return nil, fmt.Errorf("geo table: %w", err)
	}
	body, err := readAll(z, maxBody)
	if err != nil {
		return nil, fmt.Errorf("geo table: %w", err)
	}
	return decodeBody(body)
}

// readAll reads all of r, which must not be more than limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("unpacks to more than %d bytes", limit)
	}
	return b, err
}

func decodeBody(body []byte) (*Table, error) {
	r := reader{b: body}
	t := &Table{Made: r.text(), Attribution: r.text()}
	for range r.count(MaxPlaces) {
		p := Place{Country: r.text(), Lat: r.degrees(), Lon: r.degrees()}
		if p.check() != nil {
			r.bad = true
		}
		t.places = append(t.places, p)
	}
	readFamily(&r, &t.v4, len(t.places))
	readFamily(&r, &t.v6, len(t.places))
	if r.bad || len(r.b) != 0 {
		return nil, errors.New("geo table: damaged body")
	}
	return t, nil
}

// readFamily reads the ranges of one family and checks its invariant.
func readFamily[K uint32 | uint64](r *reader, f *family[K], places int) {
	n := r.count(MaxRanges)
	if n == 0 || len(r.b) < 3*n {
		r.bad = true
		return
	}
	shifts := r.take(n)
	f.starts, f.vals = make([]K, n), make([]uint16, n)
	for i := range n {
		step := r.step(shifts[i], f.width())
		if i == 0 {
			r.bad = r.bad || step != 0
			continue
		}
		f.starts[i] = f.starts[i-1] + K(step)
		r.bad = r.bad || f.starts[i] <= f.starts[i-1]
	}
	for i := range n {
		v := r.uvarint()
		f.vals[i] = uint16(v)
		r.bad = r.bad || v > uint64(places) || i > 0 && f.vals[i] == f.vals[i-1]
	}
	f.index()
}
