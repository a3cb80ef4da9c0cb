package replication

import (
	"bytes"
	"iter"

	"github.com/google/btree"
)

// Memory is a durable state in memory, for simulators and tests. It is a value
// of its own after Snapshot. The zero Memory is not ready; use NewMemory.
type Memory struct{ tree *btree.BTreeG[Write] }

// NewMemory returns an empty state.
func NewMemory() *Memory {
	return &Memory{btree.NewG(16, func(a, b Write) bool { return bytes.Compare(a.Key, b.Key) < 0 })}
}

// Snapshot returns the state of this instant. It costs little.
func (m *Memory) Snapshot() *Memory { return &Memory{m.tree.Clone()} }

// Apply makes the writes, in order. It keeps their slices.
func (m *Memory) Apply(writes []Write) {
	for _, w := range writes {
		if w.Value == nil {
			m.tree.Delete(w)
		} else {
			m.tree.ReplaceOrInsert(w)
		}
	}
}

// Exchange is Apply that appends to undo, in order, what each write replaced:
// applied from the last to the first, they take the writes back.
func (m *Memory) Exchange(writes, undo []Write) []Write {
	for _, w := range writes {
		var old Write
		if w.Value == nil {
			old, _ = m.tree.Delete(w)
		} else {
			old, _ = m.tree.ReplaceOrInsert(w)
		}
		undo = append(undo, Write{w.Key, old.Value})
	}
	return undo
}

// Len returns the number of keys.
func (m *Memory) Len() int { return m.tree.Len() }

// Get implements View.
func (m *Memory) Get(key []byte) ([]byte, bool) {
	w, ok := m.tree.Get(Write{Key: key})
	return w.Value, ok
}

// Scan implements View.
func (m *Memory) Scan(from, to []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		m.tree.AscendRange(Write{Key: from}, Write{Key: to}, func(w Write) bool {
			return yield(w.Key, w.Value)
		})
	}
}
