# Two commands for a new user: `make run` and `make test`. Both install what they need first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-all check test-llm install clean

run: install
	$(BIN)/python -m org run

test: install
	$(BIN)/python -m pytest -n 3 -m "not long"

# With the tests that run whole organizations for long: twice as long and more.
test-all: install
	$(BIN)/python -m pytest -n 3

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A real, very small language model in every role, for some minutes; it is installed into build/llm.
test-llm: install
	$(BIN)/python -m tests.llm

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
