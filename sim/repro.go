package sim

import (
	"bytes"
	"encoding/json"

	"github.com/atolledge/atoll"
)

// Repro is a run as a file: its plan, and what came of it where it was written.
type Repro struct {
	Atoll      string   `json:"atoll"` // version of the writer
	Trace      string   `json:"trace"`
	OK         bool     `json:"ok"`
	Violations []string `json:"violations,omitempty"`
	Plan       *Plan    `json:"plan"`
}

// Repro returns the file of a result, written by an atoll of this version.
func (r *Result) Repro(version string) *Repro {
	p := &Repro{Atoll: version, Trace: r.Trace, OK: r.OK, Plan: r.Plan}
	for _, v := range r.Violations {
		p.Violations = append(p.Violations, v.String())
	}
	return p
}

// JSON returns the bytes of the file.
func (r *Repro) JSON() []byte {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic("sim: a plan is plain data: " + err.Error())
	}
	return append(b, '\n')
}

// ReadRepro reads a file and checks its plan. Errors are *atoll.Error values.
func ReadRepro(b []byte) (*Repro, error) {
	hint := "failing seeds of atoll sim swarm, and sim run --out DIR, write such files"
	if len(b) > MaxRepro {
		return nil, atoll.Errorf(atoll.TooLarge, "the file is too long").
			WithLimit("repro bytes", MaxRepro)
	}
	var r Repro
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, bad("not a run of the simulator: %v", err).WithHint(hint)
	}
	if r.Plan == nil {
		return nil, bad("not a run of the simulator: it has no plan").WithHint(hint)
	}
	if err := r.Plan.Check(); err != nil {
		return nil, err
	}
	return &r, nil
}
