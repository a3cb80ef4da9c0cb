// Package plant provides the known wrong variants of the replication rules, so
// that tests can show that they would notice them. A binary built without the
// tag "plant" holds none of them: Bug is then the constant None.
package plant

// Variant is one wrong rule.
type Variant int

// The wrong rules, each found by fuzzing a model of the protocol.
const (
	None                    Variant = iota
	SplitDocument                   // a pull answer splits a document's dots
	GhostAsSeen                     // a removed, unseen dot enters the clock
	GhostNotAdopted                 // a join forgets the source's ghosts
	GhostIgnored                    // a join adds what is a ghost here
	NoFloor                         // the index answers although it was cut
	FloorOwnCutsOnly                // dots that came by a full pull are not in cut
	FullInPlace                     // a full pull's dots enter the clock one by one
	ResumeElsewhere                 // a broken full pull goes on from another source
	ServeWhileApplying              // a partition answers in the middle of a full pull
	ResetRemovesRows                // a counter reset leaves no reset entry
	ResetDroppedEarly               // a reset entry goes though a row still needs it
	SendBeforeDurable               // the owner sends what a crash may still lose
	TornCommit                      // clock and documents become durable apart
	AnswerOutlivesRun               // a pull answer is used by the process after the asker's
	ClosedByMax                     // what a member wrote counts as here by its highest dot
	ForgottenEarly                  // an origin's holes close before all have promised
	PrunedAlone                     // an origin leaves a clock though others' documents name it
	LapsedCounts                    // a reset entry goes though it names a member that has lapsed
	OrphanCleared                   // a write removes a share whose bound it has not seen
	EscrowAckBeforeDurable          // who takes from a bounded counter hears of it too early
	EscrowSentBeforeDurable         // a share is sent before it is durable
	LocalExpiry                     // a replica drops a document past its deadline by itself
	UntimedReports                  // a report from before a deadline counts for what is past it
	RemoveBySeen                    // where deletes win, a write that has seen a marker removes it
	SeenNotInherited                // an entry names only the markers that its writer sees itself
	MarkerCleanedEarly              // a marker is cleaned up before all have told it
	NoSpentMarker                   // nothing keeps what a cleaned marker would be seen by
	OpenReports                     // what a member wrote before its report need not be here
)

// Variants lists all of them but None.
func Variants() []Variant {
	all := make([]Variant, OpenReports)
	for i := range all {
		all[i] = Variant(i + 1)
	}
	return all
}

func (v Variant) String() string {
	if v >= GhostForgotten {
		return v.outside()
	}
	return [...]string{"none", "split-document", "ghost-as-seen", "ghost-not-adopted",
		"ghost-ignored", "no-floor", "floor-own-cuts-only", "full-in-place",
		"resume-elsewhere", "serve-while-applying", "reset-removes-rows", "reset-dropped-early",
		"send-before-durable", "torn-commit", "answer-outlives-run", "closed-by-max",
		"forgotten-early", "pruned-alone", "lapsed-counts", "orphan-cleared",
		"escrow-ack-before-durable", "escrow-sent-before-durable",
		"expiry-local-removal", "expiry-untimed-reports", "delete-wins-remove-by-seen",
		"seen-not-inherited", "marker-cleaned-early", "no-spent-marker", "open-reports"}[v]
}
