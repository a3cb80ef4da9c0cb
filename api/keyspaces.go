package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/atolledge/atoll"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The only values that settings can have so far.
const (
	addWins    = "add-wins"
	deleteWins = atoll.DeleteWins
	everywhere = "everywhere"
)

// settings are those of a keyspace. A PUT may leave out any of them, and name
// and partitions may only be what they are.
type settings struct {
	Name       string `json:"name" put:"optional"`
	TTLMS      int64  `json:"ttl_ms" put:"optional" doc:"of a write that names no TTL; 0: for ever"`
	Conflict   string `json:"conflict" put:"optional" doc:"add-wins: edits survive concurrent deletes; delete-wins: they do not"`
	Cache      string `json:"cache" put:"optional" doc:"reserved: empty"`
	Placement  string `json:"placement" put:"optional" doc:"everywhere"`
	Partitions int    `json:"partitions" put:"optional" doc:"fixed when a keyspace is made"`
}

func newSettings(ks atoll.Keyspace, s atoll.Settings) settings {
	out := settings{string(ks), s.TTL.Milliseconds(), s.Conflict, s.Cache, s.Placement, s.Partitions}
	if out.Conflict == "" {
		out.Conflict = addWins
	}
	if out.Placement == "" {
		out.Placement = everywhere
	}
	if out.Partitions == 0 {
		out.Partitions = ks.Partitions()
	}
	return out
}

// check returns what the node is to keep, or what of it does not exist yet: a
// setting that would be ignored is refused.
func (in settings) check(ks atoll.Keyspace) (atoll.Settings, error) {
	bad := func(hint, format string, args ...any) (atoll.Settings, error) {
		return atoll.Settings{}, atoll.Errorf(atoll.BadRequest, format, args...).WithHint(hint)
	}
	switch {
	case in.Name != "" && in.Name != string(ks):
		return bad("leave name out", "the settings name the keyspace %q, the path %q", in.Name, ks)
	case in.TTLMS < 0 || in.TTLMS > MaxTTL.Milliseconds():
		return bad("use milliseconds, or 0 for ever", "ttl_ms is not within 0 to %d",
			MaxTTL.Milliseconds())
	case in.Conflict != "" && in.Conflict != addWins && in.Conflict != deleteWins:
		return bad("use add-wins or delete-wins", "conflict %q", in.Conflict)
	case in.Cache != "":
		return bad("leave cache out", "cache %q is not built yet", in.Cache)
	case in.Placement != "" && in.Placement != everywhere:
		return bad("use everywhere", "placement %q is not built yet", in.Placement)
	case in.Partitions != 0 && in.Partitions != ks.Partitions():
		return bad("leave partitions out", "partitions is %d and cannot be %d for now",
			ks.Partitions(), in.Partitions)
	}
	return atoll.Settings{
		TTL: time.Duration(in.TTLMS) * time.Millisecond, Conflict: in.Conflict,
		Placement: in.Placement, Partitions: ks.Partitions(),
	}, nil
}

func (s *Server) getKeyspace(w *response, q *request) error {
	ks, err := q.keyspace()
	if err != nil {
		return err
	}
	got, err := s.node.Settings(q.Context(), ks)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newSettings(ks, got))
}

func (s *Server) putKeyspace(w *response, q *request) error {
	ks, err := q.keyspace()
	if err != nil {
		return err
	}
	if err := wantJSON(q); err != nil {
		return err
	}
	body, err := s.readBody(w, q, MaxSettings)
	if err != nil {
		return err
	}
	var in settings
	if err := json.Unmarshal(body, &in, json.RejectUnknownMembers(true)); err != nil {
		return settingsError(err)
	}
	want, err := in.check(ks)
	if err != nil {
		return err
	}
	created, err := s.node.Configure(q.Context(), ks, want)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return writeJSON(w, status, newSettings(ks, want))
}

// settingsError says what is wrong with a body of settings.
func settingsError(err error) error {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return atoll.Errorf(atoll.DuplicateKey, "the settings name a member twice").Because(err)
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		return atoll.Errorf(atoll.BadRequest, "there is no setting %s", semantic.JSONPointer).
			WithHint("the settings are ttl_ms, conflict, cache, placement and partitions").Because(err)
	case errors.As(err, &syntactic):
		return atoll.Errorf(atoll.BadJSON, "the settings are not JSON, at byte %d",
			syntactic.ByteOffset).Because(err)
	case errors.As(err, &semantic):
		return atoll.Errorf(atoll.BadRequest, "the setting %q has a value of the wrong type",
			semantic.JSONPointer).Because(err)
	}
	return atoll.Errorf(atoll.BadJSON, "the settings are not a JSON object").Because(err)
}
