package wire

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConfigHeader(t *testing.T) {
	tests := map[string]struct{ in, want []string }{
		"prefix stripped, values kept as they are": {
			[]string{"upstash-forward-x-api-KEY: a,b", "Upstash-Forward-X-Api-Key:  c "},
			[]string{"X-Api-Key: a,b", "X-Api-Key:  c "},
		},
		"an empty value is a value": {[]string{"Upstash-Forward-X:"}, []string{"X:"}},
		"only what was asked for": {
			[]string{"Content-Type: a/b", "Authorization: Bearer t", "User-Agent: u", "Cookie: c", "Upstash-Delay: 1s", "Upstash-Forward-A: 1"},
			[]string{"Content-Type: a/b", "A: 1"},
		},
		"content type by name wins": {
			[]string{"Content-Type: a/b", "Upstash-Forward-Content-Type: c/d"}, []string{"Content-Type: c/d"},
		},
		"secrets for the destination pass": {
			[]string{"Upstash-Forward-Authorization: Bearer theirs"}, []string{"Authorization: Bearer theirs"},
		},
		"Upstash-* for the destination": {
			[]string{"Upstash-Forward-Upstash-Workflow-Sdk-Version: 1", "Upstash-Forward-Upstash-Label: l",
				"Upstash-Forward-Upstash-Callback: not a URL"},
			[]string{"Upstash-Workflow-Sdk-Version: 1", "Upstash-Label: l", "Upstash-Callback: not a URL"},
		},
		"what SDKs forward of the request they got": {
			[]string{"Upstash-Forward-Host: h", "Upstash-Forward-Content-Length: 3", "Upstash-Forward-Connection: keep-alive",
				"Upstash-Forward-Keep-Alive: 5", "Upstash-Forward-TE: trailers", "Upstash-Forward-Trailer: x",
				"Upstash-Forward-Transfer-Encoding: chunked", "Upstash-Forward-Upgrade: h2c", "Upstash-Forward-Expect: 100-continue",
				"Upstash-Forward-Proxy-Authorization: p", "Upstash-Forward-Proxy-Connection: p", "Upstash-Forward-Upstash-Signature: s",
				"Upstash-Forward-Upstash-Signature-Ed25519: s",
				"Upstash-Forward-Upstash-Message-Id: m", "Upstash-Forward-Upstash-Retried: 1"},
			nil,
		},
		"what the server says of a delivery": {
			[]string{"Upstash-Forward-Upstash-Caller-IP: 1.1.1.1", "Upstash-Forward-Upstash-Hop: 0", "Upstash-Forward-Upstash-Region: x",
				"Upstash-Forward-Upstash-Topic-Name: t", "Upstash-Forward-Upstash-Schedule-Id: s", "Upstash-Forward-Upstash-Signature-Keys: k",
				"Upstash-Forward-Upstash-Signature-Anything: k"},
			nil,
		},
		"names that some servers can't tell from those": {
			[]string{"Upstash-Forward-Content_Length: 0", "Upstash-Forward-Transfer_Encoding: chunked", "Upstash-Forward-proxy_connection: x",
				"Upstash-Forward-Upstash_Signature: s", "Upstash-Forward-upstash_workflow_is_failure: true", "Upstash-Forward-UPSTASH_X-Y: z",
				"Upstash-Forward-Upstash.Workflow.RunId: r", "Upstash-Forward-Upstash~Retried: 1", "Upstash-Forward-Content.Length: 0",
				"Upstash-Forward-X_Y: 1", "Upstash-Forward-X.Y: 1"},
			[]string{"X_y: 1", "X.y: 1"},
		},
		"all": {
			[]string{"Upstash-Header-Forward: true", "Content-Type: a/b", "Cookie: c", "X-Many: 1", "X-Many: 2", "User-Agent: u",
				"Host: h", "Content-Length: 3", "Authorization: Bearer t", "Connection: keep-alive, x-hop", "X-Hop: 1", "Te: trailers",
				"Transfer-Encoding: chunked", "Upgrade: h2c", "Proxy-Authorization: p", "Upstash-Delay: 1s", "Upstash-Telemetry-Sdk: t"},
			[]string{"Content-Type: a/b", "Cookie: c", "X-Many: 1", "X-Many: 2", "User-Agent: u"},
		},
		"all, and some by name": {
			[]string{"Upstash-Header-Forward: 1", "X-A: plain", "X-B: plain", "Upstash-Forward-X-A: by name", "Authorization: Bearer t",
				"Upstash-Forward-Authorization: Bearer theirs"},
			[]string{"X-A: by name", "X-B: plain", "Authorization: Bearer theirs"},
		},
		"not all": {[]string{"Upstash-Header-Forward: False", "X-A: 1"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := ParseConfig(headers(tt.in...))
			if err != nil {
				t.Fatal(err)
			}
			var want http.Header
			if tt.want != nil {
				want = headers(tt.want...)
			}
			if diff := cmp.Diff(want, c.Header); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func BenchmarkParseConfig(b *testing.B) {
	h := headers("Content-Type: application/json", "Authorization: Bearer token", "User-Agent: bench",
		"Upstash-Method: POST", "Upstash-Retries: 3", "Upstash-Delay: 10s", "Upstash-Timeout: 30s",
		"Upstash-Forward-X-Tenant: acme")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseConfig(h); err != nil {
			b.Fatal(err)
		}
	}
}
