# One command each, on a machine with Python 3.11+ and make: they set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements-dev.lock
INSTALL := $(BIN)/pip install -q --disable-pip-version-check
# Locked versions first; a Python they have no wheels for gets the newest that fit.
CONSTRAINTS := $(if $(wildcard $(LOCK)),-c $(LOCK),)

.PHONY: demo test check docs lock release clean image

demo: $(VENV)/.installed
	$(BIN)/python -m facefusion.apps.demo out

test: $(VENV)/.dev
	bash tests/install_servers.sh
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# Builds the image and runs it; as root on Debian with buildah, podman, runc and mmdebstrap. Not part of CI: it takes minutes.
image: $(VENV)/.dev
	PYTHON=$(abspath $(BIN))/python bash deploy/image/build.sh out/image $(IMAGE_WITH)
	IMAGE_FOLDER=$(abspath out/image) $(BIN)/python -m pytest -q -s tests/e2e/test_image.py

docs: $(VENV)/.dev
	$(INSTALL) -e '.[docs]'
	$(BIN)/mkdocs build --strict

# A release without any service: KEY=path/of/an/ed25519/key make release (docs/releases.md).
release: $(VENV)/.dev
	$(INSTALL) -e '.[server,worker,report,storage,metrics,models]' $(CONSTRAINTS) || $(INSTALL) -e '.[server,worker,report,storage,metrics,models]'
	$(BIN)/python deploy/release/make.py $(or $(OUT),dist/release) $(if $(KEY),--key $(KEY),)

lock: $(VENV)/.dev
	$(BIN)/pip freeze --exclude-editable | grep -v '^facefusion' > $(LOCK)

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e . $(CONSTRAINTS) || $(INSTALL) -e .
	touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.installed
	$(INSTALL) -e '.[dev]' $(CONSTRAINTS) || $(INSTALL) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out site dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
