package engine

import "context"

// Webhook is one that an active run has made.
type Webhook struct {
	Tenant *Tenant
	run    int64
	event  string
}

// errNoWebhook says nothing about what there is.
var errNoWebhook = errorf(NotFound, "there is no such webhook")

// Webhook finds one by what its URL says. Who knows a URL may call it: the id of
// the event in it is random. Whether a user or a run exists, an answer does not
// tell.
func (e *Engine) Webhook(ctx context.Context, user, runID, event string) (*Webhook, error) {
	var hook *Webhook
	err := e.store.View(ctx, func(tx Tx) error {
		t, err := tenantOf(tx, user)
		if err != nil {
			return err
		}
		if t == nil {
			return errNoWebhook
		}
		run, err := tx.RunByID(t.ID, runID)
		if err != nil {
			return err
		}
		if run, err = lastOf(tx, run); err != nil {
			return err
		}
		if run == nil || run.State != RunStarted {
			return errNoWebhook
		}
		known, err := tx.HasWebhook(run.Seq, event)
		if err != nil {
			return err
		}
		if !known {
			return errNoWebhook
		}
		hook = &Webhook{t, run.Seq, event}
		return nil
	})
	return hook, err
}

// Call tells a webhook's run of a call, in the form that its step reads. If the
// run does not wait for it, it is told when it does.
func (e *Engine) Call(ctx context.Context, hook *Webhook, call []byte) error {
	return e.update(ctx, func(c *change) error {
		run, err := c.lockRun(hook.run)
		if err != nil {
			return err
		}
		if run.State != RunStarted {
			return errNoWebhook
		}
		_, err = c.tellRun(run, WaitWebhook, hook.event, call)
		return err
	})
}
