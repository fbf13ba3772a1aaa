package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Limits are what a tenant may do and have. What is over one is refused:
// [ErrTooLarge] for the size of a message, [ErrRateLimited] for messages and
// requests over time, [ErrPrecondition] for the rest.
type Limits struct {
	MaxMessageBytes   int64 `json:"maxMessageBytes"`   // of one body
	MaxRetries        int64 `json:"maxRetries"`        // of one message
	MaxDelay          int64 `json:"maxDelay"`          // seconds until the first attempt
	MaxTimeout        int64 `json:"maxTimeout"`        // seconds that an attempt may take, whatever its message says
	GlobalParallelism int64 `json:"globalParallelism"` // attempts under way at once
	MaxQueues         int64 `json:"maxQueues"`
	MaxParallelism    int64 `json:"maxParallelism"` // of a queue
	MaxURLGroups      int64 `json:"maxUrlGroups"`
	MaxEndpoints      int64 `json:"maxEndpoints"` // of a URL group
	MaxSchedules      int64 `json:"maxSchedules"`
	MessagesPerDay    int64 `json:"messagesPerDay"` // that are added, by the days of UTC; 0: any number
	// RequestsPerSecond is about those that see and manage: publishing is not
	// among them. Where it is the tenant's own it is for all tokens together,
	// else for each. 0: any number.
	RequestsPerSecond int64 `json:"requestsPerSecond"`
}

// LimitsChange is what the operator sets for a tenant. Nil leaves a limit as it
// is, 0 makes it the server's default again.
type LimitsChange struct {
	MaxMessageBytes   *int64 `json:"maxMessageBytes,omitempty"`
	MaxRetries        *int64 `json:"maxRetries,omitempty"`
	MaxDelay          *int64 `json:"maxDelay,omitempty"`   // seconds
	MaxTimeout        *int64 `json:"maxTimeout,omitempty"` // seconds
	GlobalParallelism *int64 `json:"globalParallelism,omitempty"`
	MaxQueues         *int64 `json:"maxQueues,omitempty"`
	MaxParallelism    *int64 `json:"maxParallelism,omitempty"`
	MaxURLGroups      *int64 `json:"maxUrlGroups,omitempty"`
	MaxEndpoints      *int64 `json:"maxEndpoints,omitempty"`
	MaxSchedules      *int64 `json:"maxSchedules,omitempty"`
	MessagesPerDay    *int64 `json:"messagesPerDay,omitempty"`
	RequestsPerSecond *int64 `json:"requestsPerSecond,omitempty"`
}

// Usage is how much of some limits is used.
type Usage struct {
	Queues        int   `json:"queues"`
	URLGroups     int   `json:"urlGroups"`
	Schedules     int   `json:"schedules"`
	Attempts      int   `json:"attempts"`      // under way
	MessagesToday int64 `json:"messagesToday"` // added since 00:00 UTC; 0 while their number has no limit
}

// TenantLimits are a tenant's limits and how much of them is used.
type TenantLimits struct {
	Limits Limits `json:"limits"` // in force
	// Own are those that the operator has set for this tenant; the others are
	// the server's.
	Own   LimitsChange `json:"own"`
	Usage Usage        `json:"usage"`
}

// Limits returns the limits of the token's own tenant (GET /v2/limits).
func (c *Client) Limits(ctx context.Context) (TenantLimits, error) {
	return c.limits(ctx, "get limits", call{method: http.MethodGet, path: "/v2/limits"})
}

// TenantLimits returns those of the tenant of a user id. Like
// [Client.ChangeTenantLimits] it is for the server's operator; [ErrForbidden]
// for others (GET /v2/tenants/{user}/limits).
func (c *Client) TenantLimits(ctx context.Context, userID string) (TenantLimits, error) {
	return c.limits(ctx, "get limits of tenant", call{method: http.MethodGet, path: limitsPath(userID)})
}

// ChangeTenantLimits changes limits of a tenant, and returns all as they are
// then (PATCH /v2/tenants/{user}/limits). They hold at once. What the tenant has
// beyond them already stays.
func (c *Client) ChangeTenantLimits(ctx context.Context, userID string, change LimitsChange) (TenantLimits, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return TenantLimits{}, fmt.Errorf("change limits of tenant: %w", err)
	}
	return c.limits(ctx, "change limits of tenant", call{
		method: http.MethodPatch, path: limitsPath(userID), header: jsonContent(), body: body,
	})
}

func limitsPath(userID string) string { return "/v2/tenants/" + url.PathEscape(userID) + "/limits" }

func (c *Client) limits(ctx context.Context, what string, k call) (out TenantLimits, err error) {
	k.out = &out
	if err := c.do(ctx, k); err != nil {
		return TenantLimits{}, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}
