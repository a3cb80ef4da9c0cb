package api

import (
	"context"
	"testing"
	"testing/synctest"
)

// TestHTTP3ConnsAreLimited: one too many is refused until another ends.
func TestHTTP3ConnsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s HTTP3Server
		first, end := context.WithCancel(t.Context())
		if _, err := s.admit(first, nil); err != nil {
			t.Fatal(err)
		}
		for range MaxHTTP3Conns - 1 {
			if _, err := s.admit(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.admit(t.Context(), nil); err != errFull {
			t.Fatalf("one too many: %v", err)
		}
		if n := s.Conns(); n != MaxHTTP3Conns {
			t.Errorf("%d are counted: a refused one must not be", n)
		}
		end()
		synctest.Wait()
		if _, err := s.admit(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}
