# make truth: how long the program is wrong about real faults. docs/truth.md says how to read its table.
TRUTH = HEALTH_API=$(BUILD)/health-api PYTHONPATH=tests $(PYTHON) -m truth $(BUILD)/truth

# Those that take no longer than a few seconds each.
TRUTH_QUICK := server_frozen,no_connection_left,server_stopped,black_hole,table_dropped,table_locked,$\
  table_too_small,server_crashed,session_terminated,server_reloaded

# RUNS, SEED and FAULTS reach the program where the environment or the command line sets them: make passes those on, and
# not the default of RUNS in sim.mk.
.PHONY: truth truth-smoke
truth: ## seconds of false green and false red with real faults (about 15 minutes); RUNS=10 FAULTS=name,... SEED=n
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory all
	$(TRUTH)

truth-smoke: ## the quick faults of truth, one run each (a minute)
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory all
	RUNS=1 FAULTS=$(TRUTH_QUICK) $(TRUTH)-smoke
