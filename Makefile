# `make demo` labels synthetic CTs, `make demo-train` trains networks for that first, and `make test` checks everything.
# RUN=FOLDER changes the folder that the demos and `make networks` write to.
PYTHON ?= python3
VENV ?= .venv
RUN ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo demo-train networks test test-all lint types unit docs clean
.DELETE_ON_ERROR:

# Label four phantoms with the networks that come with the examples; write scores, pictures and pages.
demo: $(VENV)/demo-installed
	$(BIN)/python examples/demo.py $(if $(RUN),--output "$(RUN)")

# The same with networks that are trained from scratch first: about twelve minutes on two cores that have instructions
# for bfloat16, and far longer on two without.
demo-train: $(VENV)/demo-installed
	$(BIN)/python examples/demo_train.py $(if $(RUN),--output "$(RUN)")

# Make the networks that come with the examples from scratch: hours on two cores (docs/appendix/networks.md). To
# continue after an interruption, give the same command again.
networks: $(VENV)/demo-installed
	$(BIN)/python examples/make_networks.py $(if $(RUN),--output "$(RUN)")

# Run everything that has to pass before a commit.
test: lint types unit docs

# Run the same and the slow tests: real CTs, compilation, whole pipelines.
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
