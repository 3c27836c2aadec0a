# Quantum transfer learning on precomputed features. `make help` lists what there is.

OUT = out
# Each empty: then a stage takes what OUT's records say, or its own default.
DATA          =
FEATURES      =
BACKBONE      =
WEIGHTS       =
OFFLINE       =
IMAGES        =
SEEDS         =
FOLDS         =
TRIALS        =
ARGS          =
FEATURES_ARGS =
TRAIN_ARGS    =
EVAL_ARGS     =
INDEX         =
export OUT DATA FEATURES BACKBONE WEIGHTS OFFLINE IMAGES SEEDS FOLDS TRIALS ARGS FEATURES_ARGS TRAIN_ARGS EVAL_ARGS

# Without PYTHON=…, an environment of our own in .venv, made when it is needed; and in it each extra of pyproject.toml
# that a target needs, when it needs it.
ifeq ($(origin PYTHON),undefined)
PYTHON = .venv/bin/python
READY  = .venv/.ready
extra  = $(1:%=.venv/.ready-%)
endif
FLAGS  = $(ARGS) $(FEATURES_ARGS) $(TRAIN_ARGS) $(EVAL_ARGS)
ASKED  = $(if $(findstring engine ray,$(FLAGS))$(findstring engine=ray,$(FLAGS)),ray) \
         $(if $(filter timm:%,$(BACKBONE)),timm) $(if $(filter hf:%,$(BACKBONE)),hf) $(if $(findstring qiskit,$(FLAGS)),qiskit) $(if $(filter %.parquet,$(DATA) $(FEATURES)),parquet)

STAGES = features train eval predict demo export compare claims paper sweep diagnose
GOALS  = $(filter $(STAGES),$(MAKECMDGOALS))

.DEFAULT_GOAL = help
.PHONY: help install $(STAGES) test test-slow bench bench-peers lint format api clean
.NOTPARALLEL:

sweep: | $(call extra,sweep)
test test-slow lint format api: | $(call extra,dev)
$(STAGES): | $(call extra,$(ASKED))

help: ## list the targets and variables
	@echo 'make eval sets everything up, then runs the three stages: features, train, eval.'
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
	@echo
	@echo 'Variables. In an OUT that holds features or a run, what is not given is as recorded there:'
	@echo '  DATA=FOLDER     images in train/CLASS/ and val/CLASS/  (default: the ants and bees of the demo);'
	@echo '                  or in CLASS/, with FEATURES_ARGS="--split 0.2"; or a .csv or .parquet list; or a'
	@echo '                  torchvision data set by name: cifar10, oxford-iiit-pet, …; or medmnist:NAME'
	@echo '  FEATURES=FILE   rows of features of your own, in place of pictures: .npz, .parquet, .csv, .h5, .pt, …'
	@echo '  BACKBONE=NAME   the frozen network, any of torchvision'\''s, timm:NAME, hf:REPOSITORY: python -m features --list-backbones'
	@echo '  WEIGHTS=FILE    its state_dict, or a name  (default: IMAGENET1K_V1, torchvision'\''s download)'
	@echo '  OUT=FOLDER      where results go  (default: out)'
	@echo '  ARGS="--FLAG …" further flags of the target you name: make train ARGS="--qubits 6"; they are listed by'
	@echo '                  python -m features --help, python -m pipeline train|eval|predict|… --help'
	@echo '  FEATURES_ARGS, TRAIN_ARGS, EVAL_ARGS   flags of a stage on the way: make eval TRAIN_ARGS="--qubits 6"'
	@echo '  IMAGES="A B/"   pictures or folders for make predict; one with a space alone, or quoted in the quotes'
	@echo '  SEEDS=N FOLDS=K repetitions of make compare, claims and paper, folds of the first two  (default: 20 and 5)'
	@echo '  TRIALS=N        settings that make sweep tries  (default: 50)'
	@echo '  OFFLINE=1       download nothing: use the packaged features'
	@echo '  PYTHON=PATH     an existing environment instead of .venv'
	@echo '  INDEX=URL       where to install torch and torchvision from, for example'
	@echo '                  https://download.pytorch.org/whl/cpu (PyTorch without CUDA: 5 GB less)'

install: $(READY) ## make .venv and install the project into it

features: ## stage 1: images -> OUT/features.h5, by one pass of the frozen backbone
train: ## stage 2: features -> OUT/run/, a trained quantum head
eval: ## stage 3: head + backbone -> OUT/run/report.html, report.json, pictures
predict: ## classify your pictures: IMAGES="a.jpg folder/"
demo: ## a local web page to drop pictures on
export: ## the whole network for other programs -> OUT/run/model.onnx, model.pth
compare: ## does the quantum part help? all heads, paired seeds and folds -> OUT/compare/
claims: ## published statements about quantum heads, put to the test -> OUT/claims/
paper: ## the paper's systems, each with the published number beside ours -> OUT/paper/
sweep: ## search for good hyperparameters of the quantum head -> OUT/sweep/
diagnose: ## what circuits can do: entanglement, expressibility, gradients, … -> OUT/diagnose/

# All goals are made by one process, which reads the flags of all stages before it starts the first.
$(STAGES): $(READY)
	@$(if $(filter $@,$(firstword $(GOALS))),exec $(PYTHON) -m pipeline.stages $(GOALS),:)

test: lint ## lint, types and the quick tests: eight minutes on two cores
	$(PYTEST)

test-slow: $(READY) ## the slow tests: every kill point, every backbone, long runs on Ray
	$(PYTEST) -m slow

bench: $(READY) ## time all stages against rivals -> OUT/bench/; leave the machine alone meanwhile
	$(PYTHON) -m pipeline.bench --targets tests/bench/targets.csv --extraction --out "$$OUT/bench" $(BENCH_DATA) $(BENCH_WEIGHTS) $(ARGS)
	$(PYTHON) -m pipeline.bench --targets tests/bench/targets.csv --hybrid --out "$$OUT/bench" $(BENCH_WEIGHTS) $(ARGS)
	$(PYTHON) -m pipeline.bench --targets tests/bench/targets.csv --out "$$OUT/bench" $(ARGS)

bench-peers: $(READY) ## the same against TensorCircuit-NG and JAX, in an environment of their own
	$(PYTHON) -m pipeline.bench --targets tests/bench/targets.csv --peers --out "$$OUT/bench" $(ARGS)

lint: $(READY) ## style and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: $(READY) ## put the code into the project's style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

api: $(READY) ## pipeline/API.md, the page of public names, from their docstrings
	$(PYTHON) tests/api_page.py

# Mistakes in the flags of `make clean eval ARGS=…` are told before anything goes.
clean: ## remove what the stages made in OUT, and nothing else; .venv and downloads stay
	@$(if $(GOALS),! command -v $(PYTHON) >/dev/null || $(PYTHON) -m pipeline.stages --check $(GOALS))
	@$(if $(READY),python3,$(PYTHON)) -m pipeline.clean "$$OUT"

# uv installs several times as fast as pip. Where it is not to be had, or fails, pip does the same. uv reads none of pip's
# settings, so this machine's indexes and constraints are handed to it; UV_… variables count more. Compiled at once, as pip
# does, the libraries start fast at first use. All that they say goes to standard error: standard output is for programs.
UV  = $(or $(shell command -v uv),.venv/bin/uv)
PIP = .venv/bin/python -m pip
add = { set -a; eval "$$($(settings))"; UV_COMPILE_BYTECODE=1; set +a; $(UV) pip install --python .venv/bin/python $(1) \
  || { echo 'uv did not install it; pip does' && $(PIP) install $(1); }; } >&2
settings = $(PIP) config list | sed -nE -e 's/\\n/ /g' -e '/find-links=/s/ /,/g' \
  $(call handed,index-url,UV_DEFAULT_INDEX) $(call handed,find-links,UV_FIND_LINKS) $(call handed,constraint,UV_CONSTRAINT) \
  $(call handed,extra-index-url,UV_INDEX) -e 's/.*UV_INDEX=.*/UV_INDEX_STRATEGY=unsafe-best-match/p'
handed = -e 's/^.*\.$(1)=(.*)/$(2)=$${$(2):-\1}/p'

.venv/.ready: pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'error: this needs Python 3.11 or newer; python3 is:' >&2; python3 --version >&2; exit 2; }
	@echo 'Installing into .venv: one to five minutes, and 6 GB where torch brings CUDA (make help, INDEX: without)' >&2
	@python3 -m venv .venv >&2
	@command -v $(UV) >/dev/null || $(PIP) install --quiet uv >&2 || true
	$(if $(INDEX),@$(call add,--index-url '$(INDEX)' torch torchvision))
	@$(call add,-e '.[fast]')
	@touch $@

.venv/.ready-%: .venv/.ready
	@echo 'Adding to .venv what this needs: the extra $*' >&2
	@$(call add,-e '.[$*]')
	@touch $@

PYTEST = $(PYTHON) -m pytest -q -n 2 --no-loadscope-reorder $(ARGS)
BENCH_DATA = $(if $(DATA),--data "$$DATA")
BENCH_WEIGHTS = $(if $(WEIGHTS),--weights "$$WEIGHTS")
