# One command each; `make help` lists them. All but help and setup first see that the environment is there.
SHELL := /bin/bash
PYTHON := .venv/bin/python
BENCH ?= dag_import
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help setup demo up test lint bench reproduce

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## build the environment (.venv from uv.lock, Java 17)
	@scripts/setup.sh

demo: setup ## five simulated nights through a real Airflow, and what became of each
	@$(PYTHON) -m ops.demo

up: setup ## Airflow, MLflow and the nights' pages to click through, until Ctrl-C
	@$(PYTHON) -m ops.up

test: setup ## the tests
	@$(PYTHON) -m pytest $(ARGS)

lint: setup ## ruff and mypy
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

bench: setup ## a benchmark: make bench BENCH=nights ARGS="--source segmm --path DIR --first 2024-01-03"
	@$(PYTHON) -m benchmarks.$(BENCH) $(ARGS)

reproduce: setup ## a recorded night again from its tag: make reproduce NIGHT=2026-03-12 (or 2026-03-12.2)
	@$(PYTHON) -m tasks.reproduce --night "$(NIGHT)"
