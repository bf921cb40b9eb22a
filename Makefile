# Everything a developer or the integration server does, from a bare machine with Python 3.11, make and git.
# Recipes are for POSIX shells; on Windows install with: py -3.11 -m pip install -c constraints.txt -e .[dev]

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
# Tests start some hundred Pythons, which needn't compile the program each time.
unexport PYTHONDONTWRITEBYTECODE
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CREATED := $(VENV)/.stamp-created
RUNTIME := $(VENV)/.stamp-runtime
DEV := $(VENV)/.stamp-dev

NPC_VENV := .venv-npc
NPC := $(NPC_VENV)/.stamp
ALLEN_VENV := .venv-allensdk
ALLEN := $(ALLEN_VENV)/.stamp
PEER_SESSION := .peer-session
PEER_NWB := .peer-nwb
PEER_KILLED := .peer-killed
PEER_CAMSTIM := .peer-camstim
PEER_IMPORTED := .peer-imported

# What windows need besides Python's libraries, for tests on a display that nobody looks at.
WINDOW_PACKAGES := xvfb libgl1 libglu1-mesa libgl1-mesa-dri
# The server of a laboratory with several rigs; tests start one of their own.
SERVER_PACKAGES := postgresql

# What a network that fails is made of: namespaces and cables, a packet filter.
NETWORK_PACKAGES := iproute2 nftables

DEMO_DIR := demo-sessions
DEMO := --mouse demo --stage OPHYS_1_images_A --rig simulated_imaging --simulated-mouse perfect --fast --seed 1

# How nicely each group of long tests runs, and its name: the last one reckons most of the time, and mustn't be in the
# way of those that run in real time.
LONG_GROUPS := '0 twin' '0 screens' '10 others'
# A group's tests one after the other; what they say is told when they are over, as a whole.
ONE_GROUP = 'told=$$(nice -n $$1 $(BIN)/pytest -m "long(group=\"$$2\")" --timeout 3000 --durations 20 2>&1) || code=$$?; echo "$$told"; exit $${code:-0}'

.PHONY: help venv demo lint test soak peers peers-test figures clean virtual-display postgresql network-tools

help: ## List these targets.
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
	    printf '%-8s %s\n' "$$name" "$$what"; done

venv: $(DEV) ## Make .venv with the program and all its checks.

demo: $(RUNTIME) ## Run a simulated session in seconds and say where its folder is.
	$(BIN)/rig run $(DEMO) --out $(DEMO_DIR)
	@echo "The session's folder: $$(ls -td $(DEMO_DIR)/*/ | head -n 1)"

lint: $(DEV) ## Check format, style, types and import contracts.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint virtual-display postgresql network-tools ## Run lint, then every test but the slow ones.
	$(BIN)/pytest -n 3 --dist worksteal -m "not slow and not long"  # two cores: some only wait

soak: $(DEV) virtual-display postgresql network-tools ## Run the slow tests, the long sessions and thousands of random ones.
	$(BIN)/pytest -m slow --timeout 3000  # one after the other: some are about milliseconds
	printf '%s\n' $(LONG_GROUPS) | xargs -P 3 -L 1 sh -c $(ONE_GROUP) soak  # side by side: they mostly wait
	RIG_HYPOTHESIS=soak $(BIN)/pytest -n 2 tests/properties --timeout 3000

peers: $(NPC) $(ALLEN) ## Make environments of their own for other people's readers of our files.

peers-test: $(DEV) $(NPC) $(ALLEN) ## Have other people's readers read our files.
	rm -rf $(PEER_SESSION)
	$(BIN)/python -m tests.peers.sessions $(PEER_SESSION)
	$(NPC_VENV)/bin/python tests/peers/npc_sync_reads.py $(PEER_SESSION)
	$(ALLEN_VENV)/bin/python tests/peers/allensdk_reads_sync.py $(PEER_SESSION)
	rm -rf $(PEER_NWB)
	$(BIN)/python -m tests.peers.nwb_sessions $(PEER_NWB)
	$(BIN)/python -m tests.peers.inspector_accepts $(PEER_NWB)
	$(ALLEN_VENV)/bin/python tests/peers/allensdk_opens.py $(PEER_NWB)
	rm -rf $(PEER_CAMSTIM)
	$(BIN)/python -m tests.peers.camstim_sessions $(PEER_CAMSTIM)
	$(ALLEN_VENV)/bin/python tests/peers/allensdk_classifies.py $(PEER_CAMSTIM)
	rm -rf $(PEER_IMPORTED)
	$(BIN)/python -m tests.peers.imported_session $(PEER_IMPORTED)
	$(BIN)/python -m tests.peers.inspector_accepts $(PEER_IMPORTED)
	$(ALLEN_VENV)/bin/python tests/peers/allensdk_reads_both.py $(PEER_IMPORTED)
	rm -rf $(PEER_KILLED)
	$(BIN)/python -m tests.peers.killed_sessions $(PEER_KILLED)
	$(BIN)/python -m tests.peers.inspector_accepts $(PEER_KILLED)
	$(ALLEN_VENV)/bin/python tests/peers/allensdk_opens.py $(PEER_KILLED)

figures: $(DEV) ## Draw the README's figures and print its pages anew, from the configuration.
	$(BIN)/rig draw OPHYS_1_images_A --out stages/trials.svg
	XDG_DATA_HOME=build/nobodys $(BIN)/rig preview OPHYS_1_images_A --out build/preview
	cp build/preview/contact_sheet.png stimuli/contact_sheet.png
	$(BIN)/python -m tests.rig.pages

clean: ## Remove .venv, caches, builds and the demo's sessions.
	rm -rf $(VENV) $(NPC_VENV) $(ALLEN_VENV) $(PEER_SESSION) $(PEER_NWB) $(PEER_KILLED) $(PEER_CAMSTIM) $(PEER_IMPORTED) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf $(DEMO_DIR)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Xvfb and OpenGL's software renderer, for the tests that open windows.
virtual-display:
	@PATH="$$PATH:/usr/sbin:/sbin"; if command -v Xvfb >/dev/null && ldconfig -p | grep -q 'libGL\.so\.1' && ldconfig -p | grep -q 'libGLU\.so\.1'; \
	then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	    echo "The tests open windows on a virtual display: install Xvfb, libGL, libGLU and Mesa's software renderer" \
	        "(Debian: $(WINDOW_PACKAGES)), then run make again." >&2; exit 1; \
	fi; \
	sudo=; if [ "$$(id -u)" -ne 0 ]; then sudo=sudo; fi; \
	echo "Installing the Debian packages $(WINDOW_PACKAGES): the tests open windows on a virtual display."; \
	$$sudo apt-get update -qq; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(WINDOW_PACKAGES)

# PostgreSQL, for the tests of the laboratory's database. Debian starts a server of its own on installing; tests leave
# it alone.
postgresql:
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	    echo "The tests start a PostgreSQL of their own: install it (Debian: $(SERVER_PACKAGES))," \
	        "then run make again." >&2; exit 1; \
	fi; \
	sudo=; if [ "$$(id -u)" -ne 0 ]; then sudo=sudo; fi; \
	echo "Installing the Debian package $(SERVER_PACKAGES): the tests start a server of their own."; \
	$$sudo apt-get update -qq; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(SERVER_PACKAGES)

# Network namespaces and a packet filter, for the tests of the microscope's link. Nobody needs to be root to run these.
network-tools:
	@PATH="$$PATH:/usr/sbin:/sbin"; if [ "$$(uname -s)" != Linux ] || { command -v ip && command -v nft; } >/dev/null; \
	then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	    echo "The tests pull virtual network cables: install ip and nft (Debian: $(NETWORK_PACKAGES)), then run make" \
	        "again." >&2; exit 1; \
	fi; \
	sudo=; if [ "$$(id -u)" -ne 0 ]; then sudo=sudo; fi; \
	echo "Installing the Debian packages $(NETWORK_PACKAGES): the tests pull virtual network cables."; \
	$$sudo apt-get update -qq; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(NETWORK_PACKAGES)

# The first Python that fits makes the environment. Debian keeps the means to do so in a package of its own.
$(CREATED):
	@python=; for candidate in python3.11 python3 python3.12; do \
	    if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; \
	    then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "No Python 3.11 or 3.12 here: install one (Debian: apt-get install python3.11 python3.11-venv)." >&2; \
	    exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	    package=python$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv; \
	    if ! command -v apt-get >/dev/null; then \
	        echo "$$python lacks venv or ensurepip: install them, then run make again." >&2; exit 1; \
	    fi; \
	    sudo=; if [ "$$(id -u)" -ne 0 ]; then sudo=sudo; fi; \
	    echo "Installing the Debian package $$package: $$python lacks ensurepip."; \
	    $$sudo apt-get update -qq; \
	    $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$package; \
	fi; \
	echo "Making $(VENV) with $$($$python --version)."; \
	rm -rf $(VENV); \
	$$python -m venv $(VENV)
	@echo "Installing into $(VENV): pip, the version in constraints.txt."
	@$(PIP) install --quiet --upgrade -c constraints.txt pip
	@touch $@

# Readers whose pins exclude ours and each other's have an environment each.
$(NPC): Makefile | $(CREATED)
	@echo "Installing into $(NPC_VENV): npc_sync and what it stands on. This takes a minute or two."
	@rm -rf $(NPC_VENV)
	@$(BIN)/python -m venv $(NPC_VENV)
	@$(NPC_VENV)/bin/python -m pip --disable-pip-version-check install --quiet npc_sync==0.2.6
	@touch $@

# AllenSDK 2.16.2 needs Python 3.11 exactly, an hdmf below 5.1 and a numpy below 2, and says none of it.
$(ALLEN): Makefile | $(CREATED)
	@if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
	    echo "AllenSDK runs on Python 3.11 only, $(VENV) has another: make clean, then make with python3.11." >&2; \
	    exit 1; \
	fi
	@echo "Installing into $(ALLEN_VENV): AllenSDK and what it stands on. This takes some minutes and 1.1 GB."
	@rm -rf $(ALLEN_VENV)
	@$(BIN)/python -m venv $(ALLEN_VENV)
	@$(ALLEN_VENV)/bin/python -m pip --disable-pip-version-check install --quiet \
	    "allensdk==2.16.2" "pynwb==2.8.3" "hdmf==4.3.1"
	@touch $@

$(RUNTIME): pyproject.toml constraints.txt | $(CREATED)
	@echo "Installing into $(VENV): open-vision-rig and the libraries it runs on, versions in constraints.txt."
	@$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(CREATED)
	@echo "Installing into $(VENV): open-vision-rig, its libraries and its checks (ruff, mypy, import-linter, pytest,"
	@echo "hypothesis, psychopy and others), versions in constraints.txt: 2 GB. The first time takes two or three minutes."
	@$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $(RUNTIME) $@
