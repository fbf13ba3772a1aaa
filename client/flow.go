package client

// FlowControlKey is a key of flow control: what bounds its messages, and how
// things stand.
type FlowControlKey struct {
	Key               string `json:"flowControlKey"`
	WaitListSize      int    `json:"waitListSize"`        // messages that are due and have to wait
	ParallelismMax    int    `json:"parallelismMax"`      // attempts under way at once; 0: no bound
	ParallelismCount  int    `json:"parallelismCount"`    // attempts under way
	RateMax           int    `json:"rateMax"`             // attempts in each period; 0: no bound
	RateCount         int    `json:"rateCount"`           // attempts in this period
	RatePeriod        int64  `json:"ratePeriod"`          // seconds
	RatePeriodStart   int64  `json:"ratePeriodStart"`     // Unix seconds
	Paused            bool   `json:"isPaused"`            // nothing is delivered
	PinnedParallelism bool   `json:"isPinnedParallelism"` // messages do not change it
	PinnedRate        bool   `json:"isPinnedRate"`
}

// GlobalParallelism is how many attempts may be under way at once, and how many
// are, whatever their queues and keys.
type GlobalParallelism struct {
	Max   int `json:"parallelismMax"`
	Count int `json:"parallelismCount"`
}
