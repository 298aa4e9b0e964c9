# Every verb does all that it needs on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
SEEDS ?= 5
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test check bench bench-full bench-peers docs

demo: .venv/installed
	$(BIN)/steepest train digits
	@$(BIN)/python docs/demo.py

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

check: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python bench/table.py

bench-full: bench
	$(BIN)/python bench/full.py --seeds $(SEEDS)

bench-peers: .peers/lightning_keras/built .peers/fastai/built

.peers/lightning_keras/built: bench/peers/lightning_keras.txt constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --requirement $<
	@touch $@

.peers/fastai/built: bench/peers/fastai.txt
	@echo "fastai's environment takes some 6 GB on x86_64" >&2
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check --requirement $<
	@touch $@

docs: .venv/installed
	$(BIN)/python docs/picture.py
	$(BIN)/python docs/results.py
	$(BIN)/python docs/measured.py

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "steepest needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	@echo "Setting up .venv; PyTorch is a large download: a minute or more" >&2
	@$(PYTHON) -m venv .venv
	@$(INSTALL) .
	@touch $@

.venv/dev: .venv/installed
	@echo "Adding what the tests and checks need" >&2
	@$(INSTALL) '.[dev]'
	@touch $@
