package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// openapi describes the routes, for people and for tools. It is made of routes,
// of operations (operation_test.go) and of the shapes in package client:
//
//	go test ./internal/api -run TestOpenAPI -update
//
//go:embed openapi.json
var openapi []byte

// servedOpenAPI is the document without what is in it for the eye, and its tag.
var servedOpenAPI = sync.OnceValues(func() (rawJSON, string) {
	var short bytes.Buffer
	if err := json.Compact(&short, openapi); err != nil {
		panic(err) // a test has read it
	}
	return short.Bytes(), fmt.Sprintf(`"%x"`, sha256.Sum256(short.Bytes()))
})

// getOpenAPI needs no token: the same for all, it tells nothing of anybody.
func getOpenAPI(r *request) (any, error) {
	document, etag := servedOpenAPI()
	header := r.writer.Header()
	header.Set("Cache-Control", "public, max-age=300")
	header.Set("ETag", etag)
	for tag := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return reply{status: http.StatusNotModified}, nil
		}
	}
	return document, nil
}
