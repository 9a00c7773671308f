# Registrar's commands; `make` alone lists them.
#
# The environment in .venv is installed from the lock files and marked by two stamps inside it: .run when what serving
# needs is there, .dev when the tools are there too. A stamp newer than its lock means there is nothing to install, so
# the second `make run` starts at once. Recipes keep to a POSIX shell and relative paths, which carries them to small
# systems and into folders with spaces in their names.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
UV ?= $(BIN)/uv

# Where Python comes without ensurepip, the environment has no pip of its own and the outer one fills it. Only wheels
# are taken: with --require-hashes alone, a wheel whose hash is wrong would silently be compiled from source instead.
PIP = $$($(BIN)/python -c 'import pip' 2>/dev/null && echo $(BIN)/python -m pip \
	|| echo $(PYTHON) -m pip --python $(BIN)/python) --quiet --disable-pip-version-check
INSTALL_LOCKED = $(PIP) install --require-hashes --only-binary :all: -r

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:
	@echo 'usage: make TARGET [ARGS="…"]'
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

##@ Serve

.PHONY: run
run: protos ## install what serving needs, migrate the database, serve
	@exec $(BIN)/python -m registrar_server serve --migrate $(ARGS)

.PHONY: migrate
migrate: protos ## upgrade the database (ARGS=current, ARGS=check and others)
	@exec $(BIN)/python -m registrar_server migrate $(or $(ARGS),upgrade)

.PHONY: verify
verify: protos ## check that everything in the database agrees with itself
	@exec $(BIN)/python -m registrar_server verify $(ARGS)

##@ Develop

.PHONY: test
test: protos $(VENV)/.dev ## run the tests on all cores (ARGS="-k word" chooses, ARGS="-n 0" takes one core)
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

.PHONY: lint
lint: lint-style lint-types lint-imports lint-protos ## run every linter: ruff, mypy, import-linter, buf

.PHONY: check
check: lint test ## run what CI runs: lint and test

.PHONY: format
format: $(VENV)/.dev ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/buf format --write protos

.PHONY: bench
bench: protos $(VENV)/.dev ## measure the server (ARGS reach the bench)
	$(BIN)/python -m bench $(ARGS)

.PHONY: compat
compat: protos $(VENV)/.dev ## import the client with the oldest and the newest gRPC it promises
	rm -rf build/compat
	$(UV) build --quiet --wheel --out-dir build/compat
	@$(MAKE) --no-print-directory build/compat/lowest build/compat/highest

##@ Maintain

.PHONY: protos
protos: $(VENV)/.run ## generate the stubs beside the protos, where they are out of date
	@$(BIN)/python hatch_build.py

.PHONY: lock
lock: $(VENV)/.dev build/requires.in ## write the lock files (ARGS=--upgrade for newer versions)
	$(COMPILE) --group dev -o requirements-dev.lock
	$(COMPILE) -c requirements-dev.lock -o requirements.lock
	@! grep -nE '://|^ *--(index|extra-index|find-links|trusted)' requirements.lock requirements-dev.lock

.PHONY: clean
clean: ## remove the environment and everything generated, but no database
	rm -rf $(VENV) build dist .stubs-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find protos \( -name '*.py' -o -name '*.pyi' -o -name py.typed \) -exec rm -f {} +
	find client server protos migrations tests bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The environment

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Registrar needs Python 3.11 or newer, and '$(PYTHON)' is" \
			"$$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml $(BIN)/python
	@echo 'Installing what serving needs into $(VENV) …'
	@$(INSTALL_LOCKED) requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo 'Installing the tools into $(VENV) …'
	@$(INSTALL_LOCKED) requirements-dev.lock
	@touch $@

# The locks name no host and no path, so that they are the same wherever they were made. The build's own requirements
# are locked too, since the editable install builds with what is in the environment.
COMPILE = $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--only-binary :all: --custom-compile-command 'make lock' $(ARGS) --extra server pyproject.toml build/requires.in

build/requires.in: pyproject.toml $(VENV)/.run
	@mkdir -p build
	@$(BIN)/python -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' > $@

# The linters

.PHONY: lint-style
lint-style: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: lint-types
lint-types: protos $(VENV)/.dev build/typing
	$(BIN)/python -m mypy

.PHONY: lint-imports
lint-imports: protos $(VENV)/.dev
	$(BIN)/lint-imports

# Changes are held against the commit they will follow: HEAD while the protos are being changed, its parent once they
# are committed. A shallow clone has no parent to compare with.
.PHONY: lint-protos
lint-protos: $(VENV)/.dev build/googleapis
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos
	@base=HEAD; if git diff --quiet HEAD -- protos 2>/dev/null; then base=HEAD~1; fi; \
	if git cat-file -e "$$base:protos" 2>/dev/null; then \
		echo "buf breaking against $$base"; \
		rm -rf build/parent && mkdir -p build/parent/build && \
		git archive "$$base" protos buf.yaml | tar -xf - -C build/parent && \
		cp -R build/googleapis build/parent/build/ && \
		$(BIN)/buf breaking --against build/parent; \
	else echo "buf breaking skipped: there is no parent commit with protos here."; fi

# buf reads google/*.proto from a folder of its own, since those of googleapis-common-protos lie among other packages.
build/googleapis: $(VENV)/.run
	@rm -rf $@ && mkdir -p $@/google
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
		for part in api rpc type; do cp -R "$$site/google/$$part" $@/google/; done
	@touch $@

# Google's protos ship without types; mypy finds them here.
build/typing: build/googleapis
	@rm -rf $@ && mkdir -p $@
	@$(BIN)/python -m grpc_tools.protoc --proto_path=build/googleapis \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --mypy_out=quiet:$@ \
		$$(cd build/googleapis && echo google/rpc/*.proto google/type/*.proto)

# The oldest and the newest of everything the client depends on, as its own metadata bounds them.
build/compat/%: FORCE
	$(UV) venv --quiet --clear --python $(BIN)/python $@
	$(UV) pip install --quiet --python $@/bin/python --resolution $* build/compat/*.whl
	$(UV) pip list --python $@/bin/python
	cd $@ && bin/python -W error -c 'import sys, registrar_client, registrar.v1.enrollment_service_pb2_grpc; \
		assert "sqlalchemy" not in sys.modules'

.PHONY: FORCE
FORCE:
