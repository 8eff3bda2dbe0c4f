# `make demo` and `make test` set up what they need, into a cache outside the clone. See tools/host/bootstrap.py.
#   COMFYUI_PATH  use this ComfyUI     COMFYUI_PYTHON  and this interpreter     PYTHON  make the environment from this one
#   REALIGN_CACHE a folder to hold the cache, `realign` in it
SHELL := /bin/sh
# An interpreter to start with, of any age from 3.8: the environment's own is chosen by tools/host/environment.py.
START := $(or $(PYTHON),$(shell command -v python3 || command -v python))
BOOT := $(START) -m tools.host.bootstrap
OUT ?= out

.PHONY: help demo serve test test-thorough matrix bench bench-gpu bench-page toy particles rewards preference format python host clean-cache test-rewards front search peer test-ray bench-study evidence-exact evidence

help:
	@echo "make demo    a λ sweep on the demo models in a real ComfyUI; writes the grid and a clean picture to $(OUT)/"
	@echo "make serve   ComfyUI with this pack, open for the browser"
	@echo "make test    format, lint, types, and the core, host and browser tests"
	@echo "make test-thorough  more kinds of what the host tests show, and the benchmarks at their smallest"
	@echo "make test-rewards  the rewards that need packages of their own, with these packages, installed beside"
	@echo "make test-ray  studies by Ray, which is installed beside, on real processes"
	@echo "make matrix  the host tests on every ComfyUI that can be had, a line for each"
	@echo "make bench   time, model calls and memory beside the host's own nodes; writes benchmarks/results/speed.md, overhead.md"
	@echo "make bench-gpu  the same on a GPU, on models of real size with random weights; writes benchmarks/results/gpu.md"
	@echo "make toy     the whole method on a plane where the answer is known; prints a table, draws docs/toy.png"
	@echo "make particles  rewards, particles and the corrected mixture where the answer is known; benchmarks/results/particles.md"
	@echo "make rewards  what more of a reward costs, method beside method, on the demo models; benchmarks/results/rewards.md"
	@echo "make preference  rounds of stars by a simulated artist, on the demo models; benchmarks/results/preference.md"
	@echo "make front   two rewards at once: weighted sums, λ of two anchors, and choosing, on the demo models; benchmarks/results/front.md"
	@echo "make search  find the λ beside full grids, ten times, on the demo models; benchmarks/results/search.md"
	@echo "make peer    the papers' settings beside diffusers, installed beside: step by step and spacing; benchmarks/results/peer.md"
	@echo "make bench-study  studies: rows a minute on each back end, cost of a row, 100,000 rows; benchmarks/results/study.md"
	@echo "make evidence        does λ do what retraining does, in pictures of learned networks: hours; benchmarks/results/evidence.md"
	@echo "make evidence-exact  does λ do what retraining does, where the answer is known; benchmarks/results/evidence_exact.md"
	@echo "make bench-page  λ Compare in a real page: how soon, how much memory, frames a second; benchmarks/results/compare_page.md"
	@echo "make format  put the code into shape"
	@echo "make -s python, make -s host   print the interpreter and the ComfyUI in use"
	@echo "make clean-cache   remove what was set up; what evidence has measured and what serve has drawn stays"

python:
	@$(BOOT) python

host:
	@$(BOOT) host

demo:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && "$$python" -m tools.host.run_demo --host "$$host" --out "$(OUT)"

serve:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && "$$python" -m tools.host.serve --host "$$host"

test:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && browser="$$($(BOOT) browser)" && \
	  REALIGN_HOST="$$host" REALIGN_CHROMIUM="$$browser" "$$python" -m tools.host.run_tests

# The host tests that `make test` leaves out. ARGS: pytest's options, e.g. make test-thorough ARGS="-k devices"
test-thorough:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  REALIGN_HOST="$$host" OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$$python" -m pytest tests/host -m thorough \
	    -n auto --maxprocesses 4 --dist worksteal $(ARGS)

# ARGS: pytest's options, e.g. make test-rewards ARGS="-k rapidocr"
test-rewards:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  "$$python" -m tools.host.run_reward_tests --host "$$host" $(ARGS)

# ARGS: pytest's options, e.g. make test-ray ARGS="-k killed"
test-ray:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  REALIGN_HOST="$$host" "$$python" -m tools.host.run_ray_tests $(ARGS)

# ARGS: options of benchmarks/study.py, e.g. make bench-study ARGS="--small --out /tmp"
bench-study:
	@python="$$($(BOOT) python)" && "$$python" benchmarks/study.py $(ARGS)

# ARGS: options of tools/host/matrix.py, e.g. make matrix ARGS="--only 0.24.1 --host ~/ComfyUI"
matrix:
	@python="$$($(BOOT) python)" && "$$python" -m tools.host.matrix $(ARGS)

# ARGS: options of benchmarks/speed.py, e.g. make bench ARGS="--full --repeats 9"
bench:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  "$$python" benchmarks/speed.py --host "$$host" $(ARGS)

# ARGS: options of benchmarks/gpu.py, e.g. make bench-gpu ARGS="--kinds sdxl --minutes 20"
bench-gpu:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  "$$python" benchmarks/gpu.py --host "$$host" $(ARGS)

# One thread: its matrices are small, and threads that wait for each other take longer where the cores are shared.
toy:
	@python="$$($(BOOT) python)" && OMP_NUM_THREADS=1 "$$python" benchmarks/toy.py

# ARGS: options of benchmarks/particles.py, e.g. make particles ARGS="--out /tmp"
particles:
	@python="$$($(BOOT) python)" && OMP_NUM_THREADS=1 "$$python" benchmarks/particles.py $(ARGS)

# ARGS: options of benchmarks/rewards.py, e.g. make rewards ARGS="--seeds 3 --sheet /tmp/rewards.png --out /tmp"
rewards:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  OMP_NUM_THREADS=1 "$$python" benchmarks/rewards.py --host "$$host" $(ARGS)

# ARGS: options of benchmarks/preference.py, e.g. make preference ARGS="--seeds 5 --sheet /tmp/rounds.png"
preference:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  OMP_NUM_THREADS=1 "$$python" benchmarks/preference.py --host "$$host" $(ARGS)

# ARGS: options of benchmarks/front.py, e.g. make front ARGS="--seeds 3 --out /tmp"
front:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  OMP_NUM_THREADS=1 "$$python" benchmarks/front.py --host "$$host" $(ARGS)

# ARGS: options of benchmarks/search.py, e.g. make search ARGS="--repeats 3 --out /tmp"
search:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  OMP_NUM_THREADS=1 "$$python" benchmarks/search.py --host "$$host" $(ARGS)

# ARGS: options of benchmarks/peer.py, e.g. make peer ARGS="--small --out /tmp"
peer:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  "$$python" -m tools.host.run_peer --host "$$host" $(ARGS)

# ARGS: options of benchmarks/evidence_exact.py, e.g. make evidence-exact ARGS="--out /tmp"
evidence-exact:
	@python="$$($(BOOT) python)" && OMP_NUM_THREADS=1 "$$python" benchmarks/evidence_exact.py $(ARGS)

# ARGS: options of benchmarks/evidence.py, e.g. make evidence ARGS="--network shipped"
evidence:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && \
	  OMP_NUM_THREADS=1 "$$python" benchmarks/evidence.py --host "$$host" $(ARGS)

# ARGS: options of benchmarks/compare_page.py, e.g. make bench-page ARGS="--rounds 1 --out /tmp/page.md"
bench-page:
	@python="$$($(BOOT) python)" && host="$$($(BOOT) host)" && browser="$$($(BOOT) browser)" && \
	  REALIGN_HOST="$$host" REALIGN_CHROMIUM="$$browser" "$$python" benchmarks/compare_page.py $(ARGS)

format:
	@python="$$($(BOOT) python)" && "$$python" -m ruff format . && "$$python" -m ruff check --fix .

clean-cache:
	@$(BOOT) clean
