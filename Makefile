# Every target sets itself up: a bare python3 (3.11 or 3.12 tested) with pip and a package index are enough.
PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# `make demo ALFWORLD_DATA=DIR_OR_ARCHIVE` plays real games; unset, the demo generates its own.
GAMES := $(if $(ALFWORLD_DATA),--games "$(ALFWORLD_DATA)")
GAME_FILES = $(or $(wildcard $(ALFWORLD_DATA)/*.tar.*),"$(ALFWORLD_DATA)")
BENCH := $(BIN)/python benchmarks
# Several test processes with one thread each finish sooner than one process with many; nothing is downloaded.
TEST_ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false MPLBACKEND=agg

.PHONY: demo test check bench install clean

demo: $(STAMP)
	$(BIN)/oreo-agents demo $(GAMES) $(ARGS)

test: $(STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist worksteal $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BENCH)/run.py --suite smoke $(ARGS)
	$(BENCH)/run.py --suite math-procedural $(ARGS)
	$(BENCH)/whole_path.py
	$(BENCH)/whole_path.py --env OREO-Reasoning --seeds 0
	OMP_NUM_THREADS=1 $(BENCH)/train_speed.py
	$(BENCH)/rollout_speed.py --episodes 16 --repeats 6
ifdef ALFWORLD_DATA
	$(BENCH)/run.py --suite alfworld-small --data "$(ALFWORLD_DATA)" $(ARGS)
	$(BENCH)/run.py --suite alfworld-generated --data "$(ALFWORLD_DATA)" $(ARGS)
	$(BENCH)/whole_path.py --games "$(ALFWORLD_DATA)" --seeds 0
	$(BENCH)/train_small.py --agent small --games "$(ALFWORLD_DATA)"
	ALFWORLD_DATA="$(ALFWORLD_DATA)" $(BENCH)/record_speed.py --split train
	$(BENCH)/alfworld_speed.py --games $(GAME_FILES)
	$(BENCH)/alfworld_parity.py --games $(GAME_FILES) --generated 100 --varied 40 --steps 25 --jobs $(JOBS)
else
	@echo "skipped: what needs ALFWorld's games; run make bench ALFWORLD_DATA=DIR"
endif
ifdef EPISODES
	ALFWORLD_DATA="$(ALFWORLD_DATA)" $(BENCH)/import_replay.py --episodes "$(EPISODES)"
else
	@echo "skipped: imported episodes; run make bench ALFWORLD_DATA=DIR EPISODES=DIR"
endif
ifdef MATH_DATA
	$(BENCH)/math_grading.py --data "$(MATH_DATA)"
else
	@echo "skipped: grading of GSM8K and MATH; run make bench MATH_DATA=DIR"
endif
	@echo "skipped: alfworld-paper, gsm8k and math500, which want a GPU; benchmarks/README.md has their commands"

install: $(STAMP)

# Debian's python3 comes without ensurepip: there the environment borrows the pip that python3 has.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || $(PYTHON) -m venv --without-pip $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(BIN)/python install --quiet pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,peft]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
