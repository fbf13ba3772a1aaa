package engine

import (
	"context"
	"net/http"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// Deliverer makes one attempt. It always returns an Outcome: a connection
// nobody accepts is one. When nothing of an Outcome is used any more it is
// released.
type Deliverer interface {
	Deliver(ctx context.Context, a Attempt) Outcome
}

// KeyNamer is what whoever signs tells of keys without telling them.
type KeyNamer interface {
	KeyID(key string) string
	// SeedID is the kid of the public key that grows from an Ed25519 seed.
	SeedID(seed []byte) string
	// JWKS is the JSON Web Key Set of those public keys.
	JWKS(seeds ...[]byte) []byte
}

// Attempt is one HTTP request, complete but for its signatures.
type Attempt struct {
	Method     string
	URL        string
	Header     http.Header
	Body       []byte
	Timeout    time.Duration
	Operators  bool     // it goes to a service of the operator's own, wherever that is
	Unsigned   bool     // the tenant signs nothing that goes there
	SigningKey string   // makes the standard signature
	NextKey    string   // what SigningKey will be after a rotation; "" if there is none
	Seed       []byte   // Ed25519
	SignWith   []string // signatures beside the standard one, as in wire.SignatureNames
	Kind       Kind     // what its signature says it is about
	RunID      string   // the run it belongs to, "" if none or if a third party is not to know
	Retried    int      // retries made before
	// Sent is told of a large body how many more bytes of it were sent, and at last
	// that it is not used any more; nil: nobody waits for the memory it takes.
	Sent func(n int, all bool)
	// KeepResponse is how many bytes of any response's body to keep, if there
	// is memory for them; MaxResponse and MaxFailure how many of a 2xx response
	// and of another somebody waits for, so that memory is waited for.
	KeepResponse, MaxResponse, MaxFailure int64
}

// signAs says how an attempt is signed: with the keys of now, by what the
// tenant, the message or its run asks for.
func (a *Attempt) signAs(t *Tenant, m *Message, run *Run) {
	a.SigningKey, a.NextKey, a.Seed = t.CurrentKey, t.NextKey, t.Secrets.CurrentSeed
	a.SignWith = wire.MergeSignWith(t.Settings.SignWith, m.Settings.SignWith)
	if run == nil {
		return
	}
	if m.Kind == KindToCallback {
		a.Unsigned = !t.Settings.signsCall(m.URL, run.URL)
		return
	}
	a.SignWith = wire.MergeSignWith(a.SignWith, run.Settings.SignWith)
}

// Outcome is what came back.
type Outcome struct {
	Status int // 0: no response
	Header http.Header
	Body   []byte
	Error  string // why there is no response, or why this one does not count; "" otherwise
	Start  time.Time
	End    time.Time
	// Release gives back the memory that Header and Body take; nil: none is
	// counted.
	Release func()
}

func (o *Outcome) release() {
	if o.Release != nil {
		o.Release()
	}
}
