# make demo       install, start a real Milvus, run an example DAG, show what it wrote
# make test       install, check, test: within 10 minutes on 2 cores
# make test-all   the same, and what takes longer: all that CI runs
# make distributed: the sharded example on two Celery workers; needs redis-server
# make bench      measure it, side by side with other ways: about 15 minutes

PYTHON ?= $(shell command -v python3.11 || command -v python3)
export AIRFLOW_HOME := $(CURDIR)/.airflow
export AIRFLOW__CORE__DAGS_FOLDER := $(CURDIR)/example_dags
export AIRFLOW__CORE__LOAD_EXAMPLES := False
# Else `airflow db migrate` would upgrade a database that the user's own environment names.
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN := sqlite:///$(AIRFLOW_HOME)/airflow.db
RUN := .venv/bin/python

.PHONY: demo test test-all distributed bench lint install lock clean

demo: install
	$(RUN) -m airflow_provider_milvus_rest.testing -- $(RUN) example_dags/demo.py

test: install lint
	$(RUN) -m pytest -m "not heavy"

test-all: install lint
	$(RUN) -m pytest

distributed: install
	$(RUN) example_dags/distributed.py

bench: install
	$(RUN) benchmarks/upsert.py --json benchmarks/results/upsert.json
	$(RUN) benchmarks/client.py --json benchmarks/results/client.json
	$(RUN) benchmarks/plot.py

lint: install
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

install: .venv/installed .airflow/airflow.db .airflow/env.sh

.venv/installed: requirements/airflow-3.3.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --requirement requirements/airflow-3.3.txt
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.airflow/airflow.db: .venv/installed
	.venv/bin/airflow db migrate

# To run the examples from a shell: see the README.
.airflow/env.sh: Makefile .airflow/airflow.db
	printf 'export %s\n' AIRFLOW_HOME=$(AIRFLOW_HOME) AIRFLOW__CORE__DAGS_FOLDER=$(AIRFLOW__CORE__DAGS_FOLDER) \
		AIRFLOW__CORE__LOAD_EXAMPLES=False \
		AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=$(AIRFLOW__DATABASE__SQL_ALCHEMY_CONN) \
		'PATH=$(CURDIR)/.venv/bin:$$PATH' > $@

# Pins what pyproject.toml leaves open.
lock:
	uv pip compile --no-config --universal --python-version 3.11 --no-annotate --no-emit-index-url \
		--custom-compile-command "make lock" --extra dev \
		--output-file requirements/airflow-3.3.txt pyproject.toml requirements/airflow-3.3.in

clean:
	rm -rf .venv .airflow
