# make install, make uninstall.

BINDIR  := $(PREFIX)/bin
DATADIR := $(PREFIX)/share/health-api
DOCDIR  := $(PREFIX)/share/doc/health-api
UNITDIR := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
MANDIR  := $(PREFIX)/share/man
# Files in these directories belong to the administrator once they are installed.
CONFDIR := /etc/health-api
WATCH_CONFDIR := /etc/health-watch
MAN5  := $(wildcard man/*.5)
MAN8  := $(wildcard man/*.8)
# In this order `make uninstall` stops them: a socket or timer that still runs would start its service again.
UNITS := health-api.socket health-api.service health-watch.timer health-watch.service

# Recipes take these from the environment, in quotes: DESTDIR may have spaces.
export DESTDIR PREFIX
dest = $(patsubst %,"$$DESTDIR%",$(1))

# PREFIX becomes part of the units and of make's lists, so it must not have special characters.
.PHONY: check-prefix
check-prefix:
	@case $$PREFIX in *[!A-Za-z0-9/._+-]* | [!/]*) \
	  echo "PREFIX='$$PREFIX': expected an absolute path of letters, digits and / . _ + -" >&2; exit 1; esac

.PHONY: install
install: check-prefix ## install below DESTDIR and PREFIX, including the units
	@$(MAKE) --no-print-directory all; built=$$?; $(give_back); exit $$built
	umask 022 && mkdir -p $(call dest,$(BINDIR) $(UNITDIR) $(SYSUSERSDIR) $(CONFDIR) $(WATCH_CONFDIR) \
	  $(DOCDIR)/docs/schema $(MANDIR)/man5 $(MANDIR)/man8 $(addprefix $(DATADIR)/,sql/library nginx systemd watchdog prometheus))
	install -m 644 systemd/health-api.sysusers.conf $(call dest,$(SYSUSERSDIR)/health-api.conf)
	$(ON_LIVE_SYSTEMD) systemd-sysusers $(SYSUSERSDIR)/health-api.conf; fi
	$(call install_unless_changed,sql/checks.sql,$(CONFDIR),644)
	$(call install_unless_changed,systemd/environment,$(CONFDIR),600)
	$(call install_unless_changed,systemd/pgpass,$(CONFDIR),600)
	$(ON_LIVE_SYSTEMD) if cmp -s systemd/pgpass $(CONFDIR)/pgpass; then chown health-api: $(CONFDIR)/pgpass; fi; fi
	$(call install_unless_changed,watchdog/watch.conf,$(WATCH_CONFDIR),644)
	install -m 755 $(BUILD)/health-api $(BUILD)/health-watch $(call dest,$(BINDIR))
	install -m 644 sql/*.sql $(call dest,$(DATADIR)/sql)
	install -m 644 sql/library/*.sql $(call dest,$(DATADIR)/sql/library)
	install -m 644 nginx/health-api* $(call dest,$(DATADIR)/nginx)
	install -m 644 systemd/environment systemd/pgpass systemd/health-api.service.d/* $(call dest,$(DATADIR)/systemd)
	install -m 644 watchdog/watch.conf watchdog/watch.conf.example $(call dest,$(DATADIR)/watchdog)
	install -m 644 deploy/prometheus/* $(call dest,$(DATADIR)/prometheus)
	for unit in $(UNITS); do sed 's|@BINDIR@|$(BINDIR)|; s|@DATADIR@|$(DATADIR)|; s|@DOCDIR@|$(DOCDIR)|' systemd/$$unit \
	  >$(call dest,$(UNITDIR)/$$unit) && chmod 644 $(call dest,$(UNITDIR)/$$unit) || exit 1; done
	install -m 644 README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md LICENSE $(call dest,$(DOCDIR))
	install -m 644 docs/*.md docs/bench.svg $(call dest,$(DOCDIR)/docs)
	install -m 644 docs/schema/*.json $(call dest,$(DOCDIR)/docs/schema)
	install -m 644 $(MAN5) $(call dest,$(MANDIR)/man5)
	install -m 644 $(MAN8) $(call dest,$(MANDIR)/man8)
	$(ON_LIVE_SYSTEMD) systemctl daemon-reload; fi

# Gives what root has built in somebody's tree to the owner of the tree. Otherwise the owner's next make could not
# replace it.
define give_back
if [ "$$(id -u)" -eq 0 ] && [ -d $(BUILD) ]; then \
find $(BUILD) ! -user "$$(stat -c %u .)" -exec chown -h --reference=. {} +; fi
endef

# Arguments: the shipped file, its directory, its mode. If the administrator has not changed the installed file, it gets
# the new text and keeps its owner and mode. DATADIR has the copy from the previous installation.
define install_unless_changed
file="$$DESTDIR$(2)/$(notdir $(1))"; if [ ! -e "$$file" ]; then install -m $(3) $(1) "$$file"; \
elif cmp -s $(call dest,$(DATADIR)/$(1)) "$$file"; then cp $(1) "$$file"; \
else echo "kept $$file: it is not the one that was shipped"; fi
endef

# Runs the rest of the line only if make installs into a running system, not into the tree of a package.
ON_LIVE_SYSTEMD := if [ -z "$$DESTDIR" ] && [ -d /run/systemd/system ]; then

# uninstall removes these if they are empty, deepest first. Other programs share PREFIX, and bin, lib, share and
# share/man below it.
DIRECTORIES = $(CONFDIR) $(WATCH_CONFDIR) $(UNITDIR) $(dir $(UNITDIR)) $(SYSUSERSDIR) $(MANDIR)/man5 $(MANDIR)/man8 \
  $(dir $(DOCDIR))

# An older own-socket.conf asked for a masked socket. Failed runs of health-watch must not stay listed as failed units.
.PHONY: uninstall
uninstall: check-prefix ## stop the services and remove what install has installed; configuration that you changed stays
	$(ON_LIVE_SYSTEMD) systemctl unmask health-api.socket; systemctl disable --now $(UNITS) || true; \
	  systemctl reset-failed $(UNITS) 2>/dev/null || true; fi
	rm -f $(call dest,$(addprefix $(BINDIR)/,health-api health-watch) $(addprefix $(UNITDIR)/,$(UNITS)))
	rm -f $(call dest,$(SYSUSERSDIR)/health-api.conf)
	rm -f $(call dest,$(addprefix $(MANDIR)/,$(MAN5:man/%=man5/%) $(MAN8:man/%=man8/%)))
	$(call remove_unchanged,sql/checks.sql,$(CONFDIR))
	$(call remove_unchanged,systemd/environment,$(CONFDIR))
	$(call remove_unchanged,systemd/pgpass,$(CONFDIR))
	$(call remove_unchanged,watchdog/watch.conf,$(WATCH_CONFDIR))
	rm -rf $(call dest,$(DATADIR) $(DOCDIR) /var/lib/health-watch /run/health-api)
	rm -f $(call dest,/var/lib/systemd/timers/stamp-health-watch.timer)
	rmdir $(call dest,$(DIRECTORIES)) 2>/dev/null || true
	$(ON_LIVE_SYSTEMD) systemctl daemon-reload; fi

# This compares with DATADIR, too, because the sources may be newer than what was installed.
define remove_unchanged
file="$$DESTDIR$(2)/$(notdir $(1))"; if cmp -s $(call dest,$(DATADIR)/$(1)) "$$file"; then rm "$$file"; \
elif [ -e "$$file" ]; then echo "kept $$file: it is not the one that was shipped"; fi
endef
