package cache

import (
	"context"
	"errors"
	"io"

	"github.com/golang/groupcache"

	"github.com/atolledge/atoll"
)

// readAhead is how many chunks a Reader that is read from front to back fetches
// before they are asked for: with the one that is being read, as many as there
// are connections to carry them from a distant region.
const readAhead = 7

// parseManifest returns the chunks of an object of size bytes; -1 if that is not
// known.
func parseManifest(b []byte, size int64) ([]atoll.Hash, error) {
	const each = len(atoll.Hash{})
	if want := (size + atoll.ChunkSize - 1) / atoll.ChunkSize; len(b)%each != 0 ||
		size >= 0 && int64(len(b)/each) != want {
		return nil, atoll.Errorf(atoll.Internal, "a manifest of %d bytes for an object of %d",
			len(b), size)
	}
	hashes := make([]atoll.Hash, len(b)/each)
	for i := range hashes {
		copy(hashes[i][:], b[i*each:])
	}
	return hashes, nil
}

// Open returns the body of an object, which ends with ctx. The error says that
// its list of chunks is out of reach.
func (m *Media) Open(ctx context.Context, o atoll.Object) (io.ReadSeeker, error) {
	r := &Reader{ctx: ctx, tier: m.tier, object: o, at: -1}
	if o.Size == 0 {
		return r, nil
	}
	view, err := m.tier.Get(ctx, o.Manifest, o.Homes)
	if err == nil {
		r.chunks, err = parseManifest(view.ByteSlice(), o.Size)
	}
	return r, outOfReach(err)
}

// outOfReach gives an error of the tier a kind.
func outOfReach(err error) error {
	var e *atoll.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return atoll.Errorf(atoll.BehindSession, "a part of the object is out of reach").
		WithHint("try again, or in the region where it was stored").Because(err)
}

// Reader reads the body of an object chunk by chunk. It implements io.ReadSeeker
// and belongs to one goroutine.
type Reader struct {
	ctx    context.Context
	tier   *Tier
	object atoll.Object
	chunks []atoll.Hash
	offset int64

	at    int // index of the chunk in view, -1: none
	view  groupcache.ByteView
	ahead []promise // of the chunks behind at
}

// promise is a chunk on its way.
type promise struct {
	index int
	done  chan result
}

type result struct {
	view groupcache.ByteView
	err  error
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.object.Size
	}
	if offset < 0 {
		return 0, errors.New("cache: seek before the beginning")
	}
	r.offset = offset
	return offset, nil
}

// Read implements io.Reader. Its errors are *atoll.Error or the context's.
func (r *Reader) Read(p []byte) (int, error) {
	if r.offset >= r.object.Size {
		return 0, io.EOF
	}
	if err := r.move(int(r.offset / atoll.ChunkSize)); err != nil {
		return 0, outOfReach(err)
	}
	n := r.view.SliceFrom(int(r.offset % atoll.ChunkSize)).Copy(p)
	r.offset += int64(n)
	if n == 0 && len(p) > 0 {
		return 0, atoll.Errorf(atoll.Internal, "a chunk of an object is too short")
	}
	return n, nil
}

// move makes i the chunk in view.
func (r *Reader) move(i int) error {
	if i == r.at {
		return nil
	}
	next := i == r.at+1
	got := <-r.want(i).done
	if got.err != nil {
		r.at, r.ahead = -1, nil
		return got.err
	}
	r.at, r.view = i, got.view
	for len(r.ahead) > 0 && r.ahead[0].index <= i {
		r.ahead = r.ahead[1:]
	}
	if !next {
		r.ahead = nil
		return nil
	}
	for j := i + 1 + len(r.ahead); j <= i+readAhead && j < len(r.chunks); j++ {
		r.ahead = append(r.ahead, r.fetch(j))
	}
	return nil
}

// want returns the promise of chunk i.
func (r *Reader) want(i int) promise {
	for _, p := range r.ahead {
		if p.index == i {
			return p
		}
	}
	return r.fetch(i)
}

func (r *Reader) fetch(i int) promise {
	p := promise{i, make(chan result, 1)}
	go func() {
		view, err := r.tier.Get(r.ctx, r.chunks[i], r.object.Homes)
		p.done <- result{view, err}
	}()
	return p
}
