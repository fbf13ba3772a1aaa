package intake

import (
	"io"
	"net/http"
	"time"
)

// paced lets a handler take its time, and a body as long as it keeps coming.
// The server has set a deadline for all of the request: that stays for a body
// which the handler does not read.
func paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := http.NewResponseController(w)
		if r.Body == http.NoBody {
			conn.SetReadDeadline(time.Time{})
		} else {
			// A copy: by the body of its own request net/http sees that it was not
			// read, and then lets the client read the answer before it closes.
			own := *r
			own.Body = &pacedBody{ReadCloser: r.Body, conn: conn}
			r = &own
		}
		next.ServeHTTP(w, r)
	})
}

// pacedBody is a body that has to come at bodyRate. Errors of deadlines are
// left to the read that they are for.
type pacedBody struct {
	io.ReadCloser
	conn  *http.ResponseController
	began time.Time
	due   time.Time
	bytes int64
}

func (b *pacedBody) Read(p []byte) (int, error) {
	if b.began.IsZero() {
		b.began = time.Now()
	}
	// Deadlines have a cost: one is moved once it is half a grace out of date.
	if due := b.began.Add(grace + transfer(b.bytes, bodyRate)); due.Sub(b.due) > grace/2 {
		b.due = due
		b.conn.SetReadDeadline(due)
	}
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	if err == io.EOF {
		b.conn.SetReadDeadline(time.Time{}) // what follows is the handler's time
	}
	return n, err
}

// transfer is how long n bytes take at a rate of bytes per second.
func transfer(n, rate int64) time.Duration {
	return time.Duration(float64(n) / float64(rate) * float64(time.Second))
}
