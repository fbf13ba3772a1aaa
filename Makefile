# `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
# SQLite is C that was translated: its memory is none of Go's, and what the race
# detector and checkptr look at there makes tests take several times as long.
PLAIN   := -race=false -d=checkptr=0
RACE    := -race -gcflags='modernc.org/sqlite/lib=$(PLAIN)' -gcflags='modernc.org/libc=$(PLAIN)'
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: help build demo test soak deps lint vuln bench bench-hostile fuzz clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/signpost, static
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/signpost ./cmd/signpost

demo: build ## run a secured workflow here, then attack it
	@CGO_ENABLED=0 go build -trimpath -o bin/onboarding ./examples/onboarding
	@go run ./examples/demo -signpost bin/signpost -onboarding bin/onboarding

test: deps ## run all tests, race detector on; installs what it needs
	go test $(RACE) -timeout 12m ./...

soak: ## run random workflows under crashes for SOAK (default 10m), and what else is long
	go test -timeout 0 -count=1 -v -run T28RandomWorkflows ./e2e -soak $${SOAK:-10m}
	go test -timeout 0 -count=1 ./internal/engine -long -rapid.checks 1000

deps: ## install what tests need beyond Go: Node packages, PostgreSQL, nginx, Caddy
	@scripts/test-deps

lint: ## gofmt, go vet, staticcheck, govulncheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	@scripts/vulncheck

bench: build ## messages and steps per second here, and what 20 crashes lose
	bin/signpost bench messages -n 20000 -c 64
	bin/signpost bench steps
	bin/signpost bench crash --rounds 20

bench-hostile: build ## 5,000 half-open connections: p99 below 50 ms; 1,000 hostile answers: below 32 MiB
	bin/signpost bench hostile
	go test -count=1 -v -run T15Memory ./internal/deliver -bombs

fuzz: ## run every fuzz target for FUZZTIME (default 10s)
	@set -e; for dir in $$(git grep -l 'func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
	  for target in $$(grep -ho 'func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -d' ' -f2); do \
	    echo "$$dir $$target"; go test ./$$dir -run '^$$' -fuzz "^$$target$$" -fuzztime $${FUZZTIME:-10s}; \
	  done; done

clean: ## remove what was built
	rm -rf bin e2e/node_modules
