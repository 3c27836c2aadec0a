# Quantum transfer learning on precomputed features. `make help` lists what there is.

DATA     = hymenoptera
BACKBONE = resnet18
WEIGHTS  = IMAGENET1K_V1
OUT     = out
ARGS    =
IMAGES  =
OFFLINE =
INDEX   =
SEEDS   = 20
FOLDS   = 5
TRIALS  = 50

# Without PYTHON=…, an environment of our own in .venv, made when it is needed; and in it each extra of pyproject.toml
# that a target needs, when it needs it.
ifeq ($(origin PYTHON),undefined)
PYTHON = .venv/bin/python
READY  = .venv/.ready
extra  = $(1:%=.venv/.ready-%)
endif
FLAGS  = $(ARGS) $(FEATURES_ARGS) $(TRAIN_ARGS) $(EVAL_ARGS)
ASKED  = $(if $(findstring engine ray,$(FLAGS))$(findstring engine=ray,$(FLAGS)),ray) \
         $(if $(findstring qiskit,$(FLAGS)),qiskit) $(if $(filter %.parquet,$(DATA)),parquet)

ifneq ($(words $(OUT)),1)
$(error OUT is "$(OUT)"; make can't work in a folder whose name has spaces: choose another)
endif

STAGES = features compare train eval predict demo export
GOAL   = $(or $(lastword $(filter $(STAGES),$(MAKECMDGOALS))),eval)

# FORCE if a picture, a folder or the weights file has changed since stage 1 last looked, or its result is gone; and for
# a list, whose pictures may lie anywhere.
CHANGED = $(shell [ -e '$(OUT)/features.h5' ] \
            && [ -z "$(filter %.csv %.parquet,$(DATA))" ] \
            && [ -z "$$(find -L '$(DATA)' '$(WEIGHTS)' -newer '$(OUT)/.features.done' 2>/dev/null | head -n 1)" ] \
            || echo FORCE)

.DEFAULT_GOAL = help
.PHONY: help install $(STAGES) paper sweep test test-slow bench bench-peers lint format clean FORCE
.PRECIOUS: $(OUT)/features.h5 $(OUT)/run/run.json $(OUT)/run/report.html

demo: | $(call extra,demo)
sweep: | $(call extra,sweep)
test test-slow lint format: | $(call extra,dev)
$(STAGES) paper sweep: | $(call extra,$(ASKED))

help: ## list the targets and variables
	@echo 'make eval sets everything up, then runs the three stages: features, train, eval.'
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
	@echo
	@echo 'Variables (give the same ones to every stage):'
	@echo '  DATA=FOLDER     images in train/CLASS/ and val/CLASS/  (default: the ants and bees of the demo);'
	@echo '                  or in CLASS/, with ARGS="--split 0.2"; or a .csv or .parquet list; or a torchvision'
	@echo '                  data set by name: cifar10, oxford-iiit-pet, …'
	@echo '  BACKBONE=NAME   the frozen network, any of torchvision'\''s: python -m features --list-backbones'
	@echo '  WEIGHTS=FILE    its state_dict, or a name  (default: IMAGENET1K_V1, torchvision'\''s download)'
	@echo '  OUT=FOLDER      where results go  (default: out)'
	@echo '  ARGS="--FLAG …" further flags, each for the stage that has it: see python -m features --help,'
	@echo '                  python -m pipeline train|eval|predict|… --help'
	@echo '  IMAGES="A B/"   pictures or folders for make predict'
	@echo '  SEEDS=N FOLDS=K repetitions of make compare and make paper, folds of compare  (default: 20 and 5)'
	@echo '  TRIALS=N        settings that make sweep tries  (default: 50)'
	@echo '  OFFLINE=1       download nothing: use the packaged features'
	@echo '  PYTHON=PATH     an existing environment instead of .venv'
	@echo '  INDEX=URL       where to install torch and torchvision from, for example'
	@echo '                  https://download.pytorch.org/whl/cpu (PyTorch without CUDA: 5 GB less)'

install: $(READY) ## make .venv and install the project into it

features: $(OUT)/features.h5 ## stage 1: images -> OUT/features.h5, by one pass of the frozen backbone
	$(if $(MADE),,@echo '$< is up to date')

train: $(OUT)/run/run.json ## stage 2: features -> OUT/run/, a trained quantum head
	$(if $(MADE),,@echo '$(OUT)/run/head.safetensors is up to date')

eval: $(OUT)/run/report.html ## stage 3: head + backbone -> OUT/run/report.html, report.json, pictures
	$(if $(MADE),,@echo '$< is up to date')

predict: $(OUT)/run/run.json ## classify your pictures: IMAGES="a.jpg folder/"
	@set -e; flags=$$($(call flags,predict)); \
	eval "$(PYTHON) -m pipeline predict --run '$(OUT)/run' $$flags $(IMAGES)"

demo: $(OUT)/run/run.json ## a local web page to drop pictures on
	@set -e; flags=$$($(call flags,demo)); \
	eval "exec $(PYTHON) -m pipeline demo --run '$(OUT)/run' $$flags"

export: $(OUT)/run/run.json ## the whole network for other programs -> OUT/run/model.onnx, model.pth
	@set -e; flags=$$($(call flags,export)); eval "$(PYTHON) -m pipeline export '$(OUT)/run' $$flags"

compare: $(OUT)/features.h5 ## does the quantum part help? all heads, paired seeds and folds -> OUT/compare/
	@set -e; flags=$$($(call flags,compare)); \
	eval "$(PYTHON) -m pipeline compare --features '$(OUT)/features.h5' --out '$(OUT)/compare' --seeds '$(SEEDS)' --folds '$(FOLDS)' $$flags"

paper: $(OUT)/features.h5 ## the paper's systems, each with the published number beside ours -> OUT/paper/
	$(PYTHON) -m pipeline.experiments.paper --features '$(OUT)/features.h5' --out '$(OUT)/paper' --weights '$(WEIGHTS)' --seeds '$(SEEDS)' $(ARGS)

sweep: $(OUT)/features.h5 ## search for good hyperparameters of the quantum head -> OUT/sweep/
	$(PYTHON) -m pipeline sweep --features '$(OUT)/features.h5' --out '$(OUT)/sweep' --trials '$(TRIALS)' $(ARGS)

test: lint ## lint, types and the quick tests: six minutes on two cores
	$(PYTEST)

test-slow: $(READY) ## the slow tests: every kill point, every backbone, long runs on Ray
	$(PYTEST) -m slow

bench: $(READY) ## time all stages against rivals -> OUT/bench/; leave the machine alone meanwhile
	$(PYTHON) -m pipeline.bench --targets tests/bench/targets.csv --extraction --out '$(OUT)/bench' $(BENCH_DATA) $(BENCH_WEIGHTS) $(ARGS)
	$(PYTHON) -m pipeline.bench --targets tests/bench/targets.csv --hybrid --out '$(OUT)/bench' $(BENCH_WEIGHTS) $(ARGS)
	$(PYTHON) -m pipeline.bench --targets tests/bench/targets.csv --out '$(OUT)/bench' $(ARGS)

bench-peers: $(READY) ## the same against TensorCircuit-NG and JAX, in an environment of their own
	$(PYTHON) -m pipeline.bench --targets tests/bench/targets.csv --peers --out '$(OUT)/bench' $(ARGS)

lint: $(READY) ## style and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: $(READY) ## put the code into the project's style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

clean: ## remove what the stages made in OUT; .venv and downloads stay
	rm -rf $(OUT)/features.h5 $(OUT)/features-*-of-*.h5 $(OUT)/.features.h5.parts $(OUT)/.features.done $(OUT)/.*.args \
	  $(OUT)/run $(OUT)/compare $(OUT)/bench $(OUT)/paper $(OUT)/sweep
	@rmdir $(OUT) 2>/dev/null || true

# uv installs several times as fast as pip. Where it is not to be had, or fails, pip does the same. uv reads none of pip's
# settings, so this machine's indexes and constraints are handed to it; UV_… variables count more. All that they say goes
# to standard error: standard output is for programs.
UV  = $(or $(shell command -v uv),.venv/bin/uv)
PIP = .venv/bin/python -m pip
add = { set -a; eval "$$($(settings))"; set +a; $(UV) pip install --python .venv/bin/python $(1) \
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

# Each stage runs again when an earlier one made something new, or when its own flags, kept in OUT/.STAGE.args, change.
$(OUT)/features.h5: $(OUT)/.features.done
	@:

# Stage 1 itself decides by fingerprints whether to compute; this file only says when it last looked.
$(OUT)/.features.done: $(OUT)/.features.args $(CHANGED)
	$(eval MADE = yes)@set -e; flags=$$(cat $(OUT)/.features.args); eval "$(PYTHON) -m features --out '$(OUT)/features.h5' $$flags"
	@touch $@

$(OUT)/run/run.json: $(OUT)/features.h5 $(OUT)/.train.args
	$(eval MADE = yes)@set -e; flags=$$(cat $(OUT)/.train.args); \
	eval "$(PYTHON) -m pipeline train --features '$(OUT)/features.h5' --out '$(OUT)/run' $$flags $(filter --resume,$(ARGS))"

$(OUT)/run/report.html: $(OUT)/run/run.json $(OUT)/.eval.args
	$(eval MADE = yes)@set -e; flags=$$(cat $(OUT)/.eval.args); eval "$(PYTHON) -m pipeline eval --run '$(OUT)/run' $$flags"

$(OUT)/.%.args: FORCE | $(READY)
	@mkdir -p $(OUT)
	@set -e; flags=$$($(call flags,$*)); echo "$(STAGE_FLAGS_$*) $$flags" > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

PYTEST = $(PYTHON) -m pytest -q -n 2 --no-loadscope-reorder $(ARGS)
BENCH_DATA = $(if $(filter-out hymenoptera,$(DATA)),--data '$(DATA)')
BENCH_WEIGHTS = $(if $(filter-out IMAGENET1K_V1,$(WEIGHTS)),--weights '$(WEIGHTS)')
STAGE_FLAGS_features = --data '$(DATA)' --backbone '$(BACKBONE)' --weights '$(WEIGHTS)' $(if $(OFFLINE),--offline)
flags = $(if $(ARGS),$(PYTHON) -m pipeline.flags $(1) $(GOAL) $(filter-out --resume,$(ARGS)),:)
