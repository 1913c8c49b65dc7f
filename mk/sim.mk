# make sim: the prober, its ledger and the verdict, unmodified, in a world of tests/sim: libpq, sockets, clocks and threads in
# virtual time, random faults from a seed, an oracle. What is linked there has no object of libpq.
SIM_SRC := $(wildcard tests/sim/*.c)
SIM_OBJ := $(SIM_SRC:%.c=$(BUILD)/%.o)
SIM_CODE := $(addprefix $(BUILD)/,$(patsubst %.c,%.o,$(wildcard cgi/probe/*.c common/*.c) \
  cgi/snapshot.c cgi/reason.c cgi/checks.c cgi/sqlscan.c cgi/config.c cgi/answer/verdict.c))

SEED    ?=
DAYS    ?=
SECONDS ?= 20
# today, or design: which column of the table of promises counts (tests/sim/faults.c).
PROMISE ?= today
SIM_ARGS = $(if $(SEED),--seed $(SEED)) $(if $(DAYS),--days $(DAYS)) --seconds $(SECONDS) \
  $(if $(filter design,$(PROMISE)),--design) $(if $(VERBOSE),--verbose)

$(BUILD)/sim: $(SIM_OBJ) $(SIM_CODE)
	$(CC) $(ALL_LDFLAGS) -o $@ $^

.PHONY: sim sim-proof
sim: $(BUILD)/sim ## the prober in a simulated world: SECONDS=20 or DAYS=n of random faults, SEED=n again, VERBOSE=1
	@$(BUILD)/sim $(SIM_ARGS)

sim-proof: ## each of tests/sim/wrong/*.patch is a violation within a minute, and a seed gives the same output twice
	@tests/sim/prove.sh

-include $(SIM_OBJ:.o=.d)
