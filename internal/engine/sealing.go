package engine

import (
	"context"
	"time"
)

// Sealing says how what users send is encrypted in the store, and how far rows
// that were there before have been.
type Sealing struct {
	MasterKey string // id of the key that seals; "": nothing is sealed
	DataKeys  int    // sealed with it, and seal the rows in turn
	Resealed  int64  // rows sealed anew by now, of the last time that all were
	Percent   int    // how far that is
	StartedAt int64  // Unix ms; 0: it was never needed
	EndedAt   int64  // Unix ms; 0: it is under way
}

// UnderWay says whether rows are being sealed anew.
func (s Sealing) UnderWay() bool { return s.StartedAt != 0 && s.EndedAt == 0 }

// Sealing says how things stand, to the operator.
func (e *Engine) Sealing(ctx context.Context, who *Caller) (Sealing, error) {
	if err := who.mustOperate(); err != nil {
		return Sealing{}, err
	}
	return e.store.Sealing(ctx)
}

// Rewrap takes over the master keys as they are now, and has everything sealed
// with a new data key: the tenants' keys before it returns, the rest little by
// little while the server goes on. It is the operator's.
func (e *Engine) Rewrap(ctx context.Context, who *Caller) (Sealing, error) {
	now, err := e.Sealing(ctx, who)
	if err != nil {
		return Sealing{}, err
	}
	if now.MasterKey == "" || e.masterKeys == nil {
		return Sealing{}, errorf(Conflict, "the server has no master key: start it with one to have its data sealed")
	}
	keys, err := e.masterKeys()
	if err != nil {
		return Sealing{}, errorf(Conflict, "%v", err)
	}
	err = e.update(ctx, func(c *change) error {
		return c.audit(who, "keys.rewrap", "", map[string]string{"masterKey": now.MasterKey}, nil)
	})
	if err != nil {
		return Sealing{}, err
	}
	if err := e.store.Rewrap(ctx, keys); err != nil {
		return Sealing{}, err
	}
	select {
	case e.rewrapped <- struct{}{}:
	default: // it is awake
	}
	return e.store.Sealing(ctx)
}

// resealAgain is when sealing is tried again after an error.
const resealAgain = time.Minute

// resealLoop seals rows anew, if there are any to seal. It rests between two
// steps for as long as one takes, so that half of the time is others'.
func (e *Engine) resealLoop(ctx context.Context) {
	defer close(e.resealDone)
	for {
		begin := time.Now()
		more, err := e.store.Reseal(ctx)
		pause := time.Since(begin)
		if err != nil && ctx.Err() == nil {
			e.log.Error("seal rows anew; it will be tried again", "error", err)
			pause = resealAgain
		}
		if !more {
			select {
			case <-ctx.Done():
				return
			case <-e.rewrapped:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
