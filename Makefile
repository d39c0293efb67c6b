# quorate: `make demo` shows it, `make test` checks it, `make bench` measures it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ifndef PYTHON
PYTHON := $(shell for name in python3.11 python3.12 python3.13 python3; do \
    $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
    { command -v $$name; break; }; done)
endif
CXX ?= c++
NPM ?= npm
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
MADE := $(VENV)/made

# libutp's: fetched, or here from the start in a source distribution, so that `clean` leaves them.
SOURCES := third_party/libutp
# Folders are among them: one changes when a file in it goes.
NATIVE := utp_native/build.py utp_native/source.py utp_native/patch.py \
    $(shell find utp_native/src utp_native/patches)

.PHONY: help setup setup-dev setup-docs setup-bench demo test check quick \
    explore soak sanitize bench fuzz docs clean tools

help:
	@echo "make demo    a group of processes decides, shares a blob and removes a dead member"
	@echo "make test    lint, types, all tests, the benchmarks briefly (ARGS='-k name': some tests)"
	@echo "make check   lint and types only"
	@echo "make quick   lint, types and the tests of the cores and of the house, in less than a minute"
	@echo "make explore every interleaving of small groups, in at most 30 minutes (ARGS='CASE ...')"
	@echo "make soak    twenty runs of processes that are stopped, killed and cut off from each other"
	@echo "make sanitize the native tests under AddressSanitizer and UBSan"
	@echo "make bench   measure this project and its peers (ARGS=--quick for a smoke run;"
	@echo "             etcd is measured if it is installed: apt install etcd-server)"
	@echo "make fuzz    fuzz what reads from the network (ARGS='--seconds 600')"
	@echo "make docs    the documents and the reference as pages, in build/docs"
	@echo "make clean   remove what these targets made"

tools:
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    2>/dev/null || { echo "quorate needs Python 3.11 or newer: install it, or name it with" \
	    "PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module:" \
	    "install it (Debian: apt install python3-venv)" >&2; exit 1; }
	@command -v $(firstword $(CXX)) >/dev/null || { echo "quorate needs a C++ compiler to build libutp," \
	    "and there is no $(firstword $(CXX)): install it (Debian: apt install g++), or name" \
	    "another with CXX=" >&2; exit 1; }
	@test -n "$$UTP_SOURCE_DIR" || test -d $(SOURCES) || command -v $(NPM) >/dev/null || { \
	    echo "quorate needs npm to fetch libutp's sources: install it (Debian: apt install npm)," \
	    "or name a directory with them in UTP_SOURCE_DIR" >&2; exit 1; }

# Stamps in $(MADE) say what has been installed and from what; delete one to do its step again.

$(MADE)/venv:
	@$(MAKE) --no-print-directory tools
	"$(PYTHON)" -m venv $(VENV)
	@mkdir -p $(MADE) && touch $@

$(MADE)/runtime: requirements.lock $(MADE)/venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

$(MADE)/project: pyproject.toml setup.py $(MADE)/runtime
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(MADE)/native: $(NATIVE) $(MADE)/project
	$(RUN) -m utp_native.build
	@touch $@

$(MADE)/dev: requirements-dev.lock $(MADE)/native
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

$(MADE)/docs: requirements-docs.lock $(MADE)/native
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-docs.lock
	@touch $@

$(MADE)/bench: requirements-bench.lock $(MADE)/native
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-bench.lock
	@touch $@

setup: $(MADE)/native

setup-dev: $(MADE)/dev

setup-docs: $(MADE)/docs

setup-bench: $(MADE)/bench

demo: setup
	$(VENV)/bin/quorate demo $(ARGS)

check: setup-dev
	$(RUN) -m ruff check .
	$(RUN) -m mypy

# With ARGS what they ask for, and no more: nothing selected is an error, and nothing is measured.
test: check
	$(RUN) -m pytest $(ARGS)
ifeq ($(strip $(ARGS)),)
	@for name in ask handshake flood decide outage bulk; do \
	    echo "benchmarks.$$name --quick"; \
	    $(RUN) -m benchmarks.$$name --quick || exit 1; \
	done
endif

# The engine, the transport's core and the rules of the house, but for what plays long schedules,
# thousands of handshakes or whole blobs, or checks types once more: no sockets, no waiting.
QUICK := tests/house tests/test_architecture.py tests/test_docs.py tests/consensus/core \
    tests/transport/core $(addprefix --ignore=tests/, consensus/core/blob \
    $(addprefix consensus/core/, test_typed_messages.py engine/test_broken.py \
    engine/test_schedules.py engine/test_read_schedules.py) \
    $(addprefix transport/core/responder/, test_flood.py test_nothing_for_nothing.py))

quick:
	@began=$$(date +%s); $(MAKE) --no-print-directory check && $(RUN) -m pytest $(QUICK) $(ARGS) \
	    && echo "quick: $$(($$(date +%s) - began)) s"

# Two processes with up to 4 GiB each. What is not done in time is told as capped.
explore: setup
	$(VENV)/bin/quorate scenario explore --jobs 2 --minutes 28 $(ARGS)

soak: setup-dev
	$(RUN) -m tests.e2e.nemesis --runs 20 --seconds 30 --cuts alternate --durable alternate $(ARGS)

sanitize: setup-dev
	$(RUN) -m tests.utp_native.sanitized $(ARGS)

bench: setup-bench
	@for script in benchmarks/[a-z]*.py; do \
	    name=$$(basename $$script .py); \
	    grep -q '__main__' $$script || continue; \
	    $(RUN) -m benchmarks.$$name $(ARGS) || exit 1; \
	done

# Each script keeps its corpus beside it and writes what it finds to fuzz/found.
fuzz: setup-dev
	@for script in fuzz/[a-z]*_fuzz.py; do \
	    $(RUN) -m fuzz.$$(basename $$script .py) $(ARGS) || exit 1; \
	done

# Every warning is an error; `docs/conf.py` says what is checked.
docs: setup-docs
	$(RUN) -m sphinx --quiet --fail-on-warning -c docs -d build/doctrees . build/docs
	@echo "build/docs/docs/index.html"

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find utp_native scenarios -name '*.so' -delete
