package client

// Queue is a lane that delivers its messages in order.
type Queue struct {
	Name        string `json:"name"`
	CreatedAt   int64  `json:"createdAt"` // Unix milliseconds
	UpdatedAt   int64  `json:"updatedAt"` // Unix milliseconds
	Parallelism int    `json:"parallelism"`
	Lag         int    `json:"lag"` // messages that have not ended
	Paused      bool   `json:"paused"`
}

// QueueRequest says what a queue is to be.
type QueueRequest struct {
	Name        string `json:"queueName"`
	Parallelism *int   `json:"parallelism,omitempty"` // messages delivered at a time; default: as it is, of a new queue 1
	Paused      *bool  `json:"paused,omitempty"`      // default: as it is, of a new queue false
}
