// Package validate provides the check against the literature: published results
// on replication, reproduced from what their papers say, beside what Atoll's own
// core does on the same workloads.
//
// A study is a file: what it is about, a source, the parameters of one model and
// the figures that the source prints, each with its place and how near ours has
// to come. All models count with integers and draw from one seed, so that the
// same studies give the same table on every machine.
package validate

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/sim"
)

// studyVersion is the version of the study format.
const studyVersion = 1

// Limits of a study.
const (
	MaxTrials = 100_000_000
	MaxSites  = 100_000
	MaxRows   = 1000
)

// FullFactor is how many times the samples of a study a full run takes.
const FullFactor = 5

// Study is what a study file says, in YAML with strict keys. Exactly one of the
// models is there, but that a sync may stand beside a scenario.
type Study struct {
	// Version of this format: 1.
	Version int `yaml:"version"`
	// Name of the study: letters, digits and hyphens.
	Name string `yaml:"name"`
	// Source is the paper: authors, title, venue.
	Source string `yaml:"source"`
	// Trials is how many samples a model of chance takes.
	Trials int `yaml:"trials"`
	// Overlay lists the neighbours of each node, as topology.overlay of a scenario,
	// where it stands too unless that has its own.
	Overlay [][]int `yaml:"overlay"`

	Quorum   *Quorum       `yaml:"quorum"`
	Sync     *Sync         `yaml:"sync"`
	Push     *Push         `yaml:"push"`
	Rumor    *Rumor        `yaml:"rumor"`
	Swim     *Swim         `yaml:"swim"`
	Scenario *sim.Scenario `yaml:"scenario"`

	Rows []Figure `yaml:"rows"`
}

// Figure is one published number.
type Figure struct {
	// Figure is what is measured; each model has its own.
	Figure string `yaml:"figure"`
	// Paper is what the source says: a decimal, with % or ms where it is a share or
	// a time; <= in front makes it a bound.
	Paper string `yaml:"paper"`
	// Where the source says it: its table, section or page.
	Where string `yaml:"where"`
	// Tolerance is how far ours may be off: 5% of the paper's, 1pp of a share, or
	// a decimal in its unit. A bound has none.
	Tolerance string `yaml:"tolerance"`
}

// Row is a figure with what we found.
type Row struct {
	Study, Source, Where string
	Figure               string
	Paper, Ours          string
	Tolerance            string
	OK                   bool
}

// model measures figures, of which it can say beforehand that it knows them. It
// breaks off soon after ctx is done.
type model interface {
	knows(figure string) error
	measure(ctx context.Context, figures []string) ([]value, error)
}

//go:embed studies/*.yaml
var builtin embed.FS

// Names returns the names of the built-in studies, in order.
func Names() (names []string) {
	files, _ := builtin.ReadDir("studies") // embedded: it is there
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	return names
}

// Source returns the text of a built-in study; the error lists those there are.
func Source(name string) ([]byte, error) {
	if !slices.Contains(Names(), name) {
		return nil, atoll.Errorf(atoll.NotFound, "there is no study %q", name).
			WithHint("built in are " + strings.Join(Names(), ", "))
	}
	return builtin.ReadFile("studies/" + name + ".yaml")
}

// Builtin returns the built-in studies, in order of name.
func Builtin() (all []*Study, err error) {
	for _, name := range Names() {
		text, err := Source(name)
		if err != nil {
			return nil, err
		}
		s, err := Parse(name, text)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Parse reads a study; name is what errors call it. They name the line and the
// key, or the row.
func Parse(name string, text []byte) (*Study, error) {
	s := &Study{}
	if err := sim.Decode(name, text, s); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, bad("%s: %v", name, err).WithHint("atoll sim list --show " + Names()[0] +
			" prints a study with its keys")
	}
	return s, nil
}

func bad(format string, args ...any) *atoll.Error {
	return atoll.Errorf(atoll.BadRequest, format, args...)
}

// check refuses a study that cannot be run, down to its last figure.
func (s *Study) check() error {
	switch {
	case s.Version != studyVersion:
		return fmt.Errorf("version %d, want version: %d", s.Version, studyVersion)
	case s.Name == "" || s.Source == "":
		return fmt.Errorf("name and source are both needed")
	case s.Trials < 0 || s.Trials > MaxTrials:
		return fmt.Errorf("trials: %d, want up to %d", s.Trials, MaxTrials)
	case len(s.Rows) == 0 || len(s.Rows) > MaxRows:
		return fmt.Errorf("%d rows, want 1 to %d", len(s.Rows), MaxRows)
	}
	m, err := s.model(1)
	if err != nil {
		return err
	}
	for i, f := range s.Rows {
		if _, err := newGoal(f); err != nil {
			return fmt.Errorf("rows[%d]: %w", i, err)
		}
		if err := m.knows(f.Figure); err != nil {
			return fmt.Errorf("rows[%d].figure: %w", i, err)
		}
	}
	return nil
}

// model makes the model of a study ready, for so many times its trials.
func (s *Study) model(factor int) (model, error) {
	models := 0
	for _, there := range []bool{
		s.Quorum != nil, s.Sync != nil || s.Scenario != nil, s.Push != nil, s.Rumor != nil, s.Swim != nil,
	} {
		if there {
			models++
		}
	}
	if models != 1 {
		return nil, fmt.Errorf("%d models, want one of quorum, sync or scenario, push, rumor and swim", models)
	}
	trials := s.Trials * factor
	chance := s.Quorum != nil || s.Push != nil || s.Rumor != nil || s.Swim != nil
	if chance != (trials > 0) {
		return nil, fmt.Errorf("trials: %d; quorum, push, rumor and swim need some, the others have none",
			s.Trials)
	}
	switch {
	case s.Quorum != nil:
		return s.Quorum.model(trials)
	case s.Push != nil:
		return s.Push.model(trials)
	case s.Rumor != nil:
		return s.Rumor.model(trials)
	case s.Swim != nil:
		return s.Swim.model(trials)
	}
	return s.syncModel()
}
