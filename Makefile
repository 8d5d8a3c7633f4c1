.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV := .venv
# DVC runs each stage in a shell: the stage's `python` must be the environment's own.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
# What a person's environment says of another Python is not meant for this one.
unexport UV_PYTHON UV_SYSTEM_PYTHON UV_PROJECT_ENVIRONMENT UV_REQUIRE_HASHES UV_CONSTRAINT UV_OVERRIDE \
	UV_BUILD_CONSTRAINT PIP_USER PIP_TARGET PIP_PREFIX PIP_CONSTRAINT PYTHONHOME PYTHONPATH
PRESET ?=
SET ?=
BASE ?= main
HEAD ?= HEAD
EXPS ?=
ARGS ?=
SEEDS ?= 1

RUN = PYTHONPATH=src python -m textbloom.app.pipeline
# Handed over in the environment, so that the shell takes nothing in them, a & or a bracket, for its own.
export SET PRESET
SETTINGS = $(if $(PRESET),--preset "$$PRESET") $(if $(SET),--set "$$SET")

.PHONY: help setup repro exp story app watch pr-report report reference test lint bench bench-full lock

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}'

setup: $(VENV)/.synced  ## Make .venv from the hashed lock (done by the other targets when needed)

# uv is itself in the lock: its own block there, with hashes, is what pip installs first. Compiled now, a stage starts in
# half the time even where Python may not keep its bytecode (many containers set that). A set-up that was killed leaves
# packages half in place, which uv takes for whole: so one that has not come to its end starts from nothing.
$(VENV)/.synced: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "textbloom needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(if $(wildcard $@),,--clear) $(VENV)
	@rm -f $@
	awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.txt
	$(VENV)/bin/python -m pip install --no-user --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(VENV)/bin/uv pip sync --python $(VENV)/bin/python --quiet --compile-bytecode --require-hashes requirements.lock
	$(VENV)/bin/uv pip install --python $(VENV)/bin/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

repro: setup  ## Run the whole pipeline; PRESET=name and SET="a.b=c ..." are written into params.yaml first
	@$(RUN) repro $(SETTINGS) --dvc $(ARGS)

exp: setup  ## Run PRESET=name (with SET="a.b=c ...") as a DVC experiment of that name; params.yaml stays as it is
	@$(RUN) exp $(SETTINGS) --dvc $(ARGS)

story: setup  ## Train the steps from the plain GAN to system A and compare them (SEEDS="1 2 3", SET="a.b=c ...")
	@PYTHONPATH=src python -m textbloom.app.story --seeds $(SEEDS) $(if $(SET),--set "$$SET")

app: setup  ## Open the app at http://127.0.0.1:8501: a sentence in, pictures out (ARGS="--server.port 8502")
	@PYTHONPATH=src streamlit run src/textbloom/app/streamlit_app.py $(ARGS)

watch: setup  ## Show the training that goes on in this folder, on a page that renews itself (ARGS="--port 8601")
	@PYTHONPATH=src python -m textbloom.report.watch $(ARGS)

pr-report: setup  ## Compare parameters, metrics and pictures with those of BASE=main, as a pull request's review does
	@PYTHONPATH=src python -m textbloom.report.pull_request --base $(BASE) --head $(HEAD)

report: setup  ## One HTML file about the current run, or about DVC experiments side by side (EXPS="a b c")
	@PYTHONPATH=src python -m textbloom.report.page $(EXPS)

reference: setup  ## Write docs/reference.md, the parameters and metrics, from the code
	@PYTHONPATH=src python -m textbloom.report.reference

# Two halves that take about as long as each other, side by side; what the first prints comes last.
HALF = tests/pipeline tests/docs
test: setup  ## Run the test suite, its two halves at a time (ARGS="-k name" for a part)
ifeq ($(strip $(ARGS)),)
	@mkdir -p build; export OMP_NUM_THREADS=$$((($$(getconf _NPROCESSORS_ONLN) + 1) / 2)); \
	python -m pytest $(HALF) > build/test-half.txt 2>&1 & half=$$!; \
	trap "kill $$half 2> /dev/null || true" EXIT; \
	status=0; python -m pytest $(addprefix --ignore=,$(HALF)) || status=$$?; \
	wait $$half || status=$$?; cat build/test-half.txt; exit $$status
else
	python -m pytest $(ARGS)
endif

lint: setup  ## Check style, types and the workflows of GitHub Actions (with actionlint, too, where it is installed)
	ruff check .
	ruff format --check .
	mypy
	zizmor --offline --quiet .github
	if command -v actionlint > /dev/null; then actionlint; fi

bench: setup  ## Time decoding, encoding, the app, training and the stages, roughly, within five minutes on a quiet machine
	@export PYTHONPATH=src; set -x; \
	python benchmarks/images.py --photos 300 --repeats 1; \
	python benchmarks/encode.py --count 128 --loop 32 --repeats 1; \
	python benchmarks/app.py --sentences 5; \
	python benchmarks/training.py --pictures 64 --steps 2 --repeats 1; \
	python benchmarks/stages.py --repeats 1

bench-full: setup  ## The same and each choice of training, as benchmarks/README.md has them: half an hour and more
	@for what in images encode app results switches; do echo "== $$what"; PYTHONPATH=src python benchmarks/$$what.py; done

lock: setup  ## Renew requirements.lock from pyproject.toml (newest versions, hashed)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade --extra dev pyproject.toml -o requirements.lock
