# make test     everything: format, types, import rules, and the tests on every database server
# make check    in under three minutes: format, types, import rules, unit tests, main tests on SQLite
# make demo     the guided tour, on SQLite
# make oldest   part of the tests, on SQLite, with SQLAlchemy 2.0; 'make test' does it too
# make lint     format, types and import rules only
# make servers  put the database servers of the tests on this machine, without starting any
# make clean    stop servers left running, remove what was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.installed-dev
PLAIN := $(VENV)/.installed
OLDEST := .venv-oldest
OPENSTACK := .venv-openstack
OPENSTACK_PACKAGES := keystone==30.0.0 glance==33.0.0 neutron==29.0.0 cinder==29.0.0 nova==34.0.0 \
    openstack-placement==16.0.0 ironic==39.0.0 octavia==19.0.0 manila==23.0.1
OPENSTACK_NEEDS := $(OPENSTACK_PACKAGES) --editable '.[postgresql,mysql]'
PYTEST_OPTIONS ?= -n 4 --dist worksteal
CHECKED := $(addprefix tests/functional/test_,gate.py contract.py expand.py migrate.py kinds.py status.py errors.py)

# 1: a virtual environment, 2: what is installed there: by uv in seconds, or, where uv cannot be installed, by pip.
# uv reads the machine's own certificates, as pip does: a proxy of a company may have one of its own.
# The tests write no bytecode: without that of the packages, each process of a test would compile what it imports.
define install
{ $(1)/bin/python -m pip install --quiet --disable-pip-version-check uv && \
	    UV_SYSTEM_CERTS=true $(1)/bin/python -m uv pip install --quiet --compile-bytecode --python $(1)/bin/python $(2); } || \
	    $(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2)
endef

.DEFAULT_GOAL := test
.PHONY: test check oldest demo lint servers clean

# The type checker uses one core; meanwhile another one can install packages and servers.
test:
	$(MAKE) --no-print-directory --jobs 2 lint servers $(OPENSTACK)/.installed $(OLDEST)/.installed
	$(MAKE) --no-print-directory oldest
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) tests

check: lint
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) --server sqlite tests/unit $(CHECKED)

oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(PYTEST_OPTIONS) --server sqlite tests/unit tests/functional/test_migrate.py \
	    tests/functional/test_kinds.py tests/functional/test_gate.py tests/functional/test_contract.py \
	    tests/functional/test_veto.py

$(OLDEST)/.installed: Makefile pyproject.toml setup.py $(DEV)
	$(PYTHON) -m venv $(OLDEST)
	$(call install,$(OLDEST),'SQLAlchemy<2.1' --editable '.[dev]')
	touch $@

# OpenStack's own packages, whose trees the functional tests drive.
$(OPENSTACK)/.installed: Makefile pyproject.toml setup.py $(DEV)
	$(PYTHON) -m venv $(OPENSTACK)
	$(call install,$(OPENSTACK),$(OPENSTACK_NEEDS))
	touch $@

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy tests/servers benchmarks
	$(BIN)/lint-imports

servers: $(DEV)
	$(BIN)/python -m tests.servers install

demo: $(PLAIN)
	$(BIN)/online-migrate demo

$(DEV): pyproject.toml setup.py | $(BIN)/python
	$(call install,$(VENV),--editable '.[dev]')
	touch $(PLAIN) $@

$(PLAIN): pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(BIN)/python:
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(INSTALL_VENV)
	$(PYTHON) -m venv $(VENV)

# Debian keeps the part of Python that fills a virtual environment in a package of its own.
INSTALL_VENV = { \
	apt='apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv'; \
	if [ "$$(id -u)" -eq 0 ]; then sh -c "$$apt"; \
	elif sudo -n true 2>/dev/null; then sudo -n sh -c "$$apt"; \
	else echo 'python3-venv is missing; as root: apt-get install python3-venv' >&2; exit 1; fi; }

clean:
	if [ -x $(BIN)/python ] && [ -d .servers ]; then $(BIN)/python -m tests.servers stop; fi
	rm -rf $(VENV) $(OLDEST) $(OPENSTACK) .servers build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
