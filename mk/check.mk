# The linters, the suites under the sanitizers, and the build on other Debian versions.

C_FILES := $(wildcard $(addsuffix /*.[ch],cgi cgi/* common watchdog tests/unit tests/unit/* tests/unit/cgi/* tests/sim tests/fuzz \
  tests/bench tests/bench/peers))

.PHONY: layers
layers: ## check that the includes flow one way
	@scripts/check-layers.sh

.PHONY: lint
lint: ## clang-format, warnings and gcc's analyzer as errors, clang-tidy, cppcheck, shellcheck, mandoc, codespell, the layers
	@scripts/packages.sh lint
	@$(MAKE) --no-print-directory layers lint-installed

# A macro of mdoc, part of an error text of libpq, typing mistakes in tests, and a name in one.
NOT_MISSPELT := nd,coul,tiemout,chekc,ans

# Without MANPATH, mandoc would also check the index of this machine's own pages.
.PHONY: lint-installed
lint-installed:
	clang-format --dry-run --Werror $(C_FILES)
	$(MAKE) --no-print-directory BUILD=$(BUILD)/lint WERROR=1 CFLAGS='$(CFLAGS) -fanalyzer' all
	printf '%s\n' $(CGI_SRC) $(COMMON_SRC) $(WATCH_SRC) | xargs -P 2 -n 4 sh -c \
	  'clang-tidy --quiet "$$@" -- $(ALL_CPPFLAGS) -std=c17 $(shell $(PKG_CONFIG) --cflags $(PACKAGES) $(WATCH_PACKAGES))' sh
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	  --suppress=missingIncludeSystem -I. cgi common watchdog
	shellcheck scripts/*.sh .ci/run
	MANPATH=/ mandoc -Tlint -Wwarning man/*
	codespell --ignore-words-list=$(NOT_MISSPELT) $(wildcard *.md docs/*.md man/*) cgi common deploy nginx scripts sql systemd tests watchdog

.PHONY: asan asan-short tsan sanitized
sanitized: unit all
	$(TESTED) $(PYTEST) --ignore=tests/faults/library $(SANITIZED_TESTS)

# A sanitizer cannot find anything in these, nor in the checks of sql/library: they test other people's nginx
# configurations, texts, and make.
NOT_SANITIZED := $(addprefix tests/api/test_,sites.py manual.py build.py make.py schema.py exposition.py)

# Only those in which the threads meet: a reload, a stop, the checks, a lookup, the drain file.
TSAN_TESTS := $(addprefix tests/api/test_,checks.py service.py stop.py) \
  $(addprefix tests/faults/test_,names.py program.py)

ASAN_LEFT_OUT ?=
ASAN_TESTS = $(filter-out $(NOT_SANITIZED) $(ASAN_LEFT_OUT),$(wildcard tests/api/test_*.py) tests/faults tests/watch)

# CI has no time for all of asan. This leaves out the longest API tests, those that make tsan runs, the faults, and
# health-watch, the drain, the metrics and ?only=, whose unit tests and fuzzers run with this sanitizer all the same.
asan-short: ASAN_LEFT_OUT = $(TSAN_TESTS) \
  $(addprefix tests/api/test_,cli.py drain.py main_job.py metrics.py nginx.py only.py) tests/faults tests/watch
asan-short: asan ## the part of asan that CI has time for

asan: ## unit, API, fault and watchdog tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan CFLAGS='-O1 -g' \
	  SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer' \
	  SANITIZED_TESTS='$(ASAN_TESTS)' sanitized

tsan: ## unit tests, and those API and fault tests in which the threads meet, under ThreadSanitizer
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan CFLAGS='-O1 -g' \
	  SANITIZE='-fsanitize=thread -fno-omit-frame-pointer' \
	  SANITIZED_TESTS='$(TSAN_TESTS)' sanitized

# The script gets ROOTS from the environment or the command line.
.PHONY: roots
roots: ## build, and run the unit tests, with gcc and clang in throw-away Debians: ROOTS='bookworm trixie' (as root, 10 minutes)
	@scripts/packages.sh roots
	@scripts/roots.sh
