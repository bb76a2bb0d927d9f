# One target a chore. Every target makes the environment it needs; `make demo` and `make test` need
# only Python 3.10+, a C++ compiler and make.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
# CPU only unless a GPU is visible.
export FCOS_OPS_CUDA ?= $(if $(wildcard /dev/nvidia0),AUTO,OFF)

.PHONY: demo test test-simt test-torchvision test-mmdetection hostile bench lint format wheel gpu-check clean
.DEFAULT_GOAL := help

help:
	@echo "make demo               build, check every op, train and run a detector, draw into out/"
	@echo "make test               the test suite"
	@echo "make test-simt          only the CUDA kernels, run on the CPU; SEED=n sets the schedule"
	@echo "make test-torchvision   agreement with torchvision, in an environment of its own (5.5 GB)"
	@echo "make test-mmdetection   files of mmdetection's own classes, in an environment of its own (1.6 GB)"
	@echo "make hostile            30,000 calls of a hostile user, each judged; N=, SEED=, JOBS= as you like"
	@echo "make bench              the benchmark suite: ours, eager, torch.compile, torchvision"
	@echo "make lint | format      ruff, mypy, clang-format"
	@echo "make wheel              a manylinux wheel in wheelhouse/, with CUDA kernels where nvcc is"
	@echo "make gpu-check          on a machine with a GPU: build, tests, sanitizers, benchmarks"

demo: $(VENV)/.installed
	$(BIN)/fcos demo --output out

test: $(VENV)/.installed
	$(BIN)/python -m pytest

# The kernels' own sources on fibers, in the order that the seed draws: see tests/simt/.
SEED ?= 0
test-simt: $(VENV)/.installed
	FCOS_OPS_SIMT_SEED=$(SEED) $(BIN)/python -m pytest --device simt

# Calls that a hostile user would make, in processes of their own: see tests/hostile/.
N ?= 30000
JOBS ?= 2
hostile: $(VENV)/.installed
	$(BIN)/python -m tests.hostile --count $(N) --seed $(SEED) --jobs $(JOBS)

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')

# The last architecture also as PTX, for GPUs to come.
RELEASE_ARCHITECTURES := 75-real;80-real;86-real;89-real;90-real;100-real;120
WHEEL_CUDA ?= AUTO
wheel: $(VENV)/.installed
	rm -rf dist wheelhouse
	FCOS_OPS_CUDA=$(WHEEL_CUDA) CMAKE_ARGS="-DCMAKE_CUDA_ARCHITECTURES='$(RELEASE_ARCHITECTURES)'" \
	  $(BIN)/python -m build --wheel
	PATH="$(abspath $(BIN)):$$PATH" auditwheel repair --exclude libgomp.so.1 --wheel-dir wheelhouse dist/*.whl

# torchvision's wheels need the CUDA build of torch, but run on a CPU. The wheel of fcos_ops that the
# main environment built is installed as it is: one build serves every torch.
TORCHVISION_VENV ?= .venv-torchvision
test-torchvision:
	$(MAKE) wheel WHEEL_CUDA=OFF
	test -x $(TORCHVISION_VENV)/bin/python || $(PYTHON) -m venv $(TORCHVISION_VENV)
	$(TORCHVISION_VENV)/bin/pip install -q torch==2.15.0 torchvision==0.29.2
	$(TORCHVISION_VENV)/bin/pip install -q --force-reinstall --no-deps wheelhouse/*.whl
	$(TORCHVISION_VENV)/bin/pip install -q "$$(ls wheelhouse/*.whl)[detector,test]"
	scripts/test_installed $(TORCHVISION_VENV)/bin/python

# mmcv-lite is mmcv without its compiled ops, and its setup.py imports pkg_resources; mmdet names mmcv
# by neither name, and asserts a version below 2.2.
MMDETECTION_VENV ?= .venv-mmdetection
test-mmdetection:
	$(MAKE) wheel WHEEL_CUDA=OFF
	test -x $(MMDETECTION_VENV)/bin/python || $(PYTHON) -m venv $(MMDETECTION_VENV)
	$(MMDETECTION_VENV)/bin/pip install -q "$(TORCH)" "setuptools<81" wheel
	$(MMDETECTION_VENV)/bin/pip install -q --no-build-isolation mmcv-lite==2.1.0
	$(MMDETECTION_VENV)/bin/pip install -q mmdet==3.3.0 mmengine==0.10.7
	$(MMDETECTION_VENV)/bin/pip install -q --force-reinstall --no-deps wheelhouse/*.whl
	$(MMDETECTION_VENV)/bin/pip install -q "$$(ls wheelhouse/*.whl)[detector,test]"
	scripts/test_installed $(MMDETECTION_VENV)/bin/python tests/mmdetection

gpu-check:
	$(PYTHON) scripts/gpu_check

# An editable install: edits to Python files count at once, edits to csrc/ reinstall.
$(VENV)/.installed: pyproject.toml setup.py $(shell find csrc -type f)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q "$(TORCH)"
	$(BIN)/pip install -e ".[detector,test,lint,wheel]"
	$(BIN)/python -m fcos_ops
	touch $@

clean:
	rm -rf $(VENV)/.installed build dist wheelhouse out *.egg-info fcos_ops/_C*.so fcos_ops/lib fcos_ops/include fcos_ops/share
