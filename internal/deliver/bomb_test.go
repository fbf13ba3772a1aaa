package deliver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

const idle = "idle"

// bombs are what hostile endpoints answer, each to an attempt of its own. They
// go on until the connection is closed.
var bombs = map[string]func(io.Writer) error{
	"endless chunks":             after("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", endless("8000\r\n"+strings.Repeat("x", 32<<10)+"\r\n", 0)),
	"tiny chunks":                after("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", endless(strings.Repeat("1\r\nx\r\n", 1000), 0)),
	"10 GB":                      after("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", endless(strings.Repeat("x", 32<<10), 0)),
	"10 GB of errors":            after("HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n", endless(strings.Repeat("x", 32<<10), 0)),
	"slow drip":                  after("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", endless("x", 50*time.Millisecond)),
	"16 KiB, then nothing":       after("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"+strings.Repeat("x", 16<<10-1), nil),
	"9 MB, then nothing":         after("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"+strings.Repeat("x", 9_000_000), nil),
	"a million headers":          after("HTTP/1.1 200 OK\r\n", numbered("X-%d: y\r\n", 1_000_000)),
	"short headers, unfinished":  after("HTTP/1.1 200 OK\r\n"+headerLines(5000, "%x:\n"), nil),
	"headers below the limit":    after("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"+headerLines(140, "X-%d: "+strings.Repeat("y", 100)+"\r\n")+"\r\n", nil),
	"one long header":            after("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("y", 31<<10), nil),
	"a header without end":       after("HTTP/1.1 200 OK\r\nX: ", endless(strings.Repeat("y", 32<<10), 0)),
	"a status without end":       after("", endless(strings.Repeat("H", 32<<10), 0)),
	"1xx flood":                  after("", endless(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 100), 0)),
	"1xx drip":                   after("", endless("HTTP/1.1 103 Early Hints\r\n\r\n", 20*time.Millisecond)),
	"gzip bomb":                  after(gzipped(), nil),
	"trailers without end":       after("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", endless("X: y\r\n", 0)),
	"slow trailers":              after("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", endless("X: y\r\n", 50*time.Millisecond)),
	"a chunk extension, endless": after("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", endless(strings.Repeat("x", 32<<10), 0)),
}

func after(start string, more func(io.Writer) error) func(io.Writer) error {
	first := []byte(start)
	return func(w io.Writer) error {
		_, err := w.Write(first)
		if err == nil && more != nil {
			err = more(w)
		}
		return err
	}
}

func endless(part string, pause time.Duration) func(io.Writer) error {
	text := []byte(part)
	return func(w io.Writer) error {
		for {
			if _, err := w.Write(text); err != nil {
				return err
			}
			time.Sleep(pause)
		}
	}
}

func numbered(format string, n int) func(io.Writer) error {
	return func(w io.Writer) error {
		b := bufio.NewWriter(w)
		for i := range n {
			if _, err := fmt.Fprintf(b, format, i); err != nil {
				return err
			}
		}
		return b.Flush()
	}
}

func headerLines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func gzipped() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 100 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", b.Len(), b.String())
}

// bomber serves a bomb to whoever asks, by the path's number.
func bomber(t testing.TB, names []string) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	var conns sync.Map
	t.Cleanup(func() {
		listener.Close()
		conns.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		open.Wait()
	})
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, nil)
			open.Go(func() {
				defer conns.Delete(conn)
				defer conn.Close()
				r := bufio.NewReaderSize(conn, 1<<10)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					n, _ := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/"))
					if name := names[n%len(names)]; name != idle && bombs[name](conn) != nil {
						return
					}
				}
			})
		}
	})
	return "http://" + listener.Addr().String() + "/"
}

// damage is what attempts at bombs did to the process that made them.
type damage struct {
	PeakRSS int64 // bytes
	Slowest time.Duration
	Kept    int // the most of a body
	Errors  map[string]int
}

const needed = 10 << 20

// detonate makes attempts at once and keeps their outcomes until all have ended,
// as a slow database would.
func detonate(ctx context.Context, url string, n int, timeout time.Duration, whole bool) damage {
	d := New(Options{AllowLocal: true, MaxConnsPerHost: n})
	defer d.Close()
	outcomes := make([]engine.Outcome, n)
	out := damage{Errors: map[string]int{}}
	var kept sync.Mutex
	var attempts sync.WaitGroup
	for i := range n {
		attempts.Go(func() {
			a := attempt(url+strconv.Itoa(i), func(a *engine.Attempt) {
				a.Timeout, a.KeepResponse, a.MaxResponse, a.MaxFailure = timeout, 16<<10, 0, 0
				if whole {
					a.MaxResponse, a.MaxFailure = needed, needed
				}
			})
			outcomes[i] = d.Deliver(ctx, a)
			kept.Lock()
			out.Kept = max(out.Kept, len(outcomes[i].Body))
			kept.Unlock()
			if whole { // what somebody waits for is soon settled, and the turn goes round
				outcomes[i].Release()
				outcomes[i].Body, outcomes[i].Header = nil, nil
			}
		})
	}
	attempts.Wait()
	out.PeakRSS = peakRSS()
	for i := range outcomes {
		o := &outcomes[i]
		out.Slowest = max(out.Slowest, o.End.Sub(o.Start))
		out.Errors[fmt.Sprintf("%d %.90s", o.Status, o.Error)]++
		o.Release()
	}
	return out
}

// peakRSS is the most memory this process ever had, as Linux counts it; 0
// elsewhere.
func peakRSS() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	fmt.Sscan(line, &kib)
	return kib << 10
}

// TestBombed is the process that TestT15Memory looks at.
func TestBombed(t *testing.T) {
	url := os.Getenv("BOMBS")
	if url == "" {
		t.Skip("not asked for")
	}
	d := detonate(t.Context(), url, 1000, 4*time.Second, os.Getenv("WHOLE") != "")
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\ndamage %s\n", text)
}

func bombed(t *testing.T, names []string, whole string) (d damage) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBombed$", "-test.count=1")
	cmd.Env = append(os.Environ(), "BOMBS="+bomber(t, names), "WHOLE="+whole)
	out, err := cmd.CombinedOutput()
	_, text, found := strings.Cut(string(out), "\ndamage ")
	if err != nil || !found {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

var everyBomb = flag.Bool("bombs", false, "measure the memory that each bomb takes by itself")

// A thousand hostile responses at once take at most 32 MiB more than a thousand
// endpoints that say nothing, of the memory that the system gives the process:
// with all the garbage, buffers and stacks. Nobody's response, or everybody's,
// is waited for.
func TestT15Memory(t *testing.T) {
	if testing.Short() || raceEnabled || peakRSS() == 0 {
		t.Skip("measured without the race detector, on Linux")
	}
	all := slices.Sorted(maps.Keys(bombs))
	sets := map[string][]string{"all": all, "10 GB": {"10 GB"}, "a header without end": {"a header without end"}}
	if *everyBomb {
		for _, name := range all {
			sets[name] = []string{name}
		}
	}
	idle := bombed(t, []string{idle}, "")
	for name, set := range sets {
		for _, whole := range []string{"", "whole"} {
			d := bombed(t, set, whole)
			grown := d.PeakRSS - idle.PeakRSS
			t.Logf("%s %s: %+.1f MiB over %.1f, slowest %v, kept %d: %v", name, whole,
				float64(grown)/(1<<20), float64(idle.PeakRSS)/(1<<20), d.Slowest.Round(time.Millisecond), d.Kept, d.Errors)
			if grown > 32<<20 {
				t.Errorf("%s: memory grew by %d KiB", name, grown>>10)
			}
			if most := map[string]int{"": 16 << 10, "whole": needed}[whole]; d.Kept > most {
				t.Errorf("%s: kept %d bytes, at most %d were wanted", name, d.Kept, most)
			}
		}
	}
}

// Whatever an endpoint does, its attempt ends when its time is up, and says why.
func TestT15Ends(t *testing.T) {
	const timeout = 2 * time.Second
	url := bomber(t, slices.Sorted(maps.Keys(bombs)))
	for _, whole := range []bool{false, true} {
		d := detonate(t.Context(), url, 3*len(bombs), timeout, whole)
		t.Logf("slowest %v: %v", d.Slowest, d.Errors)
		if late := d.Slowest - timeout; late > 5*time.Second { // a second, on a machine that has the time
			t.Errorf("an attempt took %v longer than it had", late)
		}
	}
}
