# Everything starts from python3 (3.11 or newer) and make. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Containers often set it: then each process of a run compiles all that it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-all lint format viz viz-static docs bench lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      both roads on synthetic data, into data/demo and mlruns"
	@echo "make test      the fast test suite"
	@echo "make test-all  with the slow tests"
	@echo "make lint      ruff, mypy and the import contracts"
	@echo "make viz       the lineage in the browser (kedro viz)"
	@echo "make viz-static  the same as a folder of files, build"
	@echo "make docs      the site, site/"
	@echo "make bench     the benchmarks"
	@echo "make lock      resolve pyproject.toml into requirements.txt again"

$(READY): requirements.txt
	@echo "Setting up $(VENV): needs about 11 GB of disk (torch brings its CUDA libraries)"
	@echo "and 2 to 10 minutes, most of it downloading. It is done once."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"python3 3.11 or newer is needed, this is {sys.version}")'
	@$(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.exit(free < 14 and f"14 GB of free disk are needed, {free:.1f} GB are free")'
	@$(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt \
	  || $(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt  # pip's own settings
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	@echo "Running the demo on synthetic SEM frames and tomograms: a line a stage, 400 MB of disk."
	@KEDRO_LOGGING_CONFIG=conf/demo/logging.yml $(BIN)/kedro run --env demo --pipelines demo
	@echo "Done. Open the pages named above, data/demo/08_reporting/sem/report.html first; compare runs with"
	@echo "  $(BIN)/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db"

test: $(READY)
	@echo "Running the fast tests: 8 to 12 minutes on 2 cores, less than 1 GB of temporary disk."
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(READY)
	@echo "Running all tests, the slow ones too: many minutes on 2 cores."
	@$(BIN)/python -m pytest -m ""

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

viz: $(READY)
	@$(BIN)/kedro viz run

viz-static: $(READY)
	@KEDRO_ENV=demo $(BIN)/kedro viz build --include-previews
	@sed -i.bak '/fonts\.g/d' build/index.html && rm build/index.html.bak  # nothing is fetched
	@echo "Done. Look at it: python3 -m http.server --directory build"

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Done. Open site/index.html; its search wants a server: python3 -m http.server --directory site"

bench: $(READY)
	@echo "Benchmarks print ratios against a named peer, and tables of errors: many minutes on 2 cores."
	@for script in $(filter-out %/label_volumes.py %/draw_attribute_pictures.py %/damage_simulated_truth.py %/unknown_flag.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

lock: $(READY)
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet -o requirements.txt

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
