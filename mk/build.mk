# Compiles and links the two programs and the unit tests.

PACKAGES := fcgi libpq json-c
# Only health-watch needs these.
WATCH_PACKAGES := libcurl json-c

CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Werror=implicit-function-declaration
# CI sets WERROR=1. By default it is off, because a warning of an unknown compiler must not stop a user's build.
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif

# These are recursive, so make runs pkg-config only when it compiles: `make run` may have to install pkg-config first.
HARDEN   := -fstack-protector-strong -fPIE
ALL_CPPFLAGS := -I. -D_GNU_SOURCE $(CPPFLAGS)
ALL_CFLAGS    = -std=c17 $(WARNINGS) $(HARDEN) $(shell $(PKG_CONFIG) --cflags $(PACKAGES)) $(CFLAGS) $(SANITIZE)
ALL_LDFLAGS   = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS) $(SANITIZE)
ALL_LDLIBS    = $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -lpthread

COMMON_SRC := $(wildcard common/*.c)
CGI_SRC    := $(wildcard cgi/*.c cgi/*/*.c)
CGI_OBJ    := $(CGI_SRC:%.c=$(BUILD)/%.o) $(COMMON_SRC:%.c=$(BUILD)/%.o)
# The unit tests link everything except main.
LIB_OBJ    := $(filter-out $(BUILD)/cgi/main.o,$(CGI_OBJ))
WATCH_SRC  := $(wildcard watchdog/*.c)
WATCH_OBJ  := $(WATCH_SRC:%.c=$(BUILD)/%.o) $(COMMON_SRC:%.c=$(BUILD)/%.o)
WATCH_LIB  := $(filter-out $(BUILD)/watchdog/main.o,$(WATCH_OBJ))
UNIT_SRC   := $(wildcard $(addsuffix /test_*.c,tests/unit/common tests/unit/cgi tests/unit/cgi/* tests/unit/watchdog))
UNIT_BIN   := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

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

# Without -lpq, a call of a libpq function that the script lacks does not link.
SCRIPT_OBJ := $(addprefix $(BUILD)/tests/unit/cgi/probe/,scripted_libpq.o scripted_result.o)
SCRIPTED   := $(filter $(BUILD)/unit/cgi/probe/test_session_%,$(UNIT_BIN))
$(SCRIPTED): $(SCRIPT_OBJ)
$(SCRIPTED): private PACKAGES := fcgi json-c

$(BUILD)/unit/watchdog/%: private PACKAGES := $(WATCH_PACKAGES)
$(BUILD)/unit/watchdog/%: $(BUILD)/tests/unit/watchdog/%.o $(WATCH_LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS) -lcmocka

# The program uses the pipeline mode of libpq 14.
LIBPQ_NEEDED := 14
NOT_FOUND     = $$(for p in $(PACKAGES); do $(PKG_CONFIG) --exists $$p 2>/dev/null || printf ' %s' $$p; done)

# Prints one clear sentence instead of a page of errors about missing headers.
$(BUILD)/prerequisites:
	@$(PKG_CONFIG) --exists $(PACKAGES) || { \
	  echo "health-api needs a C compiler, pkg-config and the development files of libfcgi, libpq ($(LIBPQ_NEEDED) or later)" \
	    "and json-c; $(PKG_CONFIG) does not find$(NOT_FOUND)." >&2; \
	  echo "On Debian: make packages (as root or with sudo), or see scripts/packages.sh" >&2; exit 1; }
	@$(PKG_CONFIG) --atleast-version=$(LIBPQ_NEEDED) libpq || { \
	  echo "health-api needs libpq $(LIBPQ_NEEDED) or later, and $(PKG_CONFIG) finds libpq" \
	    "$$($(PKG_CONFIG) --modversion libpq)." >&2; exit 1; }
	@printf '%s\n' '#if !defined __linux__ || !defined __LP64__' '#error health-api and health-watch need 64-bit Linux' \
	  '#endif' | $(CC) $(CPPFLAGS) $(CFLAGS) -fsyntax-only -x c -
	@mkdir -p $(@D) && touch $@

$(BUILD)/prerequisites-watch: | $(BUILD)/prerequisites
	@$(PKG_CONFIG) --exists $(WATCH_PACKAGES) || { \
	  echo "health-watch needs the development files of libcurl and json-c as well." >&2; \
	  echo "On Debian: make packages (as root or with sudo), or see scripts/packages.sh" >&2; exit 1; }
	@touch $@

# Objects of tests are intermediate files; this keeps them.
.SECONDARY:

-include $(CGI_OBJ:.o=.d) $(WATCH_OBJ:.o=.d) $(UNIT_SRC:%.c=$(BUILD)/%.d) $(SCRIPT_OBJ:.o=.d)
