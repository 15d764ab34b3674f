# SPDX-License-Identifier: MIT
#
# The words of a user; CMakeLists.txt is the build.
#
#   make            build/mosaic
#   make reproduce  every table and figure at PROFILE (smoke) into results/ and report/
#   make figures    the second half alone: report/ from what is in results/ and plots/data
#   make test       gcc and clang with sanitizers, every test, style
#   make measure    the measurements of a machine with a GPU
#   make style      format, layers, headers
#   make clean      throw away builds (results/ and report/ stay)
PROFILE ?= smoke
RESULTS ?= results
REPORT  ?= report
BUILD   ?= build

.PHONY: all build setup test reproduce figures measure style fuzz clean

all: build

setup:
	@ci/setup

build: setup
	@cmake -S . -B $(BUILD) -G Ninja -Wno-dev $(CMAKE_FLAGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 2; }
	@cmake --build $(BUILD)

reproduce: build
	$(BUILD)/mosaic run bench/paper.exp profile=$(PROFILE) results=$(RESULTS)
	$(BUILD)/mosaic show bench/paper.exp profile=$(PROFILE) results=$(RESULTS) out=$(REPORT)

figures: build
	$(BUILD)/mosaic show bench/paper.exp profile=$(PROFILE) results=$(RESULTS) out=$(REPORT)

test: setup
	@ci/run

measure: build
	@ci/device $(BUILD)

style: setup
	@ci/style

fuzz: setup
	@ci/fuzz

clean:
	rm -rf build build.log build-*
