# make bench compares the program with what a user would choose instead. docs/benchmarks.md explains its table.
BENCH_BIN := $(addprefix $(BUILD)/bench/,least threads count pace go-pgx)
BENCH      = HEALTH_API=$(BUILD)/health-api PYTHONPATH=tests $(PYTHON) -m bench $(BUILD)/bench

$(BUILD)/bench/%: $(BUILD)/tests/bench/peers/%.o
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/bench/pace: $(BUILD)/tests/bench/pace.o
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^

# Debian's packages of Go libraries form a GOPATH, so the build downloads nothing.
$(BUILD)/bench/go-pgx: tests/bench/peers/health.go
	@mkdir -p $(@D)
	GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE='$(abspath $(BUILD))/bench/go-cache' GOFLAGS= go build -o $@ $<

.PHONY: bench bench-smoke bench-plot
bench: ## measure against nginx, libfcgi, Go, FastAPI, php-fpm and a CGI script (about 12 minutes)
	@scripts/packages.sh bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	$(BENCH)

bench-smoke: ## everything that bench does, for a few seconds, to test that it works; its figures mean nothing
	@scripts/packages.sh bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	BENCH_SMOKE=1 $(BENCH)-smoke

bench-plot: $(BUILD)/bench/plot.svg ## copy the plot of the last bench into docs/, for the README
	cp $< docs/bench.svg
