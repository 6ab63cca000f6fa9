# make build   one static binary, bin/gvlan
# make check   what a change must pass before anything else; no root needed
# make form    of check, what runs no test: format, vet, lint, go.mod,
#              subjects of commits, vulnerabilities
# make lint    how Go is written here, and code that nothing reaches
# make vuln    known vulnerabilities of what is in the binary, where their
#              database can be reached
# make test    everything, as root on Debian 12: installs what it needs;
#              SUITES="unit docker" runs those only (tests/run/suite.go);
#              ENGINE=folder SUITES="docker swarm" on the engine whose dockerd
#              lies there (tests/lab/DESIGN.md)
# make demo    two hosts on one LAN on this machine, step by step; as root.
#              DEMO_KEEP=1 leaves them up to play in
# make screenshot  deploy/page.png, the picture of the page in README; as root
# make bench   ratios, each printed as BENCH name value
# make bench-ask  how long an operator's commands take on a cluster of 200 hosts
#              and 10,000 containers
# make bench-dns  the same for names
# make bench-host  how fast a host and its own container talk
# make bench-ipam  what an address costs, beside the store's own writes; ROOMS="single many"
#              measures those only (tests/bench/ipam/main.go)
# make bench-networks  how soon a network is on ten hosts, what 1,000 cost
# make bench-page  how soon the page of a subnet of 10,000 containers is there
# make bench-routes  how many routes a host has to the containers of others, what
#              ten thousand cost it, and how soon a container is reached
# make bench-run  a container's start beside the built-in macvlan's
# make bench-store  how soon the store hosts keep themselves has a new leader
# make mutants an agent that lacks one compare, for each: the checker of
#              tests/chaos finds it
# make sim     clusters of 200 and 1,000 nodes, in virtual time
# make fuzz    every fuzz target, FUZZTIME (60s) each; FUZZ=./parentfile
#              those of that package only
# make soak    make fuzz, then the large sizes of the black-box suites, for hours
# make plugin  the managed plugin for swarm, gvlan-swarm:latest
# make packages  deb and rpm, in bin/release; ARCHS=amd64 those only
# make release   those, static binaries, the managed plugin, checksums and the
#                modules that are in them (deploy/README.md)
# make clean   removes what the above made in this folder

GO      ?= go
VERSION := $(shell deploy/package/version.sh)
FUZZTIME ?= 60s
FOLDERS := cmd driver ipam dns cluster parentfile deploy tests
FUZZ    := $(addprefix ./,$(addsuffix /...,$(filter-out deploy tests,$(FOLDERS))))

VULNDB  ?= https://vuln.go.dev

.PHONY: build check form lint vuln test demo screenshot bench bench-ask bench-dns bench-host bench-ipam bench-networks bench-page bench-routes bench-run bench-store mutants sim fuzz soak plugin packages release clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/gvlan ./cmd/gvlan

check: form
	CGO_ENABLED=0 $(GO) test -parallel 8 $$($(GO) list ./... | grep -v '/tests/')

form:
	@unformatted=$$(gofmt -l $(FOLDERS)); [ -z "$$unformatted" ] || { echo "not gofmt'd:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags failpoint ./...
	$(MAKE) lint
	$(MAKE) vuln
	$(GO) mod tidy -diff
	@long=$$(git log --no-merges --since=2026-11-29T23:07Z --format=%s 2>/dev/null | awk 'length > 72'); \
		[ -z "$$long" ] || { echo "subjects of commits over 72 characters:"; echo "$$long"; exit 1; }

# The tools have a go.mod of their own, so that the product does not have what
# they need. deadcode always succeeds: what it prints is the finding.
LINT := $(GO) tool -modfile=tests/lint/go.mod

lint:
	$(LINT) golangci-lint run ./...
	@dead=$$($(LINT) deadcode ./cmd/gvlan ./cmd/manual && $(LINT) deadcode -test ./...) || exit 1; \
		[ -z "$$dead" ] || { echo "nothing reaches, but for tests:"; echo "$$dead"; exit 1; }

# A binary that is not stripped says which functions are in it. The first line
# builds the tool, which has all the time it takes.
vuln:
	@$(LINT) -n govulncheck >/dev/null
	@timeout 20 $(LINT) govulncheck -db $(VULNDB) -version | grep -q '^DB updated' || \
		{ echo "govulncheck: $(VULNDB) cannot be reached: nothing is known of new vulnerabilities"; exit 0; }; \
		CGO_ENABLED=0 $(GO) build -o bin/unstripped ./cmd/gvlan && \
		timeout 60 $(LINT) govulncheck -db $(VULNDB) -mode binary bin/unstripped

test: build
	tests/lab/install.sh
	$(GO) run ./tests/run $(SUITES)

demo:
	tests/lab/install.sh
	$(GO) run ./tests/demo

screenshot:
	tests/lab/install.sh
	$(GO) run ./tests/demo picture deploy/page.png

bench: build
	tests/lab/install.sh
	$(GO) run ./tests/bench/agent

bench-ask:
	$(GO) run ./tests/bench/ask

bench-dns:
	tests/lab/install.sh
	$(GO) run ./tests/bench/dns

bench-host:
	tests/lab/install.sh
	$(GO) run ./tests/bench/host

bench-ipam:
	$(GO) run ./tests/bench/ipam $(ROOMS)

bench-networks:
	tests/lab/install.sh
	$(GO) run ./tests/bench/networks

bench-page:
	tests/lab/install.sh
	$(GO) run ./tests/bench/page

bench-routes:
	tests/lab/install.sh
	$(GO) run ./tests/bench/routes
	$(GO) test -tags bench -count 1 -run TestBenchStartToReachable -v ./tests/kernel | sed -n 's/.*BENCH/BENCH/p'

bench-run:
	tests/lab/install.sh
	$(GO) run ./tests/bench/run

bench-store:
	tests/lab/install.sh
	$(GO) run ./tests/bench/store

mutants:
	GVLAN_MUTANTS=1 $(GO) test ./tests/chaos -run 'TestMutants|TestPlanted' -count=1 -v -timeout 1h

sim:
	$(GO) test ./tests/sim -timeout 90m -sizes 200,1000 -seeds 4 -v

# Go fuzzes one target of one package at a time. What fails is left in testdata/fuzz.
fuzz:
	@set -e; for package in $$($(GO) list $(FUZZ)); do \
		targets=$$($(GO) test -list '^Fuzz' $$package); \
		for target in $$targets; do case $$target in Fuzz*) \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package;; \
		esac; done; \
	done

soak: build fuzz
	tests/lab/install.sh
	GVLAN_SOAK=1 $(GO) test -timeout 3h -count=1 -v ./tests/chaos -for 1h
	GVLAN_SOAK=1 $(GO) test -timeout 12h -count=1 -v ./tests/docker/... ./tests/swarm/... ./tests/kernel/...

plugin: build
	deploy/plugin/build.sh

packages release:
	deploy/package/build.sh $@

clean:
	rm -rf bin deploy/plugin/build
