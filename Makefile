# Each target does all the set-up it needs, into .venv, and says where its result is.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
# For example https://download.pytorch.org/whl/cpu, to leave CUDA out on a Linux machine without a GPU
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help book pdf test test-pages colab lint notebooks bench clean

help:
	@echo "make book       build the book into _build/html"
	@echo "make pdf        print the book into _build/gan-book.pdf (needs a Chromium)"
	@echo "make test       prove everything: package, notebooks, pages"
	@echo "make test-pages prove only the built pages and the PDF, in a Chromium"
	@echo "make colab      run every notebook as Colab does"
	@echo "make lint       check style"
	@echo "make notebooks  run the notebooks again and normalise them"
	@echo "make bench      measure speed and memory against the loop that tutorials teach"
	@echo "make clean      delete what was built (not $(VENV))"

$(READY): requirements.txt constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install -q --index-url $(TORCH_INDEX) $(shell grep ^torch== requirements.txt))
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

book: $(READY)
	$(BIN)/jupyter-book build -q -W -n --keep-going .
	$(BIN)/python tools/check_links.py _build/html
	@echo "The book is at $(CURDIR)/_build/html/index.html"

pdf: book
	$(BIN)/python tools/pdf.py _build/html _build/gan-book.pdf

test: $(READY)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --durations 8

test-pages: $(READY)
	$(BIN)/python -m pytest -q tests/test_pages.py tests/test_pdf.py tests/test_laboratory*.py

colab: $(READY)
	GANLIB_COLAB=all $(BIN)/python -m pytest -q tests/test_colab.py --durations 0

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

notebooks: $(READY)
	$(BIN)/python tools/notebooks.py chapters/*.ipynb

bench: $(READY)
	$(BIN)/python benchmarks/bench.py

clean:
	rm -rf _build build *.egg-info .pytest_cache .hypothesis .ruff_cache .coverage*
