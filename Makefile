# health-api: `make run` shows it at work, `make test` proves it, `make help` lists the rest.

PREFIX     ?= /usr/local
DESTDIR    ?=
PORT       ?= 8080
BUILD      ?= build
CC         ?= cc
PKG_CONFIG ?= pkg-config
PYTHON     ?= /usr/bin/python3
# The tests wait most of the time: several at once even on two cores; what a sanitizer slows down, fewer.
TEST_JOBS  ?= 6
PYTEST     ?= $(PYTHON) -m pytest -q -rs -n $(TEST_JOBS) --dist loadgroup
# What the tests run.
TESTED := HEALTH_API=$(BUILD)/health-api HEALTH_WATCH=$(BUILD)/health-watch

PACKAGES := fcgi libpq json-c
# Of health-watch alone.
WATCH_PACKAGES := libcurl json-c

CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Werror=implicit-function-declaration
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
WATCH_SRC  := $(wildcard watchdog/*.c)
WATCH_OBJ  := $(WATCH_SRC:%.c=$(BUILD)/%.o) $(COMMON_SRC:%.c=$(BUILD)/%.o)
WATCH_LIB  := $(filter-out $(BUILD)/watchdog/main.o,$(WATCH_OBJ))
UNIT_SRC   := $(wildcard tests/unit/test_*.c)
UNIT_BIN   := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

.PHONY: all
all: $(BUILD)/health-api $(BUILD)/health-watch ## build build/health-api and build/health-watch

$(BUILD)/health-api: $(CGI_OBJ)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/health-watch: private PACKAGES := $(WATCH_PACKAGES)
$(BUILD)/health-watch: $(WATCH_OBJ)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/watchdog/%.o: private PACKAGES := $(WATCH_PACKAGES)
$(BUILD)/watchdog/%.o: watchdog/%.c | $(BUILD)/prerequisites-watch
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.c | $(BUILD)/prerequisites
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS) -lcmocka

# Without -lpq: a function of it that is not in the script does not link.
$(filter $(BUILD)/unit/test_probe_%,$(UNIT_BIN)): $(BUILD)/tests/unit/scripted_libpq.o
$(filter $(BUILD)/unit/test_probe_%,$(UNIT_BIN)): private PACKAGES := fcgi json-c

$(BUILD)/unit/test_watch_%: private PACKAGES := $(WATCH_PACKAGES)
$(BUILD)/unit/test_watch_%: $(BUILD)/tests/unit/test_watch_%.o $(WATCH_LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS) -lcmocka

# A clear word instead of a page of missing headers.
$(BUILD)/prerequisites:
	@$(PKG_CONFIG) --exists $(PACKAGES) || { \
	  echo "health-api needs a C compiler, pkg-config and the development files of libfcgi, libpq and json-c." >&2; \
	  echo "On Debian: make packages (as root or with sudo), or see scripts/packages.sh" >&2; exit 1; }
	@mkdir -p $(@D) && touch $@

$(BUILD)/prerequisites-watch: | $(BUILD)/prerequisites
	@$(PKG_CONFIG) --exists $(WATCH_PACKAGES) || { \
	  echo "health-watch needs the development files of libcurl and json-c as well." >&2; \
	  echo "On Debian: make packages (as root or with sudo), or see scripts/packages.sh" >&2; exit 1; }
	@touch $@

# Objects of tests are made on the way to a test and stay.
.SECONDARY:

-include $(CGI_OBJ:.o=.d) $(WATCH_OBJ:.o=.d) $(UNIT_SRC:%.c=$(BUILD)/%.d) $(BUILD)/tests/unit/scripted_libpq.d

.PHONY: run
run: ## build and start PostgreSQL, health-api and nginx on 127.0.0.1:PORT (8080) until Ctrl-C
	@scripts/packages.sh run
	@$(MAKE) -s --no-print-directory all
	@PORT='$(PORT)' exec env --default-signal=INT scripts/run.sh # a shell's & leaves SIGINT ignored

.PHONY: test
test: ## install what the tests need, then unit, API, fault, watchdog and system tests
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory layers unit all
	$(TESTED) $(PYTEST) tests/system
	$(TESTED) $(PYTEST) tests/api tests/faults
	$(TESTED) $(PYTEST) tests/watch

.PHONY: unit
unit: $(UNIT_BIN) ## unit tests
	@set -e; for t in $(abspath $(UNIT_BIN)); do $$t; done

.PHONY: api
api: all ## API tests: a real nginx and a real PostgreSQL of their own
	$(TESTED) $(PYTEST) tests/api

.PHONY: faults
faults: all ## fault tests: every row of the promises, with the real fault
	$(TESTED) $(PYTEST) tests/faults

.PHONY: system
system: all ## system tests: a real systemd, booted in namespaces (as root)
	$(PYTEST) tests/system

.PHONY: soak
soak: all ## ten minutes of requests with a random fault each second (as root)
	SOAK_SECONDS=600 $(PYTHON) -m pytest -q -s tests/system/test_soak.py

.PHONY: watch
watch: all ## tests of health-watch: real servers, processes and signals, a recording systemctl
	$(TESTED) $(PYTEST) tests/watch

.PHONY: layers
layers: ## check that the includes flow one way
	@scripts/check-layers.sh

.PHONY: asan tsan sanitized
sanitized: unit all
	$(TESTED) $(PYTEST) tests/api tests/faults $(MORE_TESTS)

asan: ## all but the system tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan CFLAGS='-O1 -g' TEST_JOBS=4 \
	  SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer' \
	  MORE_TESTS=tests/watch sanitized

tsan: ## unit, API and fault tests under ThreadSanitizer
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan CFLAGS='-O1 -g' TEST_JOBS=4 \
	  SANITIZE='-fsanitize=thread -fno-omit-frame-pointer' sanitized

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
bench: ## measure against nginx, libfcgi, Go, FastAPI, php-fpm and a CGI script (about 9 minutes)
	@scripts/packages.sh bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	$(BENCH)

bench-smoke: ## a few seconds of everything that bench does, so that it cannot rot; its figures mean nothing
	@scripts/packages.sh bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	BENCH_SMOKE=1 $(BENCH)-smoke

bench-plot: $(BUILD)/bench/plot.svg ## make the plot of the last bench the README's
	cp $< docs/bench.svg

# One libFuzzer program for each tests/fuzz/fuzz_NAME.c; what it found stays in build/fuzz/. Its seeds are real files.
FUZZ_SECONDS ?= 60
FUZZ_CFLAGS  := -std=c17 $(WARNINGS) -Werror -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZ_SRC     := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN     := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/fuzz/%)

$(BUILD)/fuzz/fuzz_watchfile $(BUILD)/fuzz/fuzz_judge: FUZZ_WITH := $(filter-out watchdog/main.c,$(WATCH_SRC)) $(COMMON_SRC)
$(BUILD)/fuzz/fuzz_gate: FUZZ_WITH := cgi/gate.c
$(BUILD)/fuzz/fuzz_checks: FUZZ_WITH := cgi/checks.c cgi/sqlscan.c $(COMMON_SRC)
$(BUILD)/fuzz/%: tests/fuzz/%.c $(wildcard cgi/*.[ch] common/*.[ch] watchdog/*.[ch])
	@mkdir -p $(@D)
	clang $(ALL_CPPFLAGS) $(FUZZ_CFLAGS) -o $@ $< $(FUZZ_WITH) $(shell $(PKG_CONFIG) --cflags --libs $(WATCH_PACKAGES))

.PHONY: fuzz
fuzz: ## fuzz parsers, gate and judgement with libFuzzer, FUZZ_SECONDS (60) each
	@scripts/packages.sh fuzz
	@$(MAKE) --no-print-directory $(FUZZ_BIN)
	@set -e; for fuzzer in $(FUZZ_BIN); do \
	  corpus=$$fuzzer.corpus; mkdir -p $$corpus; cp sql/checks.sql watchdog/watch.conf* tests/fuzz/seeds/* $$corpus; \
	  $$fuzzer -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -artifact_prefix=$$fuzzer. -print_final_stats=1 \
	    $$corpus >$$fuzzer.log 2>&1 || { tail -n 40 $$fuzzer.log; exit 1; }; \
	  echo "$$(basename $$fuzzer): $(FUZZ_SECONDS) s, $$(sed -n 's/^stat::number_of_executed_units: *//p' $$fuzzer.log) runs"; \
	done

C_FILES := $(wildcard cgi/*.[ch] common/*.[ch] watchdog/*.[ch] tests/unit/*.[ch] tests/fuzz/*.[ch] \
  tests/bench/*.c tests/bench/peers/*.c)

.PHONY: lint
lint: ## clang-format, warnings and gcc's analyzer as errors, clang-tidy, cppcheck, shellcheck, the layers
	@scripts/packages.sh lint
	@$(MAKE) --no-print-directory layers lint-installed

.PHONY: lint-installed
lint-installed:
	clang-format --dry-run --Werror $(C_FILES)
	$(MAKE) --no-print-directory BUILD=$(BUILD)/lint WERROR=1 CFLAGS='$(CFLAGS) -fanalyzer' all
	printf '%s\n' $(CGI_SRC) $(COMMON_SRC) $(WATCH_SRC) | xargs -P 2 -n 4 sh -c \
	  'clang-tidy --quiet "$$@" -- $(ALL_CPPFLAGS) -std=c17 $(shell $(PKG_CONFIG) --cflags $(PACKAGES) $(WATCH_PACKAGES))' sh
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	  --suppress=missingIncludeSystem -I. cgi common watchdog
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
WATCH_CONFDIR := /etc/health-watch
UNITS := health-api.socket health-api.service health-watch.service health-watch.timer

.PHONY: install
install: all ## install under DESTDIR and PREFIX, units included
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(UNITDIR) $(CONFDIR) $(WATCH_CONFDIR)) \
	  $(addprefix $(DESTDIR)$(DATADIR)/,sql nginx systemd watchdog)
	$(call install_unless_changed,sql/checks.sql,$(CONFDIR),644)
	$(call install_unless_changed,systemd/environment,$(CONFDIR),600)
	$(call install_unless_changed,watchdog/watch.conf,$(WATCH_CONFDIR),644)
	install -m 755 $(BUILD)/health-api $(BUILD)/health-watch $(DESTDIR)$(BINDIR)
	install -m 644 sql/*.sql $(DESTDIR)$(DATADIR)/sql
	install -m 644 nginx/health-api* $(DESTDIR)$(DATADIR)/nginx
	install -m 644 systemd/environment systemd/health-api.service.d/* $(DESTDIR)$(DATADIR)/systemd
	install -m 644 watchdog/watch.conf watchdog/watch.conf.example $(DESTDIR)$(DATADIR)/watchdog
	for unit in $(UNITS); do sed 's|@BINDIR@|$(BINDIR)|; s|@DATADIR@|$(DATADIR)|; s|@DOCDIR@|$(DOCDIR)|' systemd/$$unit \
	  >$(DESTDIR)$(UNITDIR)/$$unit && chmod 644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; done
	install -D -m 644 systemd/health-api.sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/health-api.conf
	install -D -m 644 README.md $(DESTDIR)$(DOCDIR)/README.md
	install -m 644 ARCHITECTURE.md CHANGELOG.md LICENSE $(DESTDIR)$(DOCDIR)
	$(ON_LIVE_SYSTEMD) systemd-sysusers $(SYSUSERSDIR)/health-api.conf && systemctl daemon-reload; fi

# The shipped file, its directory, its mode. What was installed before and is as it was shipped then makes room for the
# newer one; DATADIR has the copy of then.
define install_unless_changed
file=$(DESTDIR)$(2)/$(notdir $(1)); if [ ! -e $$file ] || cmp -s $(DESTDIR)$(DATADIR)/$(1) $$file; \
then install -m $(3) $(1) $$file; else echo "kept $$file: it is not the one that was shipped"; fi
endef

# Into a running system, not into a package's tree.
ON_LIVE_SYSTEMD := if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then

.PHONY: uninstall
uninstall: ## stop and remove what install has put there; configuration that you changed stays
	$(ON_LIVE_SYSTEMD) systemctl disable --now $(UNITS) || true; fi
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,health-api health-watch) $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS))
	rm -f $(DESTDIR)$(SYSUSERSDIR)/health-api.conf
	$(call remove_unchanged,sql/checks.sql,$(CONFDIR))
	$(call remove_unchanged,systemd/environment,$(CONFDIR))
	$(call remove_unchanged,watchdog/watch.conf,$(WATCH_CONFDIR))
	rm -rf $(addprefix $(DESTDIR),$(DATADIR) $(DOCDIR) /var/lib/health-watch)
	rm -f $(DESTDIR)/var/lib/systemd/timers/stamp-health-watch.timer
	$(ON_LIVE_SYSTEMD) systemctl daemon-reload; fi

# The same: the sources may be newer than what was installed.
define remove_unchanged
file=$(DESTDIR)$(2)/$(notdir $(1)); if cmp -s $(DESTDIR)$(DATADIR)/$(1) $$file; then rm $$file; \
elif [ -e $$file ]; then echo "kept $$file: it is not the one that was shipped"; fi; \
if [ -d $(DESTDIR)$(2) ]; then rmdir --ignore-fail-on-non-empty $(DESTDIR)$(2); fi
endef

.PHONY: clean
clean: ## remove build/
	rm -rf $(BUILD)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z][a-z -]*\):[^#]*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | \
	  awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo "Variables: PORT BUILD PREFIX DESTDIR CC CFLAGS WERROR=1"
