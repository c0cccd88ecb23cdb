# The commands of a developer: `make help` lists them, docs/contributing.md explains them.
#
# Everything happens in a virtual environment of its own, .venv. Files in it named rueda.* record
# what has been done, so a second run only does what changed.
PYTHON ?= python3
VENV ?= .venv
# The PyTorch to install where there is none. An exact version: the newest one may be gigabytes.
TORCH ?= torch==2.13.0
# Processes and options of `make demo`.
NP ?= 2
ARGS ?=

# rueda's variables in the caller's environment must not change what is built or tested.
unexport $(filter RUEDA_%,$(.VARIABLES)) PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK = 1

IN_VENV = PATH="$(abspath $(VENV))/bin:$$PATH"
# What lies beside a shared PyTorch does not count, or .venv/bin would lack its commands.
PIP_INSTALL = $(VENV)/bin/python -m pip install \
              $$(ls $(VENV)/lib/*/site-packages/rueda_shared_torch.pth >/dev/null 2>&1 && echo --ignore-installed)
WERROR = $(if $(CI),ON,OFF)
SUITES = lint test-cpp test-neon test-asan test-tsan test-python
# Folders count, too: their times tell of deleted files.
SOURCES := CMakeLists.txt pyproject.toml README.md LICENSE \
           $(shell find csrc cmake python -name __pycache__ -prune -o -print)

.PHONY: help demo build test $(SUITES) clang-tidy wheel clean
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14
	@echo
	@echo "make demo NP=4 ARGS='--epochs 5'     another number of processes, options of the example"
	@echo "make build PYTHON=python3.12 VENV=.venv-312     another interpreter"

demo: build ## build everything, then train a small model on 2 processes
	@echo "ruedarun -np $(NP) python examples/train_digits.py $(ARGS)"
	@$(IN_VENV) ruedarun -np $(NP) python examples/train_digits.py $(ARGS)

build: $(VENV)/rueda.installed ## build rueda and install it into .venv

test: ## install system packages where allowed, then check and test everything
	@scripts/system_packages.sh $(VENV)
	@$(MAKE) --no-print-directory --keep-going $(SUITES)

lint: $(VENV)/rueda.test-tools ## check format, style and types
	$(IN_VENV) ruff format --check .
	$(IN_VENV) ruff check .
	$(IN_VENV) mypy
	$(IN_VENV) clang-format --dry-run -Werror $$(find csrc tests/cpp benchmarks -name '*.cc' -o -name '*.h' -o -name '*.inc')

test-cpp: $(VENV)/rueda.test-tools ## C++ tests, optimised
	@$(IN_VENV) scripts/cpp_tests.sh dev

test-neon: $(VENV)/rueda.test-tools ## C++ tests of the kernels for AArch64, under QEMU
	@$(IN_VENV) scripts/cpp_tests.sh neon

test-asan: $(VENV)/rueda.test-tools ## C++ tests under AddressSanitizer and UBSan
	@$(IN_VENV) scripts/cpp_tests.sh asan

test-tsan: $(VENV)/rueda.test-tools ## C++ tests under ThreadSanitizer
	@$(IN_VENV) scripts/cpp_tests.sh tsan

test-python: $(VENV)/rueda.test-tools $(VENV)/rueda.installed ## Python tests on real processes, and tests/tidy
	$(IN_VENV) timeout --foreground --signal=ABRT --kill-after=30 35m python -m pytest --durations=10 $(ARGS)

clang-tidy: $(VENV)/rueda.test-tools ## look for likely bugs in C++ (slow, not part of test)
	@$(IN_VENV) scripts/clang_tidy.sh

wheel: $(VENV)/rueda.ready ## build a source archive, and a wheel from it, into dist/
	$(IN_VENV) python -m build --no-isolation --outdir dist .

clean: ## delete what was built; .venv stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/rueda.ready: scripts/make_venv.py requirements/build.txt requirements/example.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "rueda needs Python 3.10 or newer; '$(PYTHON)' is not. Name one: make ... PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -I scripts/make_venv.py $(VENV) $(TORCH)
	$(PIP_INSTALL) -r requirements/build.txt -r requirements/example.txt
	@touch $@

$(VENV)/rueda.test-tools: $(VENV)/rueda.ready requirements/test.txt
	$(PIP_INSTALL) -r requirements/test.txt
	@touch $@

# New system packages can make more parts possible, so their stamp is a source where there is one.
$(VENV)/rueda.installed: $(VENV)/rueda.ready $(SOURCES) $(wildcard $(VENV)/rueda.system-packages)
	$(IN_VENV) python -m pip install --no-build-isolation --config-settings=cmake.define.RUEDA_WERROR=$(WERROR) .
	@touch $@
