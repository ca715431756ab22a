# Two commands: `make demo` and `make test`. Both make their own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --disable-pip-version-check --quiet --no-compile
PIP := $(INSTALL) --constraint constraints.txt
PIP_DEV := $(INSTALL) --constraint constraints.txt --constraint constraints-dev.txt
# Carries NiiVue, the viewer of the report; what it requires beside (IPython, widgets) is not needed for that.
NIIVUE := ipyniivue==2.4.4
# The CPU build; on a machine with a GPU: make demo TORCH="torch==2.13.0 --index-url <the index for your CUDA>"
TORCH ?= torch==2.13.0

# Where `make bench-gpu` computes; cpu: a dry run on tiny scans.
DEVICE ?= cuda

# A browser that takes pictures without a screen, for `make pictures`.
BROWSER ?= chromium

.PHONY: help env dev demo test test-slow fuzz lint wheel docs pictures benchmark benchmark-confidence bench-speed bench-gpu clean

help:
	@echo "make demo       install into $(VENV), segment the sample scans (at most 6 minutes on 2 cores)"
	@echo "make test       install into $(VENV), run the tests (about 10 minutes on 2 cores)"
	@echo "make fuzz       damage 20,000 inputs of every kind (hours)"
	@echo "make lint       ruff and mypy"
	@echo "make wheel      build wheel and sdist into dist/, and check them"
	@echo "make docs       build the documentation as a site in out/site; warnings are errors"
	@echo "make pictures   the picture of the README again"
	@echo "make benchmark-confidence  calibration, fractions, cuts, channels, ensembles, quality control, anomaly, habitats"
	@echo "make bench-speed  seconds beside the plain MONAI loop, Atropos and the machine's own limits; bench-gpu: on a GPU (DEVICE=cpu: a dry run)"
	@echo "make benchmark  score on real scans, see benchmarks/README.md (PARTS=\"ibsr ct\" for some, BENCH=\"--ablation --seeds 0 1 2\" for more)"

env: $(VENV)/installed
dev: $(VENV)/installed-dev

# torch goes first: a looser request by another package would pull gigabytes of CUDA.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medseg needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing PyTorch and medseg into $(VENV): some minutes"
	$(PIP) $(TORCH)
	$(PIP) --editable ".[sample]"
	$(INSTALL) --no-deps "$(NIIVUE)"
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed constraints-dev.txt
	$(PIP_DEV) --editable ".[dev]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed constraints-dev.txt
	$(PIP_DEV) --editable ".[docs]"
	@touch $@

demo: env
	$(BIN)/python -m sample_data demo/scans
	$(BIN)/medseg inspect demo/scans
	$(BIN)/medseg run demo/scans/brain --out demo/brain --config brain_t1 --set training.max_steps=100
	$(BIN)/medseg label demo/brain/model --name 1="cerebrospinal fluid" --name 2="grey matter" --name 3="white matter"
	$(BIN)/medseg run demo/scans/ct --out demo/ct --config generic --set clustering.n_clusters=3
	@echo
	@echo "label volumes of the brain:  demo/brain/mni152_T1w_seg.nii.gz and .seg.nrrd (open this in 3D Slicer)"
	@echo "label volumes of the CT:     below demo/ct"
	@echo "reports with pictures:       demo/brain/report.html  demo/ct/report.html"

# Two processes with one thread each: a file's tests stay in one of them.
test: dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: dev
	$(BIN)/python -m pytest -m slow

# 20,000 damaged inputs of every kind, the same ones each time: hours.
fuzz: dev
	MEDSEG_TEST_FUZZ=20000 $(BIN)/python -m pytest --hypothesis-seed=1 tests/cli/test_fuzz.py tests/cli/test_fuzz_inputs.py \
		tests/io/pacs/test_fuzz.py

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

docs: $(VENV)/installed-docs
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# From the demo, the CT of the benchmarks (docs/pictures.md) and the report as a browser shows it.
pictures: demo
	$(BROWSER) --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,900 \
		--screenshot="$(CURDIR)/out/page.png" "file://$(CURDIR)/demo/brain/report.html"
	$(BIN)/python -m docs.generate.overview demo/brain docs/beside_trunk.png out/page.png docs/overview.png

# Atropos comes with antspyx, which gets an environment of its own.
.venv-peers/installed:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --disable-pip-version-check --quiet antspyx
	@touch $@

benchmark: env .venv-peers/installed
	$(BIN)/python -m benchmarks $(PARTS) --peers --peers-python .venv-peers/bin/python $(BENCH)

benchmark-confidence: env .venv-peers/installed
	$(BIN)/python -m benchmarks.confidence $(PARTS) --peers-python .venv-peers/bin/python $(BENCH)
	$(BIN)/python -m benchmarks.channels
	$(BIN)/python -m benchmarks.quality_control
	$(BIN)/python -m benchmarks.anomaly
	$(BIN)/python -m benchmarks.habitats

bench-speed: env .venv-peers/installed
	$(BIN)/python -m benchmarks.speed_training
	$(BIN)/python -m benchmarks.speed_start
	$(BIN)/python -m benchmarks.speed_stages
	$(BIN)/python -m benchmarks.speed_fits
	$(BIN)/python -m benchmarks.speed_whole --peers-python .venv-peers/bin/python
	$(BIN)/python -m benchmarks mni_clean --peers --peers-python .venv-peers/bin/python --out out/bench-speed
	$(BIN)/python -m benchmarks.large_ct --dicom --slices 458 --labels 4 12 24
	$(BIN)/python -m benchmarks.speed_growth --scans 10 100 1000

# Where there is a CUDA device: make bench-gpu TORCH="torch==2.13.0 --index-url <the index for your CUDA>"
# Anywhere, to see that it works: make bench-gpu DEVICE=cpu
bench-gpu: env
	$(BIN)/python -m benchmarks.on_gpu --device $(DEVICE)

clean:
	rm -rf $(VENV) demo out build dist *.egg-info
