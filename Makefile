# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
RECORDING ?=
OUTPUT ?= demo_output
# Test files run side by side in this many processes, each with one thread for arithmetic.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 python3 -m pytest -n $(WORKERS) --dist loadfile

# A sourced ROS or another environment must not leak into ours.
CLEAN_ENV = env -u PYTHONPATH -u PYTHONHOME -u AMENT_PREFIX_PATH -u CMAKE_PREFIX_PATH \
	-u COLCON_PREFIX_PATH -u LD_LIBRARY_PATH -u _ROS_WHEELS_BOOTSTRAP_COMPLETE -u ROS_DISTRO
RUN = $(CLEAN_ENV) PATH="$(CURDIR)/$(VENV)/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)"

.PHONY: help setup demo test test-numpy1 lint format docs bench bench-geometry bench-segmentation \
	bench-streaming soak chaos clean

help:  ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

setup:  ## Virtual environment, pinned wheels, messages (quick when nothing changed)
	@$(CLEAN_ENV) $(PYTHON) tools/setup_environment.py --venv $(VENV)

demo: setup  ## An RGB-D recording through ROS 2 into a metric map (RECORDING=folder-or-bag, OUTPUT=folder)
	@$(RUN) sensorium demo --output "$(OUTPUT)" $(if $(RECORDING),--recording "$(RECORDING)")

test: setup lint  ## Lint, types and every test
	@$(RUN) $(PYTEST)
	@$(MAKE) --no-print-directory test-numpy1

test-numpy1: setup  ## The tests of the ROS-free library again, under NumPy 1.26
	@test -d $(VENV)/numpy1/numpy || $(RUN) python3 -m pip install -q --disable-pip-version-check \
		--no-deps --target $(VENV)/numpy1 numpy==1.26.4
	@$(RUN) PYTHONPATH=$(VENV)/numpy1 $(PYTEST) tests/unit -q -p no:cacheprovider \
		--ignore-glob='*ros*' --no-header -W ignore

lint: setup  ## ruff and mypy
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) python3 tools/typecheck.py

format: setup  ## Format the code
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

docs: setup  ## Regenerate the parameter tables and default parameter files from the configuration
	@$(RUN) python3 tools/generate_docs.py

bench: setup  ## Benchmarks; writes benchmarks/results/*.json
	@$(RUN) python3 benchmarks/run.py

bench-geometry: setup  ## OmniVGGT at full size against the plain forward (5 GB of memory, minutes)
	@$(RUN) python3 benchmarks/geometry_model.py

bench-segmentation: setup  ## FC-CLIP at full size against the plain forward (5 GB of memory, minutes)
	@$(RUN) python3 benchmarks/segmentation_model.py --repeats 5

bench-streaming: setup  ## Streaming against recomputation, over hops and networks
	@$(RUN) python3 benchmarks/streaming.py

soak: setup  ## Long runs, 40 minutes (SECONDS=600 for less): memory and latency over time
	@$(RUN) python3 benchmarks/soak.py
	@$(RUN) python3 benchmarks/signal_soak.py

chaos: setup  ## Faults and fuzzing of the running stack (MESSAGES=10000 per topic); ends with a table
	@$(RUN) python3 chaos/run.py --messages $(or $(MESSAGES),10000)

clean:  ## Remove what was built (the environment too)
	rm -rf $(VENV) build install log demo_output *.egg-info .mypy_cache .ruff_cache .pytest_cache
