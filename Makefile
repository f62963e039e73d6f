# Mold: `make run` starts a whole cloud on this machine, `make test` proves it. Needs Debian 12 or newer.
#
#   make setup     Debian's packages (as root) and the Python environment in .venv; done again only when they change
#   make run       a cloud in one go; ARGS="--port 8080" passes options on
#   make test      everything: lint, test-fast, test-postgres, test-host, test-browser, test-slow
#   make gui       the pages for browsers, into mold/gui/static; part of setup
#   make bench     measures; ARGS= passes options on
#   make lock      rewrites requirements.lock from pyproject.toml (needs uv)
#   make clean     removes what these targets made
#
# ROLES says what this machine is for (see mold/cli/prepare.py): `make setup ROLES=manager` does without libvirt.

ROLES ?= host test
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# One stamp per set of roles: another set needs another environment.
READY := $(VENV)/.ready-$(subst $() ,-,$(strip $(ROLES)))
# Ansible's collection, for the tests that run it unchanged.
COLLECTION := $(VENV)/ansible/ansible_collections/ngine_io/cloudstack/MANIFEST.json
PAGES := mold/gui/static/app/THIRD_PARTY.txt
PYTEST := $(BIN)/pytest
# Tests wait more than they compute: three processes on two cores, a file in one of them.
AT_ONCE ?= -n 3 --dist loadfile
# Guests and browsers compute more.
IN_PAIRS ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup system gui run test lint test-fast test-postgres test-host test-browser test-slow bench lock clean

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

setup: system $(READY) gui $(if $(filter test,$(ROLES)),$(COLLECTION))

# Looks only (0.1 s) when nothing is missing. `python3` is all that a machine must have for it.
system:
	@command -v python3 >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -q -y python3; }
	@python3 mold/cli/prepare.py $(ROLES)

# pip checks every hash in the lock; libvirt-python (for hosts) and bonsai (for ldap) are compiled. uv does the same, faster.
# Of `ansible` only one collection is wanted, see tools/collection.py.
$(READY): requirements.lock pyproject.toml | system
	@rm -f $(VENV)/.ready-*
	@for python in python3 python3.13 python3.12 python3.11 /usr/bin/python3 none; do \
		[ $$python != none ] || { echo "Mold needs Python 3.11 or newer with its venv module; none is on the PATH." >&2; exit 1; }; \
		$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	[ -x $(BIN)/python ] || { echo "Making $(VENV) with $$($$python --version)"; $$python -m venv $(VENV); }
	@awk '/^[A-Za-z0-9]/ { skip = (/^libvirt-python==/ && !host) || (/^bonsai==/ && !ldap) || /^ansible==/ || (/^ansible-core==/ && !test) } !skip' \
		host=$(if $(filter host,$(ROLES)),1,0) ldap=$(if $(filter ldap test,$(ROLES)),1,0) test=$(if $(filter test,$(ROLES)),1,0) \
		requirements.lock > $(VENV)/requirements.txt
	@if command -v uv >/dev/null; then \
		set -e; uv pip install -q --python $(BIN)/python --require-hashes -r $(VENV)/requirements.txt; \
		uv pip install -q --python $(BIN)/python --no-deps -e .; \
	else \
		set -e; $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(VENV)/requirements.txt; \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $@

$(COLLECTION): tools/collection.py | $(READY)
	$(BIN)/python tools/collection.py requirements.lock $(VENV)/ansible
	@touch $@

gui: $(PAGES)

# npm's own, or the Python environment's where the machine has none; see tools/gui.py.
$(PAGES): tools/gui.py $(wildcard gui/*.json gui/*.mjs gui/words/*) $(shell find gui/app gui/console -type f) | $(READY)
	$(BIN)/python tools/gui.py

run: setup
	$(BIN)/mold quickstart $(ARGS)

test: lint test-fast test-postgres test-host test-browser test-slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	@if grep -q '^\[tool.importlinter' pyproject.toml || [ -e .importlinter ]; then $(BIN)/lint-imports; fi

# What fails is run once more by itself, and said to be: on two cores a browser, a guest or a lease is late at times.
# pytest ends with 5 when no test carries the mark; that is said here and is no fault.
tried = $(PYTEST) $(1) || { code=$$?; \
	if [ $$code -eq 5 ]; then echo "No test is marked so."; \
	elif [ $$code -eq 1 ]; then echo "What failed is run once more, by itself:"; $(PYTEST) --last-failed $(1); \
	else exit $$code; fi; }

test-fast: setup
	@$(call tried,$(AT_ONCE) -m "not host and not postgres and not browser and not slow")

test-postgres: setup
	@$(call tried,$(AT_ONCE) --database postgres -m "postgres and not host and not browser and not slow")

test-host: setup
	@$(call tried,$(IN_PAIRS) -m host)

test-browser: setup
	@$(call tried,$(IN_PAIRS) -m "browser and not host")

test-slow: setup
	@$(call tried,-n 3 --dist worksteal --database sqlite --database postgres -m "slow and not host and not browser and not alone")
	@$(call tried,--database sqlite --database postgres -m "alone and not host and not browser")

bench: setup
	$(BIN)/python tools/bench.py $(ARGS)

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv on the PATH (pip install uv)." >&2; exit 1; }
	uv export -q --upgrade --extra host --extra ldap --extra saml --format requirements-txt --no-emit-project --no-header --no-annotate -o requirements.lock
	@! grep -n '://' requirements.lock || { echo "requirements.lock must not name a host." >&2; exit 1; }

clean:
	rm -rf gui/node_modules mold/gui/static $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	find mold tests -name __pycache__ -type d -prune -exec rm -rf {} +
