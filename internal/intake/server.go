package intake

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// What a client may take its time for.
const (
	headerTimeout = 5 * time.Second // from the connection, or a request's first bytes, to the end of its header
	idleTimeout   = 2 * time.Minute // between two requests
	grace         = 10 * time.Second
	bodyRate      = 1 << 10                // bytes/s of a body that have to come, after grace
	answerRate    = 16 << 10               // bytes/s of an answer that have to be taken, after grace
	lastChance    = 500 * time.Millisecond // to send a request, at a shutdown
)

// MaxHeaderBytes bounds a request's line and header.
const MaxHeaderBytes = 128 << 10

// Options configure a Server. The zero value is usable.
type Options struct {
	// MaxConnections is how many connections may be open at once. Default:
	// 10,000, or half of the files that the process may have open if that is
	// less: the other half is for what the server itself connects to.
	MaxConnections int
	Logger         *slog.Logger // default: slog.Default()
}

// Server serves HTTP/1.
type Server struct {
	http  http.Server
	conns *connections
}

// New makes a server for a handler. Requests reach it once their header is
// complete; a body comes while the handler reads it, or not at all.
func New(handler http.Handler, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = defaultConnections()
	}
	s := &Server{conns: &connections{most: o.MaxConnections, log: o.Logger}}
	s.http = http.Server{
		Handler:                      paced(handler),
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  headerTimeout, // of a body that nobody reads; paced gives others longer
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               MaxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		ConnState:                    s.conns.moved,
		// net/http says here what clients do wrong: of no interest to operators.
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

func defaultConnections() int {
	const most = 10_000
	if files := openFiles(); files > 0 {
		return int(min(most, files/2))
	}
	return most
}

// Serve accepts connections until Shutdown or Close, and returns
// http.ErrServerClosed then.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(&listener{l, s.conns}) }

// Shutdown stops accepting, and waits until the requests under way are answered
// or ctx is done. It is not held up by connections that are silent.
func (s *Server) Shutdown(ctx context.Context) error {
	defer time.AfterFunc(lastChance, s.conns.closeFresh).Stop()
	return s.http.Shutdown(ctx)
}

// Close cuts all connections.
func (s *Server) Close() error { return s.http.Close() }
