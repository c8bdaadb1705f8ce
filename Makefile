# make demo       install, start a real Milvus, run an example DAG, show what it wrote
# make unit       install, run the tests that need neither Milvus nor Airflow's commands: within a minute on 2 cores
# make test       install, check, test: within 5 minutes on 2 cores
# make test-all   the same and the slow tests: everything that CI runs
# make test-milvus VERSION=2.6.20 API=v2   run the integration tests against that Milvus in Docker, record its responses
# make recipes    install what the recipes and the AI example need in addition: 440 MB
# make distributed  run the sharded example on two Celery workers; needs redis-server
# make screenshots  take the pictures in docs/images; needs chromium
# make bench      measure the speed, compared with other ways: about 13 minutes
# make soak       upsert a million rows while worker and server are killed repeatedly: about 20 minutes

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# For `make test-all`: the oldest Airflow on the oldest Python, and the newest Python.
PYTHON_OLDEST ?= $(call python,3.10)
PYTHON_NEWEST ?= $(call python,3.13)
python = $(or $(shell for python in python$(1) \
	$$($(PYTHON) -c 'import sys; print(sys.base_prefix)')/../$(1).*/bin/python; do \
	$$python -c '' 2> /dev/null && echo $$python && break; done),$(error make test-all needs Python $(1)))
SHELL := bash
export AIRFLOW_HOME := $(CURDIR)/.airflow
export AIRFLOW__CORE__DAGS_FOLDER := $(CURDIR)/example_dags
export AIRFLOW__CORE__LOAD_EXAMPLES := False
# Otherwise `airflow db migrate` would upgrade a database that the user's own environment names.
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN := sqlite:///$(AIRFLOW_HOME)/airflow.db
RUN := .venv/bin/python
# No hard links into uv's cache: NLTK refuses to read such files. `make clean` removes this cache.
export UV_LINK_MODE := copy
export UV_CACHE_DIR ?= $(CURDIR)/.venv-uv/cache
UV := .venv-uv/bin/uv
# More processes than cores, because the tests mostly wait.
WORKERS ?= 4
TESTS := -m pytest --numprocesses $(WORKERS)
KNOW_AIRFLOW := tests/unit tests/system $(patsubst %,tests/integration/test_%.py,connections sources storage upsert)

.PHONY: demo unit test test-all test-milvus recipes distributed screenshots bench soak lint install lock clean

demo: install
	$(RUN) -m airflow_provider_milvus_rest.testing -- $(RUN) example_dags/demo.py

unit: install
	$(RUN) $(TESTS) -m "not heavy" tests/unit --ignore tests/unit/test_package.py --deselect tests/unit/test_hostile.py::test_bombs_and_endless_lines_take_little_memory

test: install lint
	$(RUN) $(TESTS) -m "not heavy"

test-all: install .venv/recipes .venv-2.11/installed .venv-3.13/installed lint docs package
	$(RUN) $(TESTS) -m "not alone"
	$(RUN) -m pytest -m alone
	.venv-2.11/bin/python $(TESTS) -m "not airflow_3" $(KNOW_AIRFLOW)
	.venv-3.13/bin/python $(TESTS) -m "not heavy" tests/unit tests/system/test_examples.py

# The server is always removed at the end. RECORD= switches recording off.
API ?= v2
MILVUS_PORT ?= 19530
RECORD ?= tests/recorded
COMPOSE ?= docker compose --file tests/milvus/compose.yaml
test-milvus: export MILVUS_VERSION = $(VERSION)
test-milvus: export MILVUS_PORT := $(MILVUS_PORT)
test-milvus: install
	$(if $(VERSION),,$(error make test-milvus needs VERSION, for example VERSION=2.6.20))
	trap '$(COMPOSE) down --volumes' EXIT; $(COMPOSE) up --detach --wait && \
		MILVUS_REST_TEST_URI=http://127.0.0.1:$(MILVUS_PORT) MILVUS_REST_TEST_TOKEN=root:Milvus \
		MILVUS_REST_TEST_API_VERSION=$(API) MILVUS_REST_TEST_RECORD=$(RECORD) $(RUN) -m pytest tests/integration

distributed: install
	$(RUN) example_dags/distributed.py

screenshots: install .venv-2.11/installed
	MILVUS_REST_SCREENSHOTS=docs/images $(RUN) -m pytest tests/system/test_browser.py
	MILVUS_REST_SCREENSHOTS=docs/images .venv-2.11/bin/python -m pytest tests/system/test_browser_2.py

bench: install
	$(RUN) benchmarks/upsert.py --json benchmarks/results/upsert.json
	$(RUN) benchmarks/client.py --json benchmarks/results/client.json
	$(RUN) benchmarks/compare.py --json benchmarks/results/compare.json
	$(RUN) benchmarks/plot.py

soak: install
	$(RUN) benchmarks/soak.py --json benchmarks/results/soak.json

lint: install
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

install: .venv/installed .airflow/airflow.db .airflow/env.sh

.venv/installed: requirements/airflow-3.3.txt pyproject.toml $(UV)
	$(call environment,$(PYTHON))

recipes: .venv/recipes

.venv/recipes: .venv/installed requirements/recipes.txt
	$(UV) pip install --quiet --compile-bytecode --python .venv --requirement requirements/recipes.txt
	touch $@

.venv-2.11/installed: requirements/airflow-2.11.txt pyproject.toml $(UV)
	$(call environment,$(PYTHON_OLDEST))

.venv-3.13/installed: requirements/airflow-3.3.txt pyproject.toml $(UV)
	$(call environment,$(PYTHON_NEWEST))

# uv needs a tenth of pip's time, but does not read pip's settings, such as a private package index: then pip is used.
define environment
	@echo "Installing Airflow and what goes with it into $(@D): half a minute, or minutes where that is downloaded …"
	$(1) -m venv $(@D)
	@set -o pipefail; $(UV) pip install --compile-bytecode --python $(@D) --requirement $< 2>&1 | sed '/^ + /d' || \
		$(@D)/bin/python -m pip install --requirement $<
	$(@D)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
endef

$(UV): requirements/uv.txt
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/python -m pip install --quiet --requirement $<
	touch $@

.airflow/airflow.db: .venv/installed
	.venv/bin/airflow db migrate

# For running the examples from a shell: see the README.
.airflow/env.sh: Makefile .airflow/airflow.db
	printf 'export %s\n' AIRFLOW_HOME=$(AIRFLOW_HOME) AIRFLOW__CORE__DAGS_FOLDER=$(AIRFLOW__CORE__DAGS_FOLDER) \
		AIRFLOW__CORE__LOAD_EXAMPLES=False \
		AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=$(AIRFLOW__DATABASE__SQL_ALCHEMY_CONN) \
		'PATH=$(CURDIR)/.venv/bin:$$PATH' > $@

# Pins the versions that pyproject.toml leaves open.
lock: $(UV)
	$(LOCK) --python-version 3.11 --extra ai -o requirements/recipes.txt requirements/recipes.in
	$(LOCK) --python-version 3.11 -c requirements/recipes.txt -o requirements/airflow-3.3.txt requirements/airflow-3.3.in
	$(LOCK) --python-version 3.10 -o requirements/airflow-2.11.txt requirements/airflow-2.11.in

LOCK := $(UV) pip compile --no-config --universal --no-annotate --no-emit-index-url \
	--custom-compile-command "make lock" --extra dev pyproject.toml

clean:
	rm -rf .venv .venv-* .airflow

# For releases, in separate environments: see RELEASE.md.
# make package    build sdist and wheel twice, check them, and run the README's first DAG from the wheel alone
# make matrix     unit and DAG tests: AIRFLOW=3.1 PYTHON_VERSION=3.12
# make lowest     unit tests with the lowest versions that pyproject.toml allows
# make workflows  check .github
# make audit      check the locked packages for known vulnerabilities; needs PyPI's JSON API
# make docs       build the documentation site in site/
.PHONY: package matrix lowest workflows release-check audit licenses docs lock-tools
RELEASE := .venv-release/bin

package: .venv-release/installed
	rm -rf dist .venv-release/again
	$(RELEASE)/python -m build --no-isolation
	$(RELEASE)/python -m build --no-isolation --outdir .venv-release/again
	diff -r dist .venv-release/again
	$(RELEASE)/twine check --strict dist/*
	$(RELEASE)/check-wheel-contents dist/*.whl
	$(call from_wheel,3.3,$(PYTHON))
	$(call from_wheel,2.11,$(PYTHON_OLDEST))

define from_wheel
	$(2) -m venv --without-pip --clear .venv-wheel
	$(UV_INSTALL) .venv-wheel --constraints requirements/airflow-$(1).txt "$$(echo dist/*.whl)[local]"
	cd .venv-wheel && bin/python -m airflow_provider_milvus_rest.testing -- bin/python ../tests/first_page.py
endef
UV_INSTALL := $(UV) pip install --quiet --python

# The newest release of an Airflow minor version, with the newest dependencies that it allows, except those that break
# Airflow itself. Airflow 3.0 and 3.1 also need FAB, or `airflow providers widgets` lists no forms.
WORKS_WITH_2.11.0 := "universal-pathlib<0.3"
WORKS_WITH_3.0 := "fastapi<0.130" "universal-pathlib<0.3" apache-airflow-providers-fab
WORKS_WITH_3.1 := apache-airflow-providers-fab
WORKS_WITH_3.2 := "fastapi<0.130"
AIRFLOW ?= 3.3
PYTHON_VERSION ?= 3.11
MATRIX = .venv-matrix-$(AIRFLOW)-$(PYTHON_VERSION)
matrix: $(UV)
	$(call python,$(PYTHON_VERSION)) -m venv --without-pip --clear $(MATRIX)
	$(UV_INSTALL) $(MATRIX) --group matrix "apache-airflow~=$(AIRFLOW).0" $(WORKS_WITH_$(AIRFLOW)) -e ".[dev]"
	$(MATRIX)/bin/python $(TESTS) -m "not heavy $(if $(filter 2.%,$(AIRFLOW)),and not airflow_3)" \
		tests/unit tests/system/test_dags.py tests/system/test_examples.py

# The lowest versions of the package's direct dependencies; all others are the newest that fit.
lowest: $(UV)
	$(PYTHON_OLDEST) -m venv --without-pip --clear .venv-lowest
	$(UV) pip compile --no-config --quiet --python .venv-lowest --resolution lowest-direct --no-deps \
		--no-emit-index-url --no-annotate --extra arrow --extra local pyproject.toml -o .venv-lowest/lowest.txt
	$(UV_INSTALL) .venv-lowest --constraints .venv-lowest/lowest.txt --group matrix $(WORKS_WITH_2.11.0) -e ".[dev]"
	.venv-lowest/bin/python $(TESTS) -m "not heavy and not airflow_3" tests/unit

workflows: .venv-release/installed
	$(RELEASE)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(RELEASE)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(RELEASE)/zizmor --offline --pedantic .github
	@command -v actionlint > /dev/null && actionlint || echo "actionlint is not on the path, and was not run"

# The checks of a tag before it is published.
TAG ?= v$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' airflow_provider_milvus_rest/__init__.py)
release-check:
	grep -q '^__version__ = "$(TAG:v%=%)"$$' airflow_provider_milvus_rest/__init__.py
	grep -q '^## \[$(TAG:v%=%)\] - [0-9-]*$$' CHANGELOG.md
	grep -q '^repository = "https://' pyproject.toml

# --strict: otherwise a package that could not be looked up counts as free of vulnerabilities.
audit: .venv-release/installed
	for set in requirements/*.txt; do $(RELEASE)/pip-audit --strict --disable-pip --no-deps -r $$set || exit; done

licenses: install
	$(RUN) requirements/licenses.py > requirements/LICENSES.md

docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

.venv-release/installed .venv-docs/installed: .venv-%/installed: requirements/%.txt $(UV)
	$(PYTHON) -m venv --without-pip $(@D)
	$(UV_INSTALL) $(@D) --requirement $<
	touch $@

lock-tools: $(UV)
	for set in release docs; do $(UV_LOCK) -o requirements/$$set.txt requirements/$$set.in || exit; done
UV_LOCK := $(UV) pip compile --no-config --universal --no-annotate --no-emit-index-url \
	--custom-compile-command "make lock-tools" --python-version 3.11
