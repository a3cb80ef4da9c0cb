package sim

import (
	"reflect"
	"regexp"
	"testing"
)

// TestEveryKey: the scenario that explains the format has every key of it and
// names every kind of fault. That it runs, TestBuiltins shows.
func TestEveryKey(t *testing.T) {
	text, err := Source("every-key")
	if err != nil {
		t.Fatal(err)
	}
	names := append(kinds(), Heal, Join, Gone)
	keysOf(reflect.TypeFor[Scenario](), func(key string) { names = append(names, key+":") })
	if len(names) < 60 {
		t.Fatalf("%d names: the test looks at the wrong struct", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile(`(^|\W)` + regexp.QuoteMeta(name)).Match(text) {
			t.Errorf("sim/scenarios/every-key.yaml does not tell of %q", name)
		}
	}
}

// keysOf calls found with the YAML keys of a struct and of what is in it.
func keysOf(s reflect.Type, found func(string)) {
	for s.Kind() == reflect.Slice || s.Kind() == reflect.Pointer {
		s = s.Elem()
	}
	if s.Kind() != reflect.Struct {
		return
	}
	for f := range s.Fields() {
		if key := f.Tag.Get("yaml"); key != "" {
			found(key)
			keysOf(f.Type, found)
		}
	}
}
