# Two commands do everything: `make demo` and `make test`; `make demo-train` trains the networks of the demo itself.
PYTHON ?= python3
VENV ?= .venv
RUN ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo demo-train networks test test-all lint types unit docs clean
.DELETE_ON_ERROR:

# Phantoms in; predictions of the networks that come with the examples, scores and pictures out. RUN is the folder.
demo: $(VENV)/demo-installed
	$(BIN)/python examples/demo.py $(if $(RUN),--output "$(RUN)")

# The same with networks trained from nothing: about twelve minutes on two cores with instructions for bfloat16, far
# longer on two without.
demo-train: $(VENV)/demo-installed
	$(BIN)/python examples/demo_train.py $(if $(RUN),--output "$(RUN)")

# The networks that come with the examples, made again from nothing: hours on two cores (docs/appendix/networks.md);
# goes on if interrupted.
networks: $(VENV)/demo-installed
	$(BIN)/python examples/make_networks.py $(if $(RUN),--output "$(RUN)")

# Everything that has to hold before a change is committed.
test: lint types unit docs

# The same and what is slower: real CT, compilation, whole pipelines.
test-all: MARKS := -m ""
test-all: lint types unit docs

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev-installed
	$(BIN)/mypy

unit: $(VENV)/dev-installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(MARKS)

docs: $(VENV)/dev-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed, $(PYTHON) is older or not there; use make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo-installed: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) --editable ".[ltvs,view]"
	touch $@

$(VENV)/dev-installed: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) --editable ".[dev,docs]"
	touch $@
