# health-api: `make run` shows it at work, `make test` proves it, `make help` lists the rest.

PREFIX     ?= /usr/local
DESTDIR    ?=
PORT       ?= 8080
BUILD      ?= build
CC         ?= cc
PKG_CONFIG ?= pkg-config
PYTHON     ?= /usr/bin/python3
# The tests wait most of the time: six at once even on two cores. -rs: a skipped test says why.
PYTEST     ?= $(PYTHON) -m pytest -q -rs -n 6 --dist loadgroup

PACKAGES := fcgi libpq json-c

CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
# CI sets WERROR=1: a warning of a compiler that we have not met must not stop a user's build.
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif

# Recursive: pkg-config is asked when something is compiled, for `make run` may have to install it first.
HARDEN   := -fstack-protector-strong -fPIE
ALL_CPPFLAGS := -I. -D_GNU_SOURCE $(CPPFLAGS)
ALL_CFLAGS    = -std=c17 $(WARNINGS) $(HARDEN) $(shell $(PKG_CONFIG) --cflags $(PACKAGES)) $(CFLAGS) $(SANITIZE)
ALL_LDFLAGS   = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS) $(SANITIZE)
ALL_LDLIBS    = $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -lpthread

COMMON_SRC := $(wildcard common/*.c)
CGI_SRC    := $(wildcard cgi/*.c)
CGI_OBJ    := $(CGI_SRC:%.c=$(BUILD)/%.o) $(COMMON_SRC:%.c=$(BUILD)/%.o)
# Everything but main: what the unit tests link.
LIB_OBJ    := $(filter-out $(BUILD)/cgi/main.o,$(CGI_OBJ))
UNIT_SRC   := $(wildcard tests/unit/test_*.c)
UNIT_BIN   := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

.PHONY: all
all: $(BUILD)/health-api ## build build/health-api

$(BUILD)/health-api: $(CGI_OBJ)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/%.o: %.c | $(BUILD)/prerequisites
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS) -lcmocka

# Its symbols win over those of -lpq.
$(filter $(BUILD)/unit/test_probe_%,$(UNIT_BIN)): $(BUILD)/tests/unit/scripted_libpq.o

# A clear word instead of a page of missing headers.
$(BUILD)/prerequisites:
	@$(PKG_CONFIG) --exists $(PACKAGES) || { \
	  echo "health-api needs a C compiler, pkg-config and the development files of libfcgi, libpq and json-c." >&2; \
	  echo "On Debian: make packages (as root or with sudo), or see scripts/packages.sh" >&2; exit 1; }
	@mkdir -p $(@D) && touch $@

# Objects of tests are made on the way to a test and stay.
.SECONDARY:

-include $(CGI_OBJ:.o=.d) $(UNIT_SRC:%.c=$(BUILD)/%.d) $(BUILD)/tests/unit/scripted_libpq.d

.PHONY: run
run: ## build and start PostgreSQL, health-api and nginx on 127.0.0.1:PORT (8080) until Ctrl-C
	@scripts/packages.sh run
	@$(MAKE) -s --no-print-directory all
	@PORT='$(PORT)' exec env --default-signal=INT scripts/run.sh # a shell's & leaves SIGINT ignored

.PHONY: test
test: ## install what the tests need, then unit, API, fault and system tests
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory layers unit all
	HEALTH_API=$(BUILD)/health-api $(PYTEST) tests/system tests/api tests/faults

.PHONY: unit
unit: $(UNIT_BIN) ## unit tests
	@set -e; for t in $(abspath $(UNIT_BIN)); do $$t; done

.PHONY: api
api: all ## API tests: a real nginx and a real PostgreSQL of their own
	HEALTH_API=$(BUILD)/health-api $(PYTEST) tests/api

.PHONY: faults
faults: all ## fault tests: every row of the promises, with the real fault
	HEALTH_API=$(BUILD)/health-api $(PYTEST) tests/faults

.PHONY: system
system: all ## system tests: a real systemd, booted in namespaces (as root)
	$(PYTEST) tests/system

.PHONY: soak
soak: all ## ten minutes of requests with a random fault each second (as root)
	SOAK_SECONDS=600 $(PYTHON) -m pytest -q -s tests/system/test_soak.py

.PHONY: layers
layers: ## check that the includes flow one way
	@scripts/check-layers.sh

.PHONY: asan tsan sanitized
sanitized: all
	HEALTH_API=$(BUILD)/health-api $(PYTEST) tests/api tests/faults

asan: ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan CFLAGS='-O1 -g' \
	  SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer' unit sanitized

tsan: ## all tests under ThreadSanitizer
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan CFLAGS='-O1 -g' \
	  SANITIZE='-fsanitize=thread -fno-omit-frame-pointer' unit sanitized

# tests/bench/README.md says how to read its table.
BENCH_BIN := $(addprefix $(BUILD)/bench/,least threads count pace go-pgx)
BENCH      = HEALTH_API=$(BUILD)/health-api PYTHONPATH=tests $(PYTHON) -m bench $(BUILD)/bench

$(BUILD)/bench/%: $(BUILD)/tests/bench/peers/%.o
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/bench/pace: $(BUILD)/tests/bench/pace.o
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^

# Debian's packages of Go libraries are a GOPATH; nothing is downloaded.
$(BUILD)/bench/go-pgx: tests/bench/peers/health.go
	@mkdir -p $(@D)
	GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$(abspath $(BUILD))/bench/go-cache GOFLAGS= go build -o $@ $<

.PHONY: bench bench-smoke bench-plot
bench: ## measure against nginx, libfcgi, Go, FastAPI, php-fpm and a CGI script (about 10 minutes)
	@scripts/packages.sh bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	$(BENCH)

bench-smoke: ## a few seconds of everything that bench does, so that it cannot rot; its figures mean nothing
	@scripts/packages.sh bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	BENCH_SMOKE=1 $(BENCH)-smoke

bench-plot: $(BUILD)/bench/plot.svg ## make the plot of the last bench the README's
	cp $< docs/bench.svg

C_FILES := $(wildcard cgi/*.[ch] common/*.[ch] tests/unit/*.[ch] tests/bench/*.c tests/bench/peers/*.c)

.PHONY: lint
lint: ## clang-format, warnings as errors, clang-tidy, cppcheck, shellcheck, the layers
	@scripts/packages.sh lint
	@$(MAKE) --no-print-directory layers lint-installed

.PHONY: lint-installed
lint-installed:
	clang-format --dry-run --Werror $(C_FILES)
	$(MAKE) --no-print-directory BUILD=$(BUILD)/lint WERROR=1 all
	printf '%s\n' $(CGI_SRC) $(COMMON_SRC) | xargs -P 2 -n 4 sh -c \
	  'clang-tidy --quiet "$$@" -- $(ALL_CPPFLAGS) -std=c17 $(shell $(PKG_CONFIG) --cflags $(PACKAGES))' sh
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	  --suppress=missingIncludeSystem -I. cgi common
	shellcheck scripts/*.sh .ci/run

.PHONY: packages
packages: ## install the Debian packages for building
	@scripts/packages.sh build

BINDIR  := $(PREFIX)/bin
DATADIR := $(PREFIX)/share/health-api
DOCDIR  := $(PREFIX)/share/doc/health-api
UNITDIR := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
# What stays the administrator's once it is there.
CONFDIR := /etc/health-api

.PHONY: install
install: all ## install under DESTDIR and PREFIX, units included
	install -D -m 755 $(BUILD)/health-api $(DESTDIR)$(BINDIR)/health-api
	install -d $(DESTDIR)$(DATADIR)/sql $(DESTDIR)$(DATADIR)/nginx $(DESTDIR)$(DATADIR)/systemd $(DESTDIR)$(UNITDIR)
	install -m 644 sql/*.sql $(DESTDIR)$(DATADIR)/sql
	install -m 644 nginx/health-api* $(DESTDIR)$(DATADIR)/nginx
	install -m 644 systemd/health-api.service.d/* $(DESTDIR)$(DATADIR)/systemd
	install -m 644 systemd/health-api.socket $(DESTDIR)$(UNITDIR)
	sed 's|@BINDIR@|$(BINDIR)|; s|@DATADIR@|$(DATADIR)|' systemd/health-api.service.in \
	  >$(DESTDIR)$(UNITDIR)/health-api.service
	install -D -m 644 systemd/health-api.sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/health-api.conf
	install -D -m 644 README.md $(DESTDIR)$(DOCDIR)/README.md
	install -m 644 ARCHITECTURE.md LICENSE $(DESTDIR)$(DOCDIR)
	test -e $(DESTDIR)$(CONFDIR)/checks.sql || install -D -m 644 sql/checks.sql $(DESTDIR)$(CONFDIR)/checks.sql
	test -e $(DESTDIR)$(CONFDIR)/environment || install -m 600 systemd/environment $(DESTDIR)$(CONFDIR)/environment
	$(ON_LIVE_SYSTEMD) systemd-sysusers $(SYSUSERSDIR)/health-api.conf && systemctl daemon-reload; fi

# Into a running system, not into a package's tree.
ON_LIVE_SYSTEMD := if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then

.PHONY: uninstall
uninstall: ## stop and remove what install has put there; configuration that you changed stays
	$(ON_LIVE_SYSTEMD) systemctl disable --now health-api.socket health-api.service || true; fi
	rm -f $(DESTDIR)$(BINDIR)/health-api $(DESTDIR)$(UNITDIR)/health-api.socket $(DESTDIR)$(UNITDIR)/health-api.service
	rm -f $(DESTDIR)$(SYSUSERSDIR)/health-api.conf
	rm -rf $(DESTDIR)$(DATADIR) $(DESTDIR)$(DOCDIR)
	$(call remove_unchanged,sql/checks.sql,checks.sql)
	$(call remove_unchanged,systemd/environment,environment)
	if [ -d $(DESTDIR)$(CONFDIR) ]; then rmdir --ignore-fail-on-non-empty $(DESTDIR)$(CONFDIR); fi
	$(ON_LIVE_SYSTEMD) systemctl daemon-reload; fi

define remove_unchanged
if cmp -s $(1) $(DESTDIR)$(CONFDIR)/$(2); then rm $(DESTDIR)$(CONFDIR)/$(2); \
elif [ -e $(DESTDIR)$(CONFDIR)/$(2) ]; then echo "kept $(DESTDIR)$(CONFDIR)/$(2): it is not the one that was shipped"; fi
endef

.PHONY: clean
clean: ## remove build/
	rm -rf $(BUILD)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z][a-z ]*\):[^#]*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | \
	  awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo "Variables: PORT BUILD PREFIX DESTDIR CC CFLAGS WERROR=1"
