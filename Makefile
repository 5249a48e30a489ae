# Every target sets itself up: a bare python3 (3.11 or 3.12 tested) with pip and a package index are enough.
PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# `make demo ALFWORLD_DATA=DIR_OR_ARCHIVE` plays real games; unset, the demo generates its own.
GAMES := $(if $(ALFWORLD_DATA),$(if $(findstring OREO-Reasoning,$(ARGS)),,--games "$(ALFWORLD_DATA)"))
GAME_FILES = $(or $(wildcard $(ALFWORLD_DATA)/*.tar.*),"$(ALFWORLD_DATA)")
BENCH := $(BIN)/python benchmarks

# Every table is a target of its own, bench-NAME, so that one that fails does not keep the others from being made.
TABLES := train-speed rollout-speed smoke math-procedural textworld-cooking textworld-speed whole-path whole-path-math \
    habits countdown jugs shortest_path sokoban four-turns
MATH_TABLES := math-grading
EPISODE_TABLES := import-replay
GAME_TABLES := record-speed alfworld-speed alfworld-parity drop-in drop-in-parity whole-path-real small alfworld-small alfworld-generated
MADE := $(TABLES) $(if $(MATH_DATA),$(MATH_TABLES)) $(if $(ALFWORLD_DATA),$(if $(EPISODES),$(EPISODE_TABLES)) $(GAME_TABLES))
ALL := $(addprefix bench-,$(TABLES) $(MATH_TABLES) $(EPISODE_TABLES) $(GAME_TABLES))
need = @$(if $($1),:,echo "$@ takes $1=DIR" >&2; exit 2)

# Several test processes with one thread each finish sooner than one process with many; nothing is downloaded; what one
# process compiles the next one finds.
TEST_ENV := PYTHONDONTWRITEBYTECODE= HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false MPLBACKEND=agg

.PHONY: demo test test-long audit check docs bench $(ALL) install clean
.NOTPARALLEL: # one heavy job at a time: tests and suites have processes of their own

demo: $(STAMP)
	$(BIN)/oreo-agents demo $(GAMES) $(ARGS)

test: $(STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist worksteal $(ARGS)

# `make test` runs about a minute of tests/robustness; here all of it: interruptions, disks, mutated files; as many of
# TextWorld's games as are promised; and four processes of two machines.
test-long: $(STAMP)
	LONG=1 $(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 -s tests/robustness tests/envs/textworld tests/training/test_distributed.py $(ARGS)

# What any index can say of what is installed; advisories need the internet (SECURITY.md).
audit: $(STAMP)
	$(BIN)/python -m pip check
	$(BIN)/python -m pip list --outdated

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in build/site: every block of code is run first, and a broken link or name is an error.
docs: $(STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest tests/test_documents.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)
	@printf 'not made: %s\n' $(filter-out $(addprefix bench-,$(MADE)),$(ALL)) "alfworld-paper gsm8k math500 (they want a GPU)" "alfworld-thoughts (hours)"
	$(MAKE) --keep-going $(addprefix bench-,$(MADE))

$(ALL): $(STAMP)
SUITES := smoke math-procedural textworld-cooking whole-path whole-path-math habits countdown jugs shortest_path sokoban
$(addprefix bench-,$(SUITES)): bench-%:
	$(BENCH)/run.py --suite $* $(ARGS)
bench-alfworld-small bench-alfworld-generated bench-whole-path-real: bench-%:
	$(call need,ALFWORLD_DATA)
	$(BENCH)/run.py --suite $* --data "$(ALFWORLD_DATA)" $(ARGS)
bench-small:
	$(call need,ALFWORLD_DATA)
	$(BENCH)/make_assets/train_small.py --agent small --games "$(ALFWORLD_DATA)"
bench-four-turns:
	$(BENCH)/correctness/four_turns.py
bench-train-speed:
	OMP_NUM_THREADS=1 $(BENCH)/speed/train.py
bench-rollout-speed:
	$(BENCH)/speed/rollout.py --episodes 16 --repeats 6
bench-textworld-speed:
	$(BENCH)/speed/textworld_rollout.py
bench-record-speed:
	$(call need,ALFWORLD_DATA)
	ALFWORLD_DATA="$(ALFWORLD_DATA)" $(BENCH)/speed/record.py --split train
bench-alfworld-speed:
	$(call need,ALFWORLD_DATA)
	$(BENCH)/speed/engine.py --games $(GAME_FILES)
bench-alfworld-parity:
	$(call need,ALFWORLD_DATA)
	$(BENCH)/correctness/alfworld_parity.py --games $(GAME_FILES) --generated 100 --varied 40 --steps 25 --jobs $(JOBS)
bench-drop-in:
	$(call need,ALFWORLD_DATA)
	$(BENCH)/speed/drop_in.py --games $(GAME_FILES)
bench-drop-in-parity:
	$(call need,ALFWORLD_DATA)
	$(BENCH)/correctness/drop_in_parity.py --games $(GAME_FILES) --jobs $(JOBS)
bench-import-replay:
	$(call need,ALFWORLD_DATA)
	$(call need,EPISODES)
	ALFWORLD_DATA="$(ALFWORLD_DATA)" $(BENCH)/correctness/import_replay.py --episodes "$(EPISODES)"
bench-math-grading:
	$(call need,MATH_DATA)
	$(BENCH)/correctness/math_grading.py --data "$(MATH_DATA)"

install: $(STAMP)

# What TextWorld needs is compiled, up to Python 3.12: said before minutes of building.
NO_COMPILER := there is no C++ compiler, with which parts of TextWorld are built: install one (apt install build-essential), \
    or take Python 3.13 (make install PYTHON=python3.13), where TextWorld and what plays on it are left out

# Debian's python3 comes without ensurepip: there the environment borrows the pip that python3 has.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(firstword $(CXX)) >/dev/null || command -v c++ >/dev/null || $(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 13))" || \
	    { echo "$(NO_COMPILER)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || $(PYTHON) -m venv --without-pip $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(BIN)/python install --quiet pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,peft]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
