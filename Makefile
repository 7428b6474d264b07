PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart test install lint bench clean

quickstart: $(VENV)/.quickstart
	KERAS_BACKEND=$${KERAS_BACKEND:-tensorflow} $(BIN)/python examples/quickstart.py

test: $(VENV)/.dev
	$(BIN)/python tests/run.py

install: $(VENV)/.dev

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The quickstart needs one backend; the tests need all three. Each set is installed once.
$(VENV)/.quickstart: pyproject.toml | $(BIN)/python
	test -e $(VENV)/.dev || $(BIN)/python -m pip install --quiet --editable ".[tensorflow,deploy,data,cli]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
