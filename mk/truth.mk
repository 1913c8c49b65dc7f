# make truth measures how long the program is wrong about real faults. docs/truth.md explains its table.
TRUTH = HEALTH_API=$(BUILD)/health-api PYTHONPATH=tests $(PYTHON) -m truth $(BUILD)/truth

# These faults take no longer than a few seconds each.
TRUTH_QUICK := server_frozen,no_connection_left,server_stopped,black_hole,table_dropped,table_locked,$\
  table_too_small,server_crashed,session_terminated,server_reloaded

# The program gets RUNS, SEED and FAULTS if the environment or the command line sets them. make passes these on, but not
# the default of RUNS in sim.mk.
.PHONY: truth truth-smoke
truth: ## seconds of false green and false red with real faults (about 15 minutes); RUNS=10 FAULTS=name,... SEED=n
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory all
	$(TRUTH)

truth-smoke: ## the quick faults of truth, one run each (a minute)
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory all
	RUNS=1 FAULTS=$(TRUTH_QUICK) $(TRUTH)-smoke
