# `make help` lists the commands. All of them except help first run setup.
SHELL := /bin/bash
PYTHON := .venv/bin/python
BENCH ?= speed.dag_import
CHAOS ?= nights
PROFILE ?= default
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help setup demo up down backfill airflow test lint docs bench chaos audit reproduce

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## build the environment: .venv from uv.lock, and Java 17
	@scripts/setup.sh

demo: setup ## run five simulated nights in Airflow and print their outcomes
	@$(PYTHON) -m ops.demo

up: setup ## serve Airflow, MLflow and the nights' web pages until Ctrl-C; PROFILE=postgres adds PostgreSQL, S3 and Spark
	@$(PYTHON) -m ops.serve --profile "$(PROFILE)"

down: setup ## end the servers of `make up`
	@$(PYTHON) -m ops.down

backfill: setup ## run past nights in order: make backfill FROM=2026-03-10 TO=2026-03-11 (both included); MODEL=all and FORCE=yes are options
	@$(PYTHON) -m ops.backfill --from "$(FROM)" --to "$(TO)" $(if $(MODEL),--model "$(MODEL)") $(if $(FORCE),--force)

airflow: setup ## run Airflow's command line: make airflow ARGS="dags list"
	@$(PYTHON) -m ops.airflow_cli $(ARGS)

test: setup ## run the tests
	@$(PYTHON) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(ARGS)

lint: setup ## run ruff and mypy
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

docs: setup ## build the documentation site in build/site; broken links fail
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict
	@echo "docs: open build/site/index.html"

bench: setup ## run a benchmark: make bench BENCH=quality.nights ARGS="--source segmm --path DIR --first 2024-01-03"
	@$(PYTHON) -m benchmarks.$(BENCH) $(ARGS)

chaos: setup ## disturb steps of nights at random moments and compare the results: make chaos; CHAOS=lake kills the lake half only
	@$(PYTHON) -m benchmarks.chaos.$(CHAOS) $(ARGS)

audit: setup ## write build/sbom.cdx.json (CycloneDX), and list known vulnerabilities: make audit; ARGS=--offline asks no database
	@$(PYTHON) scripts/audit.py $(ARGS)

reproduce: setup ## reproduce a recorded night from its tag: make reproduce NIGHT=2026-03-12 (or 2026-03-12.2)
	@$(PYTHON) -m undercurrent reproduce --night "$(NIGHT)"
