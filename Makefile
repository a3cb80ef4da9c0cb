# Go alone is needed for build, test, fuzz, bench, soak and demo. check and e2e
# also drive Atoll with real clients; they install them when run as root on Debian.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := $(if $(VERSION),-X main.version=$(VERSION))
PKGS     ?= ./...
FUZZTIME ?= 60s
BUDGET   ?= 10m
SOAK_TIME ?= 5m
BENCH    ?= .

# The version of each tool is pinned here and nowhere else.
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build test check lint clients smoke fuzz bench soak mutants e2e demo clean

build: ## bin/atoll, stamped with its version
	go build -trimpath -ldflags "$(LDFLAGS)" -o bin/atoll ./cmd/atoll

test: build ## all tests that need nothing but Go
	go test $(PKGS)

check: lint clients smoke ## what a reviewer would otherwise have to look for

lint: ## vet, format, staticcheck, import arrows and purity
	go vet $(PKGS)
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "gofmt -w these:"; echo "$$out"; exit 1; }
	$(STATICCHECK) $(PKGS)
	go test -count=1 -run 'Arrow|Rules' .

clients: build ## real clients against a real world: deploy/check/*.sh
	deploy/check/run deploy/check

smoke: ## every fuzzer for five seconds
	@$(MAKE) --no-print-directory fuzz FUZZTIME=5s

# Unbounded, minimizing what is merely interesting would take all of a short time.
fuzz: ## every fuzzer for FUZZTIME each; they are found, not listed
	@found=$$(go test -list '^Fuzz' $(PKGS) | awk \
	  '/^Fuzz/ {name[++n] = $$1} /^ok/ {for (i = 1; i <= n; i++) print $$2, name[i]; n = 0}'); \
	echo "$$(grep -c . <<<"$$found") fuzzers, $(FUZZTIME) each"; \
	while read -r pkg name; do \
	  [ -n "$$pkg" ] || continue; \
	  echo "$$pkg $$name"; \
	  go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$pkg"; \
	done <<<"$$found"

bench: ## benchmarks; BENCH is a pattern
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKGS)

soak: build ## real nodes among real faults for SOAK_TIME, 1 GiB of media, kills, then random worlds for BUDGET
	SOAK_TIME=$(SOAK_TIME) deploy/check/run deploy/e2e soak
	MEDIA_MIB=1024 MEDIA_CLIENTS=50 deploy/check/run deploy/e2e media
	MEDIA_KILL_ROUNDS=20 deploy/check/run deploy/e2e kill9-media
	$(MAKE) --no-print-directory mutants
	bin/atoll sim swarm --budget $(BUDGET)

mutants: ## every planted bug of the core, and what noticed it
	go test -count=1 -tags plant -run 'Planted|SwarmNotices' -v ./replication

e2e: build ## whole stories against the binary: deploy/e2e/*.sh
	deploy/check/run deploy/e2e

demo: build ## three regions on this machine
	bin/atoll dev --sample stars

clean: ## what build and the demo leave
	rm -rf bin out atoll-data
