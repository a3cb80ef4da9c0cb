package sim

// rare is something that should happen now and then in a swarm: faults that meet
// what they are made for. A swarm in which one never happens does not look where
// it should.
type rare int

const (
	tornCommit      rare = iota // a crash left some outputs of a commit, not all
	crashBeforeSend             // what was durable had not been sent
	corruptDropped
	backlogDropped
	replayArrived
	fencedAndMinted
	trustedAgain
	sessionBehind
	levelReached
	levelMissed
	coreFirst
	rareKinds
)

func (r rare) String() string {
	return [...]string{"a commit was torn between outputs", "a crash came between commit and send",
		"a damaged frame was dropped", "a full queue dropped a message",
		"a message came again much later", "a rolled back node was fenced and took a new origin",
		"a rolled back node had lost nothing that others hold", "a session waited in vain",
		"a durability was reached", "a durability was missed",
		"a core agreed while the rest was broken"}[r]
}

// Rarities count how often each rare thing happened.
type Rarities [rareKinds]uint64

// Add puts what happened in another run into r.
func (r *Rarities) Add(o *Rarities) {
	for i, n := range o {
		r[i] += n
	}
}

// Missing names what never happened.
func (r *Rarities) Missing() (names []string) {
	for i, n := range r {
		if n == 0 {
			names = append(names, rare(i).String())
		}
	}
	return names
}

// note counts a rare thing if it happened.
func (w *world) note(happened bool, r rare) {
	if happened {
		w.rare[r]++
	}
}
