# make bench: the program beside what a user would pick instead. docs/benchmarks.md says how to read its table.
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
	GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE='$(abspath $(BUILD))/bench/go-cache' GOFLAGS= go build -o $@ $<

.PHONY: bench bench-smoke bench-plot
bench: ## measure against nginx, libfcgi, Go, FastAPI, php-fpm and a CGI script (about 12 minutes)
	@scripts/packages.sh bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	$(BENCH)

bench-smoke: ## a few seconds of everything that bench does, so that it cannot rot; its figures mean nothing
	@scripts/packages.sh bench
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	BENCH_SMOKE=1 $(BENCH)-smoke

bench-plot: $(BUILD)/bench/plot.svg ## make the plot of the last bench the README's
	cp $< docs/bench.svg
