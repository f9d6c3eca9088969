# make demo: set up and run the main job on generated logs. make test: set up and pass the tests.

# the first of these that is there and new enough; or make PYTHON=...
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c '$(FITS)' >/dev/null 2>&1 && echo $$python && break; done)
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
# of RecBole's own stack, whose ray has no later wheels
PYTHON_BASE ?= python3.11
# what the commands below run in: numpy 2, pandas 3
VENV = .venv
# numpy 1, pandas 2, ray, for make test-base alone
BASE = .venv-base
# Triton, for make test-kernels alone
KERNELS = .venv-kernels
# the tools of the site, and twine: neither torch nor RecBole
DOCS = .venv-docs
EPOCHS ?= 10
# processes of the tests, of one thread each; 0: the one that collects them
WORKERS ?= $(shell $(or $(PYTHON),python3) -c 'import os; print(min(max(os.cpu_count() or 2, 2), 8))')
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup setup-base demo test test-all test-base test-pythons test-kernels lint wheel release notebooks docs clean

setup: $(VENV)/ready
setup-base: $(BASE)/ready

$(VENV)/ready: constraints.txt pyproject.toml
	@$(or $(PYTHON),python3) -c '$(FITS)' 2>/dev/null || { echo "error: Python 3.11 to 3.14 is needed, and \
	$(or $(PYTHON),python3) is `$(or $(PYTHON),python3) -V 2>&1 | head -1`: install one, or name it, make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install -q --no-compile -c constraints.txt setuptools wheel
	$(VENV)/bin/python -c '$(NAMED)' >$(VENV)/requirements.txt
	$(VENV)/bin/pip install -q --no-compile -c constraints.txt -r $(VENV)/requirements.txt
	$(VENV)/bin/pip install -q --no-compile -c constraints.txt --no-deps --no-build-isolation recbole -e .
	touch $@

# all that pyproject.toml names, without RecBole, whose metadata would bring its old ray, and without large extras
define NAMED
import tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
lists = [project["dependencies"], *project["optional-dependencies"].values()]; \
print(*(line for lines in lists for line in lines if not line.startswith(("recbole", "ray", "mlflow", "wandb"))), sep="\n")
endef

$(BASE)/ready: constraints-base.txt pyproject.toml
	@$(PYTHON_BASE) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { echo "error: RecBole's own \
	stack needs Python 3.11, and $(PYTHON_BASE) is none: name one, make test-base PYTHON_BASE=..." >&2; exit 1; }
	$(PYTHON_BASE) -m venv --clear $(BASE)
	$(BASE)/bin/pip install -q --no-compile -c constraints-base.txt setuptools wheel
	$(BASE)/bin/pip install -q --no-compile -c constraints-base.txt --no-build-isolation -e '.[dev]'
	touch $@

demo: setup
	$(VENV)/bin/python run.py --model=HRNNFeat --dataset=diginetica-demo --epochs=$(EPOCHS)
	$(VENV)/bin/python -m recbole_ext recommend $$(ls -td runs/diginetica-demo/HRNNFeat-* | head -1) --examples --k 5

test test-all test-base: export OMP_NUM_THREADS = 1
test test-all test-base: export OMP_WAIT_POLICY ?= PASSIVE
TESTS = -m pytest -n $(WORKERS) --dist worksteal

test: setup
	$(VENV)/bin/python $(TESTS) -m 'not slow'

# those that take long too: half as much again
test-all: setup
	$(VENV)/bin/python $(TESTS)

test-base: $(BASE)/ready
	$(BASE)/bin/python $(TESTS) -m 'not once'

# the wheel on the Pythons 3.12 to 3.14 that are there, without torch, and what uv makes of the checkout
test-pythons: setup
	rm -rf dist
	$(VENV)/bin/pip wheel -q --no-deps --no-build-isolation -w dist .
	$(VENV)/bin/python .ci/pythons.py dist/*.whl

# the GPU's kernels by Triton's interpreter, where there is no GPU; Triton is a gigabyte, so it has a folder of its own
test-kernels: setup $(KERNELS)/ready
	PYTHONPATH=$(KERNELS) TRITON_INTERPRET=1 $(VENV)/bin/python -m pytest -q tests/model/test_kernels.py

$(KERNELS)/ready: constraints-kernels.txt
	rm -rf $(KERNELS)
	$(VENV)/bin/pip install -q --no-compile --no-deps --target $(KERNELS) -r constraints-kernels.txt
	touch $@

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

wheel: setup
	$(VENV)/bin/python -m build --no-isolation

# the package and what a registry would say of it
release: wheel $(DOCS)/ready
	$(DOCS)/bin/twine check --strict dist/*

$(DOCS)/ready: constraints-docs.txt
	@$(or $(PYTHON),python3) -c '$(FITS)' 2>/dev/null || { echo "error: Python 3.11 to 3.14 is needed: install one, \
	or name it, make docs PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/pip install -q --no-compile -c constraints-docs.txt \
	zensical mkdocstrings-python griffe-inherited-docstrings twine
	touch $@

# what the cells of docs/notebooks show, for the site: a notebook that is run, and not changed since, has it on its page
notebooks: setup
	@for file in docs/notebooks/*.py; do $(VENV)/bin/python docs/site/run_notebook.py build/notebooks $$file || exit 1; done

# build/site: opens without a server; a link that leads nowhere, or any other warning, is an error
docs: $(DOCS)/ready
	$(DOCS)/bin/python docs/site/assemble.py build/docs
	$(DOCS)/bin/zensical build --strict --clean -f mkdocs.yml
	@echo "build/site/index.html"

clean:
	rm -rf $(VENV) $(BASE) $(KERNELS) $(DOCS) build dist *.egg-info
