# The front door. Needs Python 3.11-3.13, make and a package index; everything else is installed into .venv.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
NN = $(if $(filter 0 1 2 3 4 5 6 7 8 9,$(N)),0$(N),$(N))
# Each part runs in processes of its own: TensorFlow keeps the graphs of every model until its process ends.
TESTS := "tests/quantization tests/post_training" "tests/io tests/data tests/training" "tests/pruning tests/inspection tests/costs" \
	"tests/deploy/test_[a-k]*.py" "tests/deploy/test_[l-z]*.py" "tests/zoo tests/audit tests/report tests/search" "tests/experiment" "tests/cli" "tests/networks" \
	"tests/explore tests/book tests/labs tests/test_*.py"
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TF_CPP_MIN_LOG_LEVEL := 3

.DEFAULT_GOAL := help
.PHONY: help book chapter test test-networks pages lab sync baselines reference bench dist pdf lint lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

book: .venv/ready ## run the notebooks that changed, write _build/html
	@$(BIN)/python -m fewbits.book render

chapter: .venv/ready ## run one chapter, build its page and open it: make chapter N=1
	@test -n "$(N)" || { echo "error: which chapter? make chapter N=1"; exit 1; }
	@$(BIN)/python -m fewbits.book render --open $(NN)

test: .venv/ready ## run the tests (of pages, if a book and Chromium are there); CHAPTERS=no leaves out running chapters
	@failed=; for part in $(TESTS); do echo "== $$part"; \
		$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup -m "not slow$(if $(filter no,$(CHAPTERS)), and not chapters)" $$part || failed=yes; \
	done; test -z "$$failed"

test-networks: .venv/ready ## run the tests of large networks (keras.applications), which make test leaves out
	@$(BIN)/python -m pytest -m slow tests

pages: book ## build the book, then test its pages in Chromium
	@$(BIN)/python -m pytest --numprocesses 2 tests/book/test_pages.py --require-pages

lab: .venv/ready sync ## open the notebooks in JupyterLab, or one of them: make lab N=1
	@JUPYTER_CONFIG_PATH=$(CURDIR)/notebooks/.jupyter $(BIN)/jupyter lab $(or $(wildcard notebooks/$(NN)-*.ipynb),notebooks)

sync: .venv/ready ## write the paired .ipynb of each script in notebooks/
	@$(BIN)/python -m fewbits.book sync

baselines: .venv/ready ## store new baselines: make baselines REASON='why the results may change'
	@$(BIN)/python -m fewbits.book baselines --profile smoke --reason "$(REASON)"
	@$(BIN)/python -m fewbits.book baselines --profile quick --reason "$(REASON)"

reference: .venv/ready ## run what data/reference lacks: make reference DATA=folder [PROCESSES=2] [MINUTES=12]
	@test -d "$(DATA)" || { echo "error: name the folder that holds cifar10.npz and mnist.npz: make reference DATA=folder"; exit 1; }
	@$(BIN)/python data/reference "$(DATA)" $(if $(PROCESSES),--processes $(PROCESSES)) $(if $(MINUTES),--minutes $(MINUTES))

bench: .venv/ready ## time what must be fast, as ratios, beside the libraries in tests/bench/peers.in
	@$(BIN)/python tests/bench slider
	@$(BIN)/python tests/bench sweep
	@$(BIN)/python tests/bench device
	@$(BIN)/python tests/bench calibration
	@$(MAKE) --no-print-directory .venv-peers/ready || echo "warning: .venv-peers could not be made; going on without the other libraries"
	@if test -e .venv-peers/ready; then PYTHONPATH=lib .venv-peers/bin/python tests/bench network; else $(BIN)/python tests/bench network; fi

dist: book ## write dist/few-bits.zip (the book, opens from file://) and the wheel
	@$(BIN)/python -m fewbits.book pack dist/few-bits.zip
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

pdf: book ## write dist/few-bits.pdf, the whole book on paper (needs Chromium)
	@$(BIN)/python -m fewbits.book pdf dist/few-bits.pdf

lint: .venv/ready ## check style, docstrings and types
	@$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

lock: ## pin every dependency anew (needs uv)
	@uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-emit-index-url --quiet --output-file requirements.lock
	@uv pip compile pyproject.toml tests/bench/peers.in --extra tensorflow --universal --python-version 3.11 --fork-strategy fewest \
		--constraint requirements.lock --override tests/bench/peers.overrides \
		--generate-hashes --no-emit-index-url --quiet --output-file tests/bench/peers.lock

clean: ## remove all that was built
	@rm -rf _build dist .venv .venv-peers

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Few Bits needs Python 3.11, 3.12 or 3.13; install one, or name it with make PYTHON=..."; exit 1; }
	@echo "installing the environment into .venv (once, about two minutes)"
	@$(PYTHON) -m venv .venv || { echo "error: this Python cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv-peers/ready: tests/bench/peers.lock
	@echo "installing the libraries to compare with into .venv-peers (once, 1.8 GB; only make bench needs them, and it can do without)"
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --no-deps --require-hashes --requirement tests/bench/peers.lock
	@# hgq2 brings a package named qkeras too: make room, and put the real one there
	@rm -rf .venv-peers/lib/python3.*/site-packages/qkeras
	@awk '/^[a-z]/ { mine = /^qkeras-v3==/ } mine' tests/bench/peers.lock > .venv-peers/qkeras.lock
	@.venv-peers/bin/python -m pip install --quiet --no-deps --force-reinstall --require-hashes --requirement .venv-peers/qkeras.lock
	@touch $@
