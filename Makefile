# The two commands of the README: `make demo` and `make test`. Both set up what they need.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch torchvision
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python runs/demo.py --out demo

# All of them, or e.g. ARGS='-m "not slow"'. Work is stolen at the end only: until then neighbours,
# which share what they need, stay in one process.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The yardstick needs facenet-pytorch, whose pins are old: it goes beside, not into, the environment.
$(VENV)/yardstick: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ facenet-pytorch==2.6.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pillow requests

bench: $(VENV)/yardstick
	PYTHONPATH=$(VENV)/yardstick $(BIN)/python benchmarks/figures.py $(ARGS)

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache
