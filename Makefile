# Every target sets up what it needs. Only Python 3.11 or newer and make are assumed.
PYTHON ?= python3
COLAB_PYTHON ?= python3.13
PORT ?= 8000
BIN := .venv/bin
MXNET := mxnet==1.9.1
# Chapters and tests run in as many processes as there are cores, where more threads in each only get in the way.
BUSY := OMP_NUM_THREADS=1 TQDM_DISABLE=1
PYTEST := $(BUSY) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
LIBRARY := $(wildcard src/weightdecay/*.py src/weightdecay/*.js src/weightdecay/*.css)
.NOTPARALLEL:
.PHONY: help venv book serve pdf lab classroom present test lint unit nbval browser test-colab lighthouse bench bench-kernels notebooks recompute lock clean

help:
	@echo "make book      build the site into _build/html"
	@echo "make serve     build it, then serve it on http://127.0.0.1:$(PORT)"
	@echo "make pdf       print it into _build/weight-decay.pdf (needs a Chromium)"
	@echo "make lab       open the chapters in JupyterLab, where the sliders retrain"
	@echo "make classroom one zip of the site that opens from a USB stick, with no network"
	@echo "make present   show the demos without code, retraining, on http://127.0.0.1:8866"
	@echo "make test      lint, unit tests, every notebook, browser tests (needs a Chromium)"
	@echo "make test-colab   the install cell, every notebook and a slider with Colab's versions (needs Python 3.13)"
	@echo "make lighthouse   measure every page on a phone, with Lighthouse (needs Node and a Chromium)"
	@echo "make bench     time retraining, sweeping and drawing"
	@echo "make bench-kernels   measure what a class with kernels needs, for book/hub.md"
	@echo "make notebooks run every chapter and store its outputs in the file"
	@echo "make recompute CHAPTER=adamw   train again what a chapter has on record"
	@echo "make lock      renew constraints.txt from what is installed"

venv: .venv/.installed
.venv/.installed: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The book needs Python 3.11 or newer as '$(PYTHON)': install it, or name another with 'make PYTHON=python3.12 ...'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "This Python cannot make virtual environments: install its venv package (on Debian and Ubuntu: python3-venv)."; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade pip==26.3
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --constraint constraints.txt --editable .
	@$(BIN)/python -m pip install --quiet --no-deps $(MXNET) 2>/dev/null || \
	  echo "MXNet 1.9.1 could not be installed (it has no package for Windows and Apple's processors): the Gluon chapter will replay what was recorded."
	@touch $@

# Executed chapters are cached by their own text alone, so a change of the library, or of numbers read from a file, empties the caches.
_build/.executed-with: $(LIBRARY) constraints.txt book/hub.json
	@rm -rf _build/.jupyter_cache _build/.doctrees && mkdir -p _build && touch $@

book: venv _build/.executed-with
	$(BUSY) $(BIN)/jupyter-book build --warningiserror --keep-going .

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

pdf: book
	$(BIN)/python tests/browser/pdf.py

lab: venv
	$(BIN)/jupyter lab book

# Needs no network and no Python: unpack it, on a USB stick if need be, and open index.html.
classroom: book
	@$(BIN)/python -c "import shutil; print(shutil.make_archive('_build/weight-decay-classroom', 'zip', '_build/html'))"

present: venv
	$(BIN)/voila --Voila.config_file_paths=present

test: venv
	@$(BIN)/python tests/browser/chromium.py
	$(MAKE) lint book unit nbval browser

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

unit: venv
	$(PYTEST) tests/unit

nbval: venv
	$(PYTEST) --nbval-lax --nbval-sanitize-with tests/nbval.cfg book

browser: classroom
	$(PYTEST) tests/browser

lighthouse: book
	$(BIN)/python tests/lighthouse.py $(PAGES)

bench: book
	$(BIN)/python tests/bench.py

bench-kernels: venv
	$(BIN)/python tests/bench_kernels.py

notebooks: venv
	TQDM_DISABLE=1 $(BIN)/python tests/notebooks.py book/*.ipynb

# What takes minutes or hours is recorded in book/*.nc. Stopped half way, 'make notebooks' goes on where it was.
recompute: venv
	@test -n "$(CHAPTER)" || { echo "Say which: make recompute CHAPTER=adamw (or any chapter in book/ with .nc files)."; exit 1; }
	@test -f book/$(CHAPTER).ipynb || { echo "There is no book/$(CHAPTER).ipynb."; exit 1; }
	rm -rf _build/store book/$(CHAPTER).nc book/$(CHAPTER)-*.nc
	$(BIN)/python tests/notebooks.py book/$(CHAPTER).ipynb

lock: venv
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip --exclude wheel --exclude mxnet | sed 's/+cpu$$//' > constraints.txt

# Colab's versions in an environment of their own, some gigabytes; the library is installed by the chapters' own cells.
.venv-colab/.installed: tests/colab/requirements.txt
	@$(COLAB_PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 13))' || \
	  { echo "Colab has Python 3.13, and '$(COLAB_PYTHON)' is none: install it, or say where it is with 'make test-colab COLAB_PYTHON=...'."; exit 1; }
	$(COLAB_PYTHON) -m venv --clear .venv-colab
	.venv-colab/bin/python -m pip install --quiet --requirement $<
	.venv-colab/bin/python -m ipykernel install --sys-prefix
	@touch $@

test-colab: venv .venv-colab/.installed
	JUPYTER_PATH=$(CURDIR)/.venv-colab/share/jupyter TQDM_DISABLE=1 $(BIN)/python -m pytest tests/colab

clean:
	rm -rf .venv .venv-colab _build
