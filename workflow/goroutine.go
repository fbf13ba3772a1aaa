package workflow

import (
	"bytes"
	"errors"
	"runtime"
	"strconv"
)

var errGoroutineEnded = errors.New("the function ended its goroutine")

// goroutineID tells goroutines apart. The runtime shows the number in stack
// traces only; it is never used again while the program runs. It serves to
// name a mistake that would otherwise end the wrong goroutine. A stack trace takes
// far longer than to find a step in the log: see [execution.here].
func goroutineID() uint64 {
	var buf [64]byte
	b := buf[:runtime.Stack(buf[:], false)]
	b = bytes.TrimPrefix(b, []byte("goroutine "))
	number, _, _ := bytes.Cut(b, []byte(" "))
	id, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		panic("workflow: stack trace without a goroutine number")
	}
	return id
}
