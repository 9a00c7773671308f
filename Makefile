# Registrar's commands; `make` alone lists them.
#
# The environment in .venv is installed from the lock files. Two stamps in it mark what is installed: .run for the
# server's packages, .dev for the development tools too. Nothing is installed while a stamp is newer than its lock file,
# so the second `make run` starts at once. Recipes use only a POSIX shell and relative paths, so that they also work on
# small systems and in folders with spaces in their names.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
UV ?= $(BIN)/uv

# If Python lacks ensurepip, the environment has no pip, and the pip outside of it installs into it. Install only wheels,
# since with --require-hashes alone pip would compile a package from source if the hash of its wheel is wrong.
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
		/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' Makefile

##@ Serve

.PHONY: run
run: protos ## install the server, migrate the database, serve
	@exec $(BIN)/python -m registrar_server serve --migrate $(ARGS)

.PHONY: migrate
migrate: protos ## upgrade the database (or ARGS=check, current, "downgrade -1")
	@exec $(BIN)/python -m registrar_server migrate $(or $(ARGS),upgrade)

.PHONY: verify
verify: protos ## check that the database is consistent
	@exec $(BIN)/python -m registrar_server verify $(ARGS)

##@ Develop

.PHONY: test
test: protos $(VENV)/.dev ## run the tests on all cores (ARGS="-k word" chooses, ARGS="-n 0" takes one core)
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

.PHONY: lint
lint: lint-style lint-types lint-imports lint-protos ## run ruff, mypy, import-linter and buf

.PHONY: check
check: lint test ## run lint and test, as CI does

.PHONY: format
format: $(VENV)/.dev ## format the code, and apply the fixes of ruff
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/buf format --write protos

.PHONY: test-deep
test-deep: export REGISTRAR_TEST_DEPTH = 20
test-deep: test ## run the tests with 20 times as many examples for each property

.PHONY: coverage
coverage: protos $(VENV)/.dev ## run the tests and report the lines and branches that they miss
	@mkdir -p build
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n logical $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage html --quiet
	@$(BIN)/python -m coverage report
	@echo 'Open build/coverage/index.html to see the lines.'

.PHONY: bench
bench: protos $(VENV)/.dev ## measure the server (ARGS=--help lists the options)
	$(BIN)/python -m bench $(ARGS)

.PHONY: compat
compat: protos $(VENV)/.dev ## import the client with its oldest and newest dependencies
	rm -rf build/compat
	$(UV) build --quiet --wheel --out-dir build/compat
	@$(MAKE) --no-print-directory build/compat/lowest build/compat/highest

##@ Maintain

.PHONY: protos
protos: $(VENV)/.run ## generate the stubs that are out of date
	@$(BIN)/python hatch_build.py

.PHONY: lock
lock: $(VENV)/.dev build/requires.in ## write the lock files (ARGS=--upgrade updates all versions)
	$(COMPILE) --group dev -o requirements-dev.lock
	$(COMPILE) -c requirements-dev.lock -o requirements.lock
	@! grep -nE '://|^ *--(index|extra-index|find-links|trusted)' requirements.lock requirements-dev.lock

.PHONY: clean
clean: ## remove the environment and all generated files, but no database
	rm -rf $(VENV) build dist .stubs-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find protos \( -name '*.py' -o -name '*.pyi' -o -name '*.binpb' -o -name py.typed \) -exec rm -f {} +
	find client server protos migrations tests bench examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The environment

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Registrar needs Python 3.11 or newer, but '$(PYTHON)' is" \
			"$$($(PYTHON) --version 2>&1). Choose another one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml $(BIN)/python
	@echo 'Installing the server into $(VENV) …'
	@$(INSTALL_LOCKED) requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo 'Installing the development tools into $(VENV) …'
	@$(INSTALL_LOCKED) requirements-dev.lock
	@touch $@

# The lock files contain no hosts and no paths, so they are the same on every machine. They also pin the build
# requirements, since the editable install builds without isolation.
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

# Compare the protos with HEAD while they have uncommitted changes, else with its parent. A shallow clone has no parent.
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
	else echo "buf breaking skipped: there is no parent commit with protos."; fi

# buf needs the google/*.proto files in a folder of their own, but googleapis-common-protos installs them among others.
build/googleapis: $(VENV)/.run
	@rm -rf $@ && mkdir -p $@/google
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
		for part in api rpc type; do cp -R "$$site/google/$$part" $@/google/; done
	@touch $@

# Google's protos have no type stubs, so generate them for mypy.
build/typing: build/googleapis
	@rm -rf $@ && mkdir -p $@
	@$(BIN)/python -m grpc_tools.protoc --proto_path=build/googleapis \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --mypy_out=quiet:$@ \
		$$(cd build/googleapis && echo google/rpc/*.proto google/type/*.proto)

# Resolve the client's dependencies to the lowest or the highest versions that its metadata allows.
build/compat/%: FORCE
	$(UV) venv --quiet --clear --python $(BIN)/python $@
	$(UV) pip install --quiet --python $@/bin/python --resolution $* build/compat/*.whl
	$(UV) pip list --python $@/bin/python
	cd $@ && bin/python -W error -c 'import sys, registrar_client, registrar.v1.enrollment_service_pb2_grpc; \
		assert "sqlalchemy" not in sys.modules'

.PHONY: FORCE
FORCE:
