# make install | extras | train | test | test-all | test-extras | test-versions | test-gpu | check
#      bench | docs | notebooks | dist | clean

PYTHON ?= python3
TASK ?= ant
ALGO ?= rfo
STEPS ?= 1000000
SEED ?= 0
WORKERS ?= auto
ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
NAMED := make install PYTHON=python3.12

.PHONY: install extras train test test-all test-extras test-versions test-gpu check format lint \
	types walls bench docs docs-serve notebooks dist clean
.DELETE_ON_ERROR:

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
		echo "make: no $(PYTHON) here: name a Python 3.11 to 3.13, as in $(NAMED)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "make: rfo needs Python 3.11 to 3.13, but $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
			"name another, as in $(NAMED)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "make: $(PYTHON) has no venv module: install it" \
			"(on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing rfo and its tools into .venv (some minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "installed: $$($(BIN)/python --version), rfo in $(BIN)/rfo"

train: $(INSTALLED)
	@$(BIN)/rfo train $(TASK) --algo $(ALGO) --steps $(STEPS) --seed $(SEED) $(ARGS)

test: $(INSTALLED)
	@$(BIN)/python -m pytest -m "not long" -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

test-all: $(INSTALLED)
	@$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

# The packages of other people's tasks and loggers, whose tests are skipped without them.
extras: .venv/.extras

.venv/.extras: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[brax,playground,gymnax,minari,wandb]'
	@touch $@

test-extras: .venv/.extras
	@$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal tests/envs/adapters \
		tests/training/test_wandb.py $(ARGS)

# Both ends of the range of JAX that pyproject.toml declares, each in an environment of its own.
test-versions: $(INSTALLED)
	@for pins in "jax==0.10.0 jaxlib==0.10.0" "jax<0.11 jaxlib<0.11"; do \
		echo "testing with $$pins"; \
		rm -rf .venv-versions && $(PYTHON) -m venv .venv-versions; \
		grep -vE '^(jax|jaxlib)==' constraints.txt > .venv-versions/constraints.txt; \
		.venv-versions/bin/python -m pip install --quiet --disable-pip-version-check \
			-c .venv-versions/constraints.txt $$pins -e '.[dev]' || exit 1; \
		.venv-versions/bin/python -m pytest -m "not long" -n $(WORKERS) --dist worksteal \
			tests/algos tests/policies tests/training tests/envs/test_batch.py \
			tests/physics/test_bridge.py $(ARGS) || exit 1; \
	done; rm -rf .venv-versions

# On a CUDA machine: gradients, golden trajectories, parity, throughput, trainings; see docs/gpu.md.
test-gpu: $(INSTALLED)
	@$(BIN)/python bench/gpu/check.py $(ARGS)

check: format lint types walls

format: $(INSTALLED)
	@$(BIN)/ruff format --check --output-format concise .

lint: $(INSTALLED)
	@$(BIN)/ruff check --output-format concise .

types: $(INSTALLED)
	@$(BIN)/pyright

walls: $(INSTALLED)
	@$(BIN)/python -m pytest tests/test_import_walls.py

bench: $(INSTALLED)
	@$(BIN)/rfo bench speed $(TASK) $(ARGS)

# The documentation as a site that opens offline: site/index.html.
docs: export NO_MKDOCS_2_WARNING := 1
docs: .venv/.docs
	@$(BIN)/mkdocs build --quiet --strict
	@echo "site/index.html"

docs-serve: .venv/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# Runs the tutorials anew, and keeps what they print and draw.
notebooks: export TF_CPP_MIN_LOG_LEVEL := 3
notebooks: .venv/.docs
	@rm -rf build/notebooks && mkdir -p build/notebooks
	@cp docs/tutorials/*.ipynb build/notebooks
	@cd build/notebooks && ../../$(BIN)/python -m nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False *.ipynb
	@cp build/notebooks/*.ipynb docs/tutorials
	@rm -rf build/notebooks

.venv/.docs: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

# A wheel, and proof that it works without its source. It holds the committed files of the package,
# without scripts for its developers, and no others. Installed into an empty environment it trains.
dist: export PYTHONPATH :=
dist: $(INSTALLED)
	@rm -rf dist build && mkdir dist build
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation -w dist .
	@git ls-files src/rfo | sed 's|^src/||; /\.sh$$/d; /compile_flags\.txt$$/d' \
		| LC_ALL=C sort > build/committed
	@$(BIN)/python -m zipfile -l dist/*.whl | sed '1d; s/ .*//; /\.dist-info\//d' \
		| LC_ALL=C sort > build/held
	@diff build/committed build/held
	@$(PYTHON) -m venv dist/clean
	@dist/clean/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt dist/*.whl
	@cd dist && clean/bin/rfo --version \
		&& clean/bin/rfo train cartpole --steps 4096 --out run
	@rm -rf dist/clean dist/run build
	@ls dist

clean:
	@rm -rf .venv .venv-versions build dist site .pytest_cache .ruff_cache src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
