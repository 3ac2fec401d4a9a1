# Every target sets up what it needs. Only Python 3.11 or newer and make are assumed.
PYTHON ?= python3
COLAB_PYTHON ?= python3.13
PORT ?= 8000
BIN := .venv/bin
MXNET := mxnet==1.9.1
# Threads that share a sum decide how it is rounded, so whatever make runs has one and repeats itself. Processes, as many as
# there are cores, need no more. Only nbval takes two: what a chapter prints must not depend on their number.
export OMP_NUM_THREADS := 1
NO_BARS := TQDM_DISABLE=1
PYTEST := $(NO_BARS) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
# With other versions than the pinned ones 'make nbval NBVAL=--nbval-lax' runs the chapters and compares nothing.
NBVAL := --nbval
LIBRARY := $(wildcard src/weightdecay/*.py)
.NOTPARALLEL:
.PHONY: help venv chromium book serve pdf lab classroom present test lint unit nbval browser test-colab test-frameworks test-pretended-gpu check-gpu lighthouse bench bench-kernels notebooks recompute minilm lock clean

help:
	@echo "make book      build the site into _build/html"
	@echo "make serve     build it, then serve it on http://127.0.0.1:$(PORT)"
	@echo "make pdf       print it into _build/weight-decay.pdf"
	@echo "make lab       open the chapters in JupyterLab, where the sliders retrain"
	@echo "make classroom one zip of the site that opens from a USB stick, with no network"
	@echo "make present   show the demos without code, retraining, on http://127.0.0.1:8866"
	@echo "make test      lint, unit tests, every notebook, browser tests"
	@echo "make test-colab   the install cell, every notebook and a slider with Colab's versions (needs Python 3.13)"
	@echo "make test-frameworks  what the converter says of Keras, Optax and others, with these libraries"
	@echo "make test-pretended-gpu   every chapter on a GPU that is only pretended"
	@echo "make check-gpu each chapter's live training on a real GPU against the CPU, for book/hub.md"
	@echo "make lighthouse   measure every page on a phone, with Lighthouse (needs Node and a Chromium)"
	@echo "make bench     time retraining, sweeping and drawing"
	@echo "make bench-kernels   measure what a class with kernels needs, for book/hub.md"
	@echo "make notebooks run every chapter and store its outputs in the file"
	@echo "make recompute CHAPTER=adamw   train again what a chapter has on record"
	@echo "make minilm    fine-tune again the pretrained BERT of in-practice (an hour of two cores, two packages)"
	@echo "make lock      renew constraints.txt from what is installed"

venv: .venv/.installed
.venv/.installed: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The book needs Python 3.11 or newer as '$(PYTHON)': install it, or name another with 'make PYTHON=python3.12 ...'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "This Python cannot make virtual environments: install its venv package (on Debian and Ubuntu: python3-venv)."; exit 1; }
	@test ! -e .venv -o -e $@ || { echo "Here is a .venv that make did not make. Move it away; or, if the book is installed in it, run 'touch $@'."; exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch -t 200001010000 $@
	$(BIN)/python -m pip install --quiet --upgrade pip==26.3
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --constraint constraints.txt --editable .
	@$(BIN)/python -m pip install --quiet --no-deps $(MXNET) 2>/dev/null || \
	  echo "MXNet 1.9.1 could not be installed (it has no package for Windows and Apple's processors): the Gluon chapter will replay what was recorded."
	@touch $@

# Executed chapters are cached by their own text alone, so a change of the library, or of numbers read from a file, empties the caches.
_build/.executed-with: $(LIBRARY) $(wildcard book/records/*.nc) constraints.txt book/hub.json $(wildcard book/gpu.json)
	@rm -rf _build/.jupyter_cache _build/.doctrees && mkdir -p _build && touch $@

# What the pages are laid out with: where that changes, all are written anew.
_build/.written-with: _config.yml $(wildcard book/_ext/*.py book/_static/* book/_theme/* book/_theme/*/* src/weightdecay/js/*.js src/weightdecay/*.css)
	@rm -rf _build/html _build/.doctrees && mkdir -p _build && touch $@

book: venv _build/.executed-with _build/.written-with
	$(NO_BARS) WEIGHTDECAY_TAPE=1 $(BIN)/jupyter-book build --warningiserror --keep-going .

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

pdf: chromium book
	$(BIN)/python tests/browser/pdf.py

lab: venv
	JUPYTER_CONFIG_PATH=present $(BIN)/jupyter lab book

# Needs no network and no Python: unpack it, on a USB stick if need be, and open index.html.
classroom: book
	@$(BIN)/python -c "import shutil; print(shutil.make_archive('_build/weight-decay-classroom', 'zip', '_build/html'))"

present: venv
	$(BIN)/voila --Voila.config_file_paths=present

# The browser that tests and prints: one that is there already, or else one that this gets.
chromium: venv
	@$(BIN)/python tests/browser/chromium.py

test: chromium
	$(MAKE) lint book unit nbval browser

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/python book/_ext/prose.py book/*.ipynb

unit: venv
	$(PYTEST) tests/unit

# Two threads each, on cores that are taken, must not wait for one another busily.
nbval: venv
	OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE $(PYTEST) $(NBVAL) book

browser: chromium classroom
	$(PYTEST) tests/browser

# Demos, faults and two chapters are in the unit tests; this is every chapter from top to bottom.
test-pretended-gpu: venv
	@for chapter in $(basename $(notdir $(wildcard book/*.ipynb))); do \
	  $(NO_BARS) MPLBACKEND=Agg $(BIN)/python tests/demos.py $$chapter || exit 1; done

check-gpu: venv
	$(NO_BARS) MPLBACKEND=Agg $(BIN)/python tests/check_gpu.py

lighthouse: chromium book
	$(BIN)/python tests/lighthouse.py $(PAGES)

bench: chromium book
	$(BIN)/python tests/bench.py

bench-kernels: venv
	$(BIN)/python tests/bench_kernels.py

notebooks: venv
	$(NO_BARS) $(BIN)/python tests/notebooks.py book/*.ipynb

# What takes minutes or hours is recorded in book/records. The old records are kept until there are new ones. Stopped
# half way, 'make notebooks' goes on where it was.
RECORDS := book/records
# The one record that no chapter makes: its program needs packages that the book does not.
MINILM := $(RECORDS)/in-practice-minilm.nc
recompute: venv
	@test -n "$(CHAPTER)" || { echo "Say which: make recompute CHAPTER=adamw (or any chapter with files in $(RECORDS))."; exit 1; }
	@test -f book/$(CHAPTER).ipynb || { echo "There is no book/$(CHAPTER).ipynb."; exit 1; }
	rm -rf $(RECORDS)/$(CHAPTER).runs
	mkdir -p $(RECORDS)/$(CHAPTER).before
	@for file in $(filter-out $(MINILM),$(wildcard $(RECORDS)/$(CHAPTER).nc $(RECORDS)/$(CHAPTER)-*.nc)); do mv $$file $(RECORDS)/$(CHAPTER).before; done
	$(NO_BARS) $(BIN)/python tests/notebooks.py book/$(CHAPTER).ipynb
	@cd $(RECORDS)/$(CHAPTER).before && for file in *.nc; do test ! -e ../$$file || rm $$file; done
	@rmdir $(RECORDS)/$(CHAPTER).before 2>/dev/null || \
	  echo "This run made no others of these, so they are still in $(RECORDS)/$(CHAPTER).before:" $$(ls $(RECORDS)/$(CHAPTER).before)

# Its runs are kept too: what is missing of them is trained.
minilm: venv
	$(NO_BARS) $(BIN)/python tests/minilm.py

lock: venv
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip --exclude wheel --exclude mxnet > .venv/frozen.txt
	sed 's/+cpu$$//' .venv/frozen.txt > constraints.txt

# Colab's versions in an environment of their own, some gigabytes; the library is installed by the chapters' own cells.
.venv-colab/.installed: tests/colab/requirements.txt
	@$(COLAB_PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 13))' || \
	  { echo "Colab has Python 3.13, and '$(COLAB_PYTHON)' is none: install it, or say where it is with 'make test-colab COLAB_PYTHON=...'."; exit 1; }
	$(COLAB_PYTHON) -m venv --clear .venv-colab
	.venv-colab/bin/python -m pip install --quiet --requirement $<
	.venv-colab/bin/python -m ipykernel install --sys-prefix
	@touch $@

test-colab: chromium .venv-colab/.installed
	JUPYTER_PATH="$(CURDIR)/.venv-colab/share/jupyter" TQDM_DISABLE=1 $(BIN)/python -m pytest tests/colab

# What the converter speaks of and the book does without, in an environment of its own.
.venv-frameworks/.installed: tests/frameworks/requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv-frameworks
	.venv-frameworks/bin/python -m pip install --quiet --requirement $< --editable .
	@touch $@

test-frameworks: .venv-frameworks/.installed
	OMP_NUM_THREADS=1 .venv-frameworks/bin/python -m pytest tests/frameworks

clean:
	rm -rf .venv-colab .venv-frameworks _build $(RECORDS)/*.runs
	@test ! -e .venv/.installed || rm -rf .venv
