# make install, make uninstall.

BINDIR  := $(PREFIX)/bin
DATADIR := $(PREFIX)/share/health-api
DOCDIR  := $(PREFIX)/share/doc/health-api
UNITDIR := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
MANDIR  := $(PREFIX)/share/man
# What stays the administrator's once it is there.
CONFDIR := /etc/health-api
WATCH_CONFDIR := /etc/health-watch
MAN5  := $(wildcard man/*.5)
MAN8  := $(wildcard man/*.8)
UNITS := health-api.socket health-api.service health-watch.service health-watch.timer

.PHONY: install
install: all ## install under DESTDIR and PREFIX, units included
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(UNITDIR) $(CONFDIR) $(WATCH_CONFDIR)) \
	  $(addprefix $(DESTDIR)$(DATADIR)/,sql nginx systemd watchdog)
	$(call install_unless_changed,sql/checks.sql,$(CONFDIR),644)
	$(call install_unless_changed,systemd/environment,$(CONFDIR),600)
	$(call install_unless_changed,watchdog/watch.conf,$(WATCH_CONFDIR),644)
	install -m 755 $(BUILD)/health-api $(BUILD)/health-watch $(DESTDIR)$(BINDIR)
	install -m 644 sql/*.sql $(DESTDIR)$(DATADIR)/sql
	install -m 644 nginx/health-api* $(DESTDIR)$(DATADIR)/nginx
	install -m 644 systemd/environment systemd/health-api.service.d/* $(DESTDIR)$(DATADIR)/systemd
	install -m 644 watchdog/watch.conf watchdog/watch.conf.example $(DESTDIR)$(DATADIR)/watchdog
	for unit in $(UNITS); do sed 's|@BINDIR@|$(BINDIR)|; s|@DATADIR@|$(DATADIR)|; s|@DOCDIR@|$(DOCDIR)|' systemd/$$unit \
	  >$(DESTDIR)$(UNITDIR)/$$unit && chmod 644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; done
	install -D -m 644 systemd/health-api.sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/health-api.conf
	install -d $(addprefix $(DESTDIR),$(DOCDIR)/docs/schema $(MANDIR)/man5 $(MANDIR)/man8)
	install -m 644 README.md ARCHITECTURE.md CHANGELOG.md LICENSE $(DESTDIR)$(DOCDIR)
	install -m 644 docs/*.md docs/bench.svg $(DESTDIR)$(DOCDIR)/docs
	install -m 644 docs/schema/*.json $(DESTDIR)$(DOCDIR)/docs/schema
	install -m 644 $(MAN5) $(DESTDIR)$(MANDIR)/man5
	install -m 644 $(MAN8) $(DESTDIR)$(MANDIR)/man8
	$(ON_LIVE_SYSTEMD) systemd-sysusers $(SYSUSERSDIR)/health-api.conf && systemctl daemon-reload; fi

# The shipped file, its directory, its mode. What was installed before and is as it was shipped then makes room for the
# newer one; DATADIR has the copy of then.
define install_unless_changed
file=$(DESTDIR)$(2)/$(notdir $(1)); if [ ! -e $$file ] || cmp -s $(DESTDIR)$(DATADIR)/$(1) $$file; \
then install -m $(3) $(1) $$file; else echo "kept $$file: it is not the one that was shipped"; fi
endef

# Into a running system, not into a package's tree.
ON_LIVE_SYSTEMD := if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then

.PHONY: uninstall
uninstall: ## stop and remove what install has put there; configuration that you changed stays
	$(ON_LIVE_SYSTEMD) systemctl disable --now $(UNITS) || true; fi
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,health-api health-watch) $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS))
	rm -f $(DESTDIR)$(SYSUSERSDIR)/health-api.conf
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/,$(MAN5:man/%=man5/%) $(MAN8:man/%=man8/%))
	$(call remove_unchanged,sql/checks.sql,$(CONFDIR))
	$(call remove_unchanged,systemd/environment,$(CONFDIR))
	$(call remove_unchanged,watchdog/watch.conf,$(WATCH_CONFDIR))
	rm -rf $(addprefix $(DESTDIR),$(DATADIR) $(DOCDIR) /var/lib/health-watch)
	rm -f $(DESTDIR)/var/lib/systemd/timers/stamp-health-watch.timer
	$(ON_LIVE_SYSTEMD) systemctl daemon-reload; fi

# The same: the sources may be newer than what was installed.
define remove_unchanged
file=$(DESTDIR)$(2)/$(notdir $(1)); if cmp -s $(DESTDIR)$(DATADIR)/$(1) $$file; then rm $$file; \
elif [ -e $$file ]; then echo "kept $$file: it is not the one that was shipped"; fi; \
if [ -d $(DESTDIR)$(2) ]; then rmdir --ignore-fail-on-non-empty $(DESTDIR)$(2); fi
endef
