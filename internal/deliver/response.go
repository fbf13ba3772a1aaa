package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

// response is one that is being read.
type response struct {
	*http.Response
	lease  *lease
	giveUp func() // ends the attempt as too slow
	keep   int64  // bytes to keep, if there is memory for them
	needed int64  // bytes that somebody waits for
}

func (d *Deliverer) response(r *http.Response, a *engine.Attempt, l *lease, giveUp func()) *response {
	needed := a.MaxFailure
	if r.StatusCode >= 200 && r.StatusCode <= 299 {
		needed = a.MaxResponse
	}
	return &response{r, l, giveUp, a.KeepResponse, needed}
}

// read keeps the beginning of a body. It grows with what has come, whatever
// length was announced.
func (r *response) read(ctx context.Context) ([]byte, error) {
	most := max(r.keep, r.needed)
	if r.ContentLength == 0 || most == 0 {
		return nil, nil
	}
	buf := make([]byte, 0, min(most, 512))
	for {
		if len(buf) == cap(buf) {
			grown, err := r.grow(ctx, buf, most)
			if err != nil {
				return buf, err
			}
			if len(grown) == cap(grown) {
				r.drain()
				return buf, nil
			}
			buf = grown
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		r.lease.turn.Moved(n)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return buf, err
		}
	}
}

// grow makes room behind buf; none if that is all there may be, or if there is
// no memory for what nobody waits for.
func (r *response) grow(ctx context.Context, buf []byte, most int64) ([]byte, error) {
	have := int64(cap(buf))
	want := min(2*have, most)
	if have < ownBody {
		want = min(4*have, ownBody, most)
	}
	if r.ContentLength > have {
		want = min(want, r.ContentLength)
	}
	if want <= have {
		return buf, nil
	}
	if more := want - max(have, ownBody); more <= 0 || r.lease.take(more) {
		if want <= ownBody {
			return append(make([]byte, 0, want), buf...), nil
		}
		return r.lease.grow(buf, want), nil
	}
	if have >= r.needed {
		return buf, nil
	}
	room, err := r.lease.await(ctx, r.needed, r.giveUp)
	if err != nil {
		return buf, fmt.Errorf("wait for memory: %w", err)
	}
	return room[:copy(room, buf)], nil
}

// What is left of a body is read to its end, so that the connection can be used
// again, if it is not much and comes soon. An endless body costs its connection.
const (
	drainMost = 64 << 10
	drainTime = time.Second
)

func (r *response) drain() {
	stop := time.AfterFunc(drainTime, func() { r.Body.Close() })
	defer stop.Stop()
	var scrap [2 << 10]byte
	for left := drainMost; left > 0; {
		n, err := r.Body.Read(scrap[:])
		if left -= n; err != nil {
			return
		}
	}
}
