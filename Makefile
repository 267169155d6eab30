# The two commands of the README: `make demo` and `make test`. Both set up what they need.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test lint bench wheel docs lock licences sbom clean

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

# For people who use the package: dist/*.whl and the source.
wheel: $(VENV)/.installed
	$(BIN)/python -m hatchling build --directory dist

# The site, in build/site; no page of it asks a network for anything.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/python tools/site_pages.py
	$(BIN)/zensical build --strict --clean
	$(BIN)/python tools/site_pages.py --check build/site

# Lock the newest versions of all that unmask and its extras need, and of what builds the wheel.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --upgrade
lock: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	$(COMPILE) pyproject.toml --extra all --output-file requirements.lock
	echo hatchling | $(COMPILE) - --output-file requirements-build.lock

# An environment with what is locked, and nothing else.
build/locked/.installed: requirements.lock
	rm -rf build/locked
	$(PYTHON) -m venv build/locked
	build/locked/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

licences: $(VENV)/.installed build/locked/.installed
	$(BIN)/python tools/licences.py build/locked

sbom: $(VENV)/.installed build/locked/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/unmask.cdx.json build/locked/bin/python

# The yardstick needs facenet-pytorch, whose pins are old: it goes beside, not into, the environment.
$(VENV)/yardstick: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ facenet-pytorch==2.6.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pillow requests

bench: $(VENV)/yardstick
	PYTHONPATH=$(VENV)/yardstick $(BIN)/python benchmarks/figures.py $(ARGS)

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache
