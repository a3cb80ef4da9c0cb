package plant

// The wrong rules that the simulator is to notice from outside, by what clients
// and replicas see. They stand behind those of the schedules.
const (
	GhostForgotten    Variant = 100 + iota // a removed, unseen dot is not remembered
	JoinDropsUnseen                        // a join drops what its source has not seen
	DuplicateApplied                       // a delta that was seen is applied again
	OneDotOfRun                            // of a delta's dots only the first enters the clock
	CutNotRaised                           // the index goes and cut does not say so
	BrokenPullApplied                      // what a broken full pull brought is applied
	CursorIgnored                          // keys that a full pull has passed are read by the old clock
	CollectingResumed                      // a full pull that a crash broke is applied
	SentCountsAsThere                      // what was sent to a member counts as its report
	SessionUnchecked                       // a session is served without what it names
	BirthReused                            // a counter row always begins at birth 1
	FenceIgnored                           // a rolled back origin goes on writing
	EarliestWins                           // of concurrent values the earliest shows
	HintsAsDots                            // the clock of a source counts when its answer begins
	end
)

// Outside lists them.
func Outside() []Variant {
	var all []Variant
	for v := GhostForgotten; v < end; v++ {
		all = append(all, v)
	}
	return all
}

// outside are their names.
func (v Variant) outside() string {
	return [...]string{"ghost-forgotten", "join-drops-unseen", "duplicate-applied", "one-dot-of-run",
		"cut-not-raised", "broken-pull-applied", "cursor-ignored", "collecting-resumed",
		"sent-counts-as-there", "session-unchecked", "birth-reused",
		"fence-ignored", "earliest-wins", "hints-as-dots"}[v-GhostForgotten]
}
