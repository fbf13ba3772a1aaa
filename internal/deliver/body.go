package deliver

import (
	"errors"
	"io"
	"sync"
)

// largeBody is a request's body that is let go once it is sent: others wait for
// the memory it takes, and an endpoint may take its time to answer.
type largeBody struct {
	sent func(n int, all bool)

	mu   sync.Mutex
	body []byte // nil: let go
}

// reader reads a largeBody on one connection.
type reader struct {
	*largeBody
	at int
}

var errLetGo = errors.New("the body was sent before, and is not in memory any more")

// open is what net/http gets the body by, again where a connection was lost.
func (b *largeBody) open() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.body == nil {
		return nil, errLetGo
	}
	return &reader{largeBody: b}, nil
}

func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body == nil {
		return 0, io.EOF
	}
	n := copy(p, r.body[r.at:])
	r.at += n
	if r.at == len(r.body) {
		r.body = nil
	}
	r.sent(n, r.body == nil)
	return n, nil
}

func (r *reader) Close() error { return nil }

// drop lets the body go: net/http may hold it for longer than the attempt.
func (b *largeBody) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body = nil
}
