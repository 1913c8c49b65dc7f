# make sim runs the prober, its ledger and the verdict, unmodified, in the simulated world of tests/sim: libpq, sockets,
# clocks and threads in virtual time, random faults from a seed, and an oracle. It does not link libpq.
SIM_SRC := $(wildcard tests/sim/*.c)
SIM_OBJ := $(SIM_SRC:%.c=$(BUILD)/%.o)
SIM_CODE := $(addprefix $(BUILD)/,$(patsubst %.c,%.o,$(wildcard cgi/probe/*.c common/*.c) \
  cgi/snapshot.c cgi/reason.c cgi/checks.c cgi/config.c cgi/errand.c cgi/answer/verdict.c))

# Runs RUNS seeds, beginning with FROM. Each has the same result on any machine.
SEED    ?=
FROM    ?= 1
RUNS    ?= 1000
DAYS    ?=
SECONDS ?=
SIM_LENGTH = $(if $(DAYS),--days $(DAYS),$(if $(SECONDS),--seconds $(SECONDS),--runs $(RUNS)))
SIM_ARGS   = $(if $(SEED),--seed $(SEED),--from $(FROM) $(SIM_LENGTH)) $(if $(VERBOSE),--verbose)

$(BUILD)/sim: $(SIM_OBJ) $(SIM_CODE)
	$(CC) $(ALL_LDFLAGS) -o $@ $^

.PHONY: sim sim-proof
sim: $(BUILD)/sim ## run the prober in a simulated world: RUNS=1000 seeds of random faults, SECONDS=n or DAYS=n; SEED=n VERBOSE=1
	@$(BUILD)/sim $(SIM_ARGS)

sim-proof: ## check that make sim notices each of tests/sim/wrong/*.patch, and that a seed gives the same output twice
	@tests/sim/prove.sh

-include $(SIM_OBJ:.o=.d)
