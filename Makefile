# Each target first installs the packages of requirements-dev.txt in .venv, if they are not installed yet. This needs only
# Python 3.11 or newer, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export UV_LINK_MODE ?= copy
# This line clears PYTHONDONTWRITEBYTECODE. Tests and the demo start Python dozens of times. Without .pyc files each start
# would compile all modules again.
export PYTHONDONTWRITEBYTECODE :=
# Without this limit, numpy's BLAS starts threads. For 20 ms of audio, threads cost more time than they save.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: setup demo test test-console test-pages test-sound check format deep matrix mutants bench lock clean
.DEFAULT_GOAL := demo

setup: $(VENV)/.stamp

.bootstrap/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12"; exit 1; }
	@! ldd --version 2>&1 | grep -qi musl || { echo "setup: it does not work on Alpine, because the embedded Postgres has no build for musl. Use Debian, Ubuntu, Fedora or the Dockerfile."; exit 1; }
	@echo "setup: making $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv .bootstrap || { echo "python3 -m venv failed: on Debian, apt-get install python3-venv"; exit 1; }
	@.bootstrap/bin/python -m pip install -q --disable-pip-version-check uv==0.13.9

$(VENV)/.stamp: .bootstrap/bin/uv requirements-dev.txt pyproject.toml
	@.bootstrap/bin/uv venv -q --no-python-downloads --python $(PYTHON) --clear $(VENV)
	@echo "setup: installing what requirements-dev.txt pins"
	@.bootstrap/bin/uv pip sync -q --require-hashes --only-binary :all: --python $(BIN)/python requirements-dev.txt
	@.bootstrap/bin/uv pip install -q --no-deps --no-build-isolation --python $(BIN)/python -e .
	@touch $@
	@echo "setup: done, the command is $(BIN)/relay"

demo: setup
	$(BIN)/relay demo

test: setup
	$(BIN)/python -m pytest -q

# The console's tests in a real Chromium (Debian: apt-get install chromium chromium-driver). Without a Chromium the tests are
# left out, and a line says so.
test-console: test-pages test-sound

IN_BROWSER = command -v chromium >/dev/null && command -v chromedriver >/dev/null \
  || { echo "$@: LEFT OUT, there is no browser here. On Debian: apt-get install chromium chromium-driver"; exit 0; }; \
  $(BIN)/python -m pytest -q tests/console

# Test files run in parallel, because they mostly wait for sentences to be spoken.
test-pages: setup out/axe.min.js
	@$(IN_BROWSER) -n 3 --dist loadfile -m "browser and not sound"

# These tests speak into a microphone and record in the page. Other work on the machine would disturb the sound, so they run
# alone.
test-sound: setup
	@$(IN_BROWSER) -n 0 -m sound

out/axe.min.js:
	@mkdir -p out/axe && cd out/axe && npm pack -s axe-core@4.14.1 >/dev/null 2>&1 && tar xzf axe-core-4.14.1.tgz \
	  && cp package/axe.min.js .. || echo "test-console: npm is not here: the checks for screen readers are LEFT OUT"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Long random runs: ten thousand examples for each property, and a thousand calls. Then the mutants.
deep: setup
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest -q -o faulthandler_timeout=0 -m "not browser"
	$(MAKE) mutants

# The tests with each supported Python that is installed here. Each Python has an environment of its own.
PYTHONS ?= 3.11 3.12 3.13
matrix:
	@set -e; for v in $(PYTHONS); do \
	  command -v python$$v >/dev/null && python$$v -c '' 2>/dev/null || { echo "python$$v is not installed: left out"; continue; }; \
	  echo "matrix: python$$v"; $(MAKE) test VENV=.venv-$$v PYTHON=python$$v; \
	done

# Breaks the audio path on purpose, at one line after another. For each line, a named test must fail.
mutants: setup
	$(BIN)/python -m tests.helpers.mutants

bench: setup
	$(BIN)/python -m bench

# Makes the two requirement files from pyproject.toml. They have versions and hashes, but no name of an index or mirror.
lock: .bootstrap/bin/uv
	.bootstrap/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 pyproject.toml --group dev -o requirements-dev.txt
	.bootstrap/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 pyproject.toml --extra s3 -c requirements-dev.txt -o requirements.txt

clean:
	rm -rf .venv .venv-* .bootstrap data
