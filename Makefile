# The first Python of these that is new enough; `make PYTHON=…` takes another.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	$$name -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && echo $$name && break; done)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart saved-models test test-long test-all install lint bench clean

quickstart: $(VENV)/.quickstart
	KERAS_BACKEND=$${KERAS_BACKEND:-tensorflow} $(BIN)/python examples/quickstart.py

# The quickstart's files that are part of the repository.
saved-models: $(VENV)/.quickstart
	KERAS_BACKEND=tensorflow $(BIN)/python examples/quickstart.py --output saved_models/quickstart

test: $(VENV)/.dev
	$(BIN)/python tests/run.py

# Whole programs, jobs and networks, whose parts the tests above hold.
test-long: $(VENV)/.dev
	$(BIN)/python tests/run.py --long

# Every test on every backend, and every network as it is: hours.
test-all: $(VENV)/.dev
	$(BIN)/python tests/run.py --every-model

install: $(VENV)/.dev

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks all

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "kdl needs Python 3.11 or later; none was found. Name one: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The quickstart needs one backend; the tests need all three. Each set is installed once.
$(VENV)/.quickstart: pyproject.toml | $(BIN)/python
	@echo "Installing kdl and TensorFlow into $(VENV): some 2 GB, a few minutes without a sign."
	test -e $(VENV)/.dev || $(BIN)/python -m pip install --quiet --editable ".[tensorflow,deploy,data,cli]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing kdl and its three backends into $(VENV): some 5 GB, a few minutes without a sign."
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
