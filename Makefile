# health-api: `make run` demonstrates it, `make test` tests it, `make help` lists the other targets. The files in mk/
# say how to build, measure and install it.

PREFIX     ?= /usr/local
DESTDIR    ?=
PORT       ?= 8080
BUILD      ?= build
CC         ?= cc
PKG_CONFIG ?= pkg-config
PYTHON     ?= /usr/bin/python3
# The tests wait most of the time, so several can run at once even on two cores.
TEST_JOBS  ?= 6
PYTEST     ?= $(PYTHON) -m pytest -q -rs -n $(TEST_JOBS) --dist loadgroup
# The programs that the tests run.
TESTED := HEALTH_API=$(BUILD)/health-api HEALTH_WATCH=$(BUILD)/health-watch

# make separates lists by spaces. With a space in BUILD it would build, and clean, in both halves of the path.
ifneq ($(words $(BUILD)) $(words [$(BUILD)]),1 1)
$(error BUILD='$(BUILD)': expected a path without spaces)
endif

.PHONY: all run test unit api faults clients system watch soak clean packages help
all: $(BUILD)/health-api $(BUILD)/health-watch ## build build/health-api and build/health-watch

include mk/build.mk mk/check.mk mk/sim.mk mk/bench.mk mk/truth.mk mk/fuzz.mk mk/install.mk

run: ## build and start PostgreSQL, health-api and nginx on 127.0.0.1:PORT (8080) until Ctrl-C
	@scripts/packages.sh run
	@$(MAKE) -s --no-print-directory all
	@PORT='$(PORT)' exec env --default-signal=INT scripts/run.sh # a shell's & leaves SIGINT ignored

test: ## install what the tests need, then unit, API, fault, watchdog and system tests
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory layers unit all
	@$(MAKE) --no-print-directory sim DAYS=5
	$(TESTED) $(PYTEST) tests/system
	$(TESTED) $(PYTEST) tests/api tests/faults
	$(TESTED) $(PYTEST) tests/watch

unit: $(UNIT_BIN) ## unit tests
	@set -e; for t in $(UNIT_BIN); do $$t; done

api: all ## API tests: a real nginx and a real PostgreSQL of their own
	$(TESTED) $(PYTEST) tests/api

faults: all ## fault tests: each promise with a real fault
	$(TESTED) $(PYTEST) tests/faults

# Unlike the other tests, these are busy all the time.
clients: TEST_JOBS = 3
clients: ## tests behind other web servers (Apache, lighttpd, Caddy, HAProxy, h2o) and with Prometheus
	@scripts/packages.sh clients
	@$(MAKE) --no-print-directory all
	$(TESTED) $(PYTEST) tests/clients

system: all ## system tests: a real systemd, booted in namespaces (as root)
	$(PYTEST) tests/system

watch: all ## tests of health-watch: real servers, processes and signals, and a systemctl that records its orders
	$(TESTED) $(PYTEST) tests/watch

soak: all ## ten minutes of requests with a random fault each second (as root)
	SOAK_SECONDS=600 $(PYTHON) -m pytest -q -s tests/system/test_soak.py

clean: ## remove build/
	rm -rf $(BUILD)

packages: ## install the Debian packages for building
	@scripts/packages.sh build

help: ## list the targets
	@sed -n 's/^\([a-z][a-z -]*\):[^#]*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | \
	  awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo "Variables: PORT BUILD PREFIX DESTDIR CC CFLAGS WERROR=1"
