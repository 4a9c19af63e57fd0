# DiffFinance: `make report` runs the main job, `make test` passes the tests; both set up what they need.
VENV ?= .venv
PYTHON ?= python3
SYMBOL ?= SPX
PRESET ?= quick
TORCH_INDEX ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CODE := difffinance tests

ifneq ($(TORCH_INDEX),)
INDEX := --extra-index-url $(TORCH_INDEX)
endif
ifneq ($(shell command -v uv 2>/dev/null),)
CREATE := uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
INSTALL := $(if $(PIP_FIND_LINKS),UV_FIND_LINKS="$(PIP_FIND_LINKS)") uv pip install --python $(BIN)/python \
           $(if $(TORCH_INDEX),--index-strategy unsafe-best-match)
else
CREATE := $(PYTHON) -m venv $(VENV)
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check
endif

.DEFAULT_GOAL := help
.PHONY: help setup report test check notebooks bench

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into $(VENV), once (VENV=folder PYTHON=program TORCH_INDEX=url)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
	  { echo "Python 3.11 or 3.12 is needed; $(PYTHON) is older. Try: make PYTHON=python3.11 setup" >&2; exit 2; }
	@echo "Installing into $(VENV): two to five minutes, about 2.5 GB (more with a CUDA build of torch)."
	$(CREATE)
	$(INSTALL) --quiet $(INDEX) -c constraints.txt -e '.[lab,test]'
	@touch $@

report: $(STAMP) ## data to report: the main job (SYMBOL=SPX PRESET=quick)
	$(BIN)/difffinance report $(SYMBOL) --preset $(PRESET)

check: $(STAMP) ## format, lint, types, layers, fast tests
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not slow and not minutes" -n 2 --dist loadgroup

test: check ## what CI runs: check, then the slower tests and the notebooks
	$(BIN)/python -m pytest -m "slow and not minutes" -n 2 --dist loadgroup

notebooks: $(STAMP) ## run every notebook on the quick preset
	$(BIN)/python -m pytest tests/notebooks -m "slow or not slow"

bench: $(STAMP) ## print the benchmarks (ratios; no timed tests)
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done
