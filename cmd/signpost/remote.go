package main

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/secret"
)

// remote is the server that a client command talks to.
type remote struct {
	Server string      `default:"http://127.0.0.1:8080" from:"QSTASH_URL" placeholder:"URL" help:"Server to talk to (default http://127.0.0.1:8080)."`
	Token  secret.Text `from:"QSTASH_TOKEN" placeholder:"TOKEN" help:"Token of that server (default for a server on this machine: the one of development servers)."`
}

// client makes a client that waits for no server that is not there.
func (r *remote) client() (*client.Client, error) {
	token := r.Token.Reveal()
	if token == "" {
		if !isLocal(r.Server) {
			return nil, withHint(errors.New("no token for "+r.Server), "set QSTASH_TOKEN, or pass --token")
		}
		token = signpost.DevUsers[0].Token
	}
	c := client.New(client.Options{URL: r.Server, Token: token, UserAgent: "signpost-cli", NetworkRetries: -1})
	if err := c.Err(); err != nil {
		return nil, withHint(err, "set --server or QSTASH_URL to something like http://127.0.0.1:8080")
	}
	return c, nil
}

// isDevelopment says whether the token is one that every development server has.
func (r *remote) isDevelopment() bool {
	token := r.Token.Reveal()
	return token == "" || slices.ContainsFunc(signpost.DevUsers[:], func(u signpost.Credentials) bool { return u.Token == token })
}

func isLocal(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return host == "localhost"
}

// use calls do with a client of the server.
func (r *remote) use(do func(*client.Client) error) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	return do(c)
}
