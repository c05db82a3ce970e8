# Two commands on a fresh machine that has Python 3.11 or newer with pip:
#   make demo [AUDIO=dir]   sets up, extracts units of real speech with the embedded model, writes demo-out/report.html
#   make test               sets up and passes the tests
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
AUDIO ?=
DEMO ?= demo-out

.PHONY: demo test lint types check clean

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "speechssl needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

$(VENV)/demo.stamp: $(BIN)/uv pyproject.toml constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev.stamp: $(BIN)/uv pyproject.toml constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,fairseq2]'
	touch $@ $(VENV)/demo.stamp

demo: $(VENV)/demo.stamp
	$(BIN)/speechssl demo --output $(DEMO) $(if $(AUDIO),--audio '$(AUDIO)') || [ $$? -eq 1 ] # 1: some files were skipped

test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files '*.sh' .ci/run | xargs -r $(BIN)/shellcheck -x

types: $(VENV)/dev.stamp
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
