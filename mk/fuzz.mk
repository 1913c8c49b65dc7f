# Builds one libFuzzer program for each tests/fuzz/fuzz_NAME.c. What it finds stays in build/fuzz/. Its seeds are real
# files.
FUZZ_SECONDS ?= 60
FUZZ_CFLAGS  := -std=c17 $(WARNINGS) -Werror -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZ_SRC     := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN     := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/fuzz/%)

$(BUILD)/fuzz/fuzz_watchfile $(BUILD)/fuzz/fuzz_judge: FUZZ_WITH := $(filter-out watchdog/main.c,$(WATCH_SRC)) $(COMMON_SRC)
$(BUILD)/fuzz/fuzz_gate: FUZZ_WITH := cgi/serve/gate.c common/buf.c common/error.c common/log.c common/clock.c common/text.c
$(BUILD)/fuzz/fuzz_checks: FUZZ_WITH := cgi/checks.c $(COMMON_SRC)
$(BUILD)/fuzz/fuzz_query: FUZZ_WITH := $(filter-out cgi/answer/health.c,$(wildcard cgi/answer/*.c)) cgi/snapshot.c cgi/reason.c \
  cgi/config.c $(COMMON_SRC) -Wl,--wrap=document_health,--wrap=document_bare_health
$(BUILD)/fuzz/%: tests/fuzz/%.c $(wildcard cgi/*.[ch] cgi/*/*.[ch] common/*.[ch] watchdog/*.[ch])
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
