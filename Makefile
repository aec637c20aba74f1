# graft is built, shown and tested with this file. `make` lists what it can do.
#
# Variables, all optional:
#   BASE=reference     demo: extend this image of a registry, and make no Debian
#   BUILDKIT=address   demo: extend with this buildkitd, not the embedded engine
#   PROGRESS=plain     demo: tty, plain or quiet
#   DEBIAN_SUITE=name  the Debian release of the base image that is made here
#   GRAFT_CACHE=dir    where base images, BuildKit's programs, the demo and its
#                      engine's cache are kept; the benchmarks work there, too,
#                      with some 10 GB
#                      (root: /var/cache/graft, others: ~/.cache/graft)
#   ARCHITECTURES=list release: for which architectures (amd64 arm64)
#   REQUIRE=1          test: what cannot be tested here fails instead of being
#                      skipped (CI=true says the same)
#   FUZZTIME=time      fuzz: how long for each target
#   TESTFLAGS=flags    test: further flags of go test, such as -run and -v
#
# Tests find what the set-up has made through the environment; hack/test.sh
# sets it, and says what the variables mean.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PROGRAMS := detector generator extender
ARCHITECTURES ?= amd64 arm64

# Changing the linter's version is a commit of its own.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What -version says: the tag or commit, with -dirty for a changed checkout. git
# does not answer in a checkout that belongs to another user (sudo make).
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The tag leaves out a Markdown library that takes half of a program's start.
TAGS := urfave_cli_no_docs
LDFLAGS := -s -w -X github.com/graft-cnb/graft/platform.Version=$(VERSION)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build detector, generator and extender into bin/, static
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS:%=./cmd/%)

.PHONY: release
release: ## Build dist/: archives of the programs for each architecture, checksums
	@VERSION='$(VERSION)' TAGS='$(TAGS)' LDFLAGS='$(LDFLAGS)' ARCHITECTURES='$(ARCHITECTURES)' hack/release.sh

.PHONY: demo
demo: build ## Extend a Debian image as examples/ ask for, and run what was installed
	@BASE='$(BASE)' BUILDKIT='$(BUILDKIT)' PROGRESS='$(PROGRESS)' hack/demo.sh

.PHONY: setup
setup: ## Install the programs that demo and test need (as root)
	@hack/setup.sh

.PHONY: base
base: ## Make the Debian base image of demo and test, once (as root)
	@hack/base-image.sh

.PHONY: check
check: ## Format, vet, lint, tidy, import graph: what needs no engine
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "not formatted; run gofmt -w on:" $$unformatted >&2; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	go mod tidy -diff
	go test -count=1 -run '^TestImport' ./acceptance

.PHONY: test
test: ## Set up, check, and run every test
	@$(MAKE) --no-print-directory check
	@REQUIRE='$(REQUIRE)' hack/test.sh $(TESTFLAGS)

.PHONY: fuzz
fuzz: ## Fuzz what parses untrusted input, FUZZTIME (60s) for each target
	@FUZZTIME='$(FUZZTIME)' hack/fuzz.sh

.PHONY: bench
bench: build ## Measure what graft costs, as ratios
	@echo 'The resolver: 20 modules with three alternatives each (want under 100 ms and 50 MB)'
	@go test -run '^$$' -bench '^BenchmarkResolve$$' ./phase | grep '^Benchmark'
	@hack/bench.sh

.PHONY: clean
clean: ## Remove the programs and the release
	rm -rf bin dist

.PHONY: clean-cache
clean-cache: ## Remove the base images, buildkitd, the demo and its engine's cache
	@hack/clean-cache.sh
