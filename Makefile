# make demo and make test set up what they need by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test check format bench quality report clean \
	plant-up plant-run plant-line plant-status plant-logs plant-down plant-clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/fedpatchcore demo

# Stops at nothing: every failure is shown, slow tests last in the list of durations. Side by side;
# `pytest tests/some/test.py` by hand is one process. tests/conftest.py says which go together.
test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=10

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The peers have an environment of their own: Flower pins packages that they need otherwise.
# About ten minutes on two free cores; `python benchmarks/run.py --quick` takes a few. With
# EVALUATOR=CHECKOUT/evaluate_experiment.py (and EVALUATOR_PYTHON=, which has what it needs) the
# AutoVI evaluation code is a peer, too; it is not downloaded.
BENCH := .venv-bench
EVALUATOR ?=
EVALUATOR_PYTHON ?=
$(BENCH)/.ready:
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet anomalib faiss-cpu
	touch $(BENCH)/.ready

bench: $(READY) $(BENCH)/.ready
	$(BIN)/python benchmarks/run.py --anomalib-python $(BENCH)/bin/python \
		$(if $(EVALUATOR),--evaluator $(EVALUATOR)) \
		$(if $(EVALUATOR_PYTHON),--evaluator-python $(EVALUATOR_PYTHON))

# How well parts are judged: the drawn set, or the parts of DATA="FOLDER FOLDER", with settings as
# SET="KEY=VALUE KEY=VALUE"; runs that are there are not repeated. `make quality IN_PROCESS=1` leaves
# Flower's processes out, PEER=1 sets anomalib up and compares with it.
DATA ?=
SET ?=
PEER ?=
IN_PROCESS ?=
NAME ?=
quality: $(READY) $(if $(PEER),$(BENCH)/.ready)
	$(BIN)/python benchmarks/quality.py $(DATA) $(foreach word,$(SET),--set $(word)) \
		$(if $(NAME),--name $(NAME)) $(if $(IN_PROCESS),--in-process) \
		$(if $(PEER),--anomalib-python $(BENCH)/bin/python)

# One page about every run below RUNS.
RUNS ?= outputs
report: $(READY)
	$(BIN)/fedpatchcore report $(RUNS) --out $(RUNS)

# A plant in containers: needs Docker alone. deploy/plant.sh says what each does and may be given,
# as `make plant-run SET="global-bank-size=5000"`.
plant-up plant-run plant-line plant-status plant-logs plant-down plant-clean:
	@deploy/plant.sh $(@:plant-%=%)

clean:
	rm -rf $(VENV) $(BENCH) outputs build dist
