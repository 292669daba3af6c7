# One command each, on a machine with Python 3.11+ and make: they set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements-dev.lock
CONSTRAINTS := $(if $(wildcard $(LOCK)),-c $(LOCK),)

.PHONY: demo test check docs lock clean

demo: $(VENV)/.installed
	$(BIN)/python -m facefusion.apps.demo out

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

docs: $(VENV)/.dev
	$(BIN)/pip install -q -e '.[docs]' $(CONSTRAINTS)
	$(BIN)/mkdocs build --strict

lock: $(VENV)/.dev
	$(BIN)/pip freeze --exclude-editable | grep -v '^facefusion' > $(LOCK)

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e . $(CONSTRAINTS)
	touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.installed
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]' $(CONSTRAINTS)
	touch $@

clean:
	rm -rf $(VENV) out site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
