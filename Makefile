# make demo: set up and run the main job on generated logs. make test: set up and pass the tests.
PYTHON ?= python3.11
export PIP_DISABLE_PIP_VERSION_CHECK = 1
BASE = .venv
NEWEST = .venv-newest
EPOCHS ?= 10
# processes of the tests, of one thread each; 0: the one that collects them
WORKERS ?= 2
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup demo test test-newest lint wheel clean

setup: $(BASE)/ready

$(BASE)/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(BASE)
	$(BASE)/bin/pip install -q -c constraints.txt setuptools wheel
	$(BASE)/bin/pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

$(NEWEST)/ready: constraints-newest.txt requirements-newest.txt
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install -q -c constraints-newest.txt -r requirements-newest.txt
	$(NEWEST)/bin/pip install -q --no-deps recbole==1.2.1
	touch $@

demo: setup
	$(BASE)/bin/python run.py --model=HRNNFeat --dataset=diginetica-demo --epochs=$(EPOCHS)
	$(BASE)/bin/python -m recbole_ext recommend $$(ls -td runs/diginetica-demo/HRNNFeat-* | head -1) --examples --k 5

test test-newest: export OMP_NUM_THREADS = 1
TESTS = -m pytest -n $(WORKERS) --dist worksteal

test: setup
	$(BASE)/bin/python $(TESTS)

test-newest: $(NEWEST)/ready
	$(NEWEST)/bin/python $(TESTS) -m 'not base_only'

lint: setup
	$(BASE)/bin/ruff check .
	$(BASE)/bin/ruff format --check .
	$(BASE)/bin/mypy
	$(BASE)/bin/lint-imports --no-logo

wheel: setup
	$(BASE)/bin/python -m build --no-isolation

clean:
	rm -rf $(BASE) $(NEWEST) build dist *.egg-info
