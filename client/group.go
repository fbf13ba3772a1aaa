package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// URLGroup is a named set of endpoints: what is published to it goes to each.
type URLGroup struct {
	Name      string     `json:"name"`
	CreatedAt int64      `json:"createdAt"` // Unix milliseconds
	UpdatedAt int64      `json:"updatedAt"` // Unix milliseconds
	Endpoints []Endpoint `json:"endpoints"` // in the order in which they were added
	// Header holds Upstash-* settings for what is published to the group; those
	// of a publish win over them. Nil when there is none.
	Header http.Header `json:"headers,omitempty"`
	// URLPrefix is what all endpoints must begin with, as a token that is limited
	// to it has made or changed the group; "": anything. Setting the header ends
	// that, unless the token is limited, too.
	URLPrefix string `json:"urlPrefix,omitempty"`
}

// Endpoint is a member of a URL group.
type Endpoint struct {
	Name string `json:"name,omitempty"` // unique in its group; "": it has none
	URL  string `json:"url,omitempty"`
}

// MarshalJSON writes endpoints as an array even when there is none.
func (g URLGroup) MarshalJSON() ([]byte, error) {
	type plain URLGroup
	g.Endpoints = some(g.Endpoints)
	return json.Marshal(plain(g))
}

// URLGroups lists the URL groups (GET /v2/topics).
func (c *Client) URLGroups(ctx context.Context) ([]URLGroup, error) {
	var out []URLGroup
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/topics", out: &out}); err != nil {
		return nil, fmt.Errorf("list url groups: %w", err)
	}
	return out, nil
}

// URLGroup looks up a URL group; [ErrNotFound] when there is none (GET
// /v2/topics/{name}).
func (c *Client) URLGroup(ctx context.Context, name string) (URLGroup, error) {
	var out URLGroup
	path, err := namePath("/v2/topics/", name)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, out: &out})
	}
	if err != nil {
		return URLGroup{}, fmt.Errorf("get url group: %w", err)
	}
	return out, nil
}

// AddEndpoints adds endpoints to a URL group, which is made if there is none
// (POST /v2/topics/{name}/endpoints). One with the name, or else the URL, of an
// endpoint that is there already takes its place. [ErrPrecondition] when there
// would be too many, [ErrConflict] when the group can't have them for its
// URLPrefix.
func (c *Client) AddEndpoints(ctx context.Context, group string, endpoints ...Endpoint) error {
	for _, e := range endpoints {
		if _, err := checkDestination(e.URL); err != nil {
			return fmt.Errorf("add endpoints: %w", err)
		}
	}
	if err := c.changeEndpoints(ctx, http.MethodPost, group, endpoints); err != nil {
		return fmt.Errorf("add endpoints: %w", err)
	}
	return nil
}

// RemoveEndpoints takes endpoints out of a URL group, each by its name or its
// URL (DELETE /v2/topics/{name}/endpoints). A group without endpoints is gone.
// [ErrNotFound] when there is no such group.
func (c *Client) RemoveEndpoints(ctx context.Context, group string, endpoints ...Endpoint) error {
	for _, e := range endpoints {
		if e == (Endpoint{}) {
			return errors.New("remove endpoints: want a name or a url of each")
		}
	}
	if err := c.changeEndpoints(ctx, http.MethodDelete, group, endpoints); err != nil {
		return fmt.Errorf("remove endpoints: %w", err)
	}
	return nil
}

func (c *Client) changeEndpoints(ctx context.Context, method, group string, endpoints []Endpoint) error {
	path, err := namePath("/v2/topics/", group)
	if err != nil {
		return err
	}
	if len(endpoints) == 0 {
		return errors.New("want one or more endpoints")
	}
	return c.tell(ctx, method, path+"/endpoints", struct {
		Endpoints []Endpoint `json:"endpoints"`
	}{endpoints})
}

// SetURLGroupHeader sets the Upstash-* settings of what is published to a group,
// such as Upstash-Retries, in place of those that it has (PATCH
// /v2/topics/{name}). A publish that says otherwise wins. [ErrNotFound] when
// there is no such group.
func (c *Client) SetURLGroupHeader(ctx context.Context, name string, header http.Header) error {
	path, err := namePath("/v2/topics/", name)
	if err == nil {
		err = checkHeader(header)
	}
	if err == nil {
		err = c.tell(ctx, http.MethodPatch, path, struct {
			Headers http.Header `json:"headers"`
		}{someHeader(header)})
	}
	if err != nil {
		return fmt.Errorf("set header of url group: %w", err)
	}
	return nil
}

// DeleteURLGroup deletes a URL group; messages that were published to it are
// delivered all the same. It is no error when there is none (DELETE
// /v2/topics/{name}).
func (c *Client) DeleteURLGroup(ctx context.Context, name string) error {
	path, err := namePath("/v2/topics/", name)
	if err == nil {
		err = c.tell(ctx, http.MethodDelete, path, nil)
	}
	if err != nil {
		return fmt.Errorf("delete url group: %w", err)
	}
	return nil
}
