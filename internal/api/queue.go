package api

import (
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

const queueBody = 64 << 10

// putQueue makes a queue or changes one: POST /v2/queues.
func putQueue(r *request) (any, error) {
	var q client.QueueRequest
	if err := r.json(queueBody, &q); err != nil {
		return nil, err
	}
	status, err := r.handler.engine.PutQueue(r.Context(), r.caller, engine.QueueChange(q))
	if err != nil {
		return nil, err
	}
	return queueJSON(&status), nil
}

func queueJSON(q *engine.QueueStatus) client.Queue {
	return client.Queue{
		Name: q.Name, CreatedAt: engine.Millis(q.Seq), UpdatedAt: q.UpdatedAt,
		Parallelism: q.Parallelism, Lag: q.Lag, Paused: q.Paused,
	}
}

func listQueues(r *request) (any, error) {
	all, err := r.handler.engine.Queues(r.Context(), r.caller)
	if err != nil {
		return nil, err
	}
	out := make([]client.Queue, len(all))
	for i := range all {
		out[i] = queueJSON(&all[i])
	}
	return out, nil
}

func getQueue(r *request) (any, error) {
	status, err := r.handler.engine.Queue(r.Context(), r.caller, r.params[0])
	if err != nil {
		return nil, err
	}
	return queueJSON(&status), nil
}

func deleteQueue(r *request) (any, error) {
	return struct{}{}, r.handler.engine.DeleteQueue(r.Context(), r.caller, r.params[0])
}

func pauseQueue(r *request) (any, error) {
	return struct{}{}, r.handler.engine.PauseQueue(r.Context(), r.caller, r.params[0], true)
}

func resumeQueue(r *request) (any, error) {
	return struct{}{}, r.handler.engine.PauseQueue(r.Context(), r.caller, r.params[0], false)
}
