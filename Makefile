# SPDX-License-Identifier: MIT
#
# The words of a user; CMakeLists.txt is the build.
#
#   make            build/mosaic, with the kernels where there is a compiler for them
#   make reproduce  every table and figure at PROFILE (smoke) into results/ and report/. Without a GPU
#                   it runs no kernel and waits for none: where build/mosaic is not made yet, it is
#                   made without them
#   make figures    the second half alone: report/ from what is in results/, and report/CARD/ of each
#                   card in plots/data
#   make test       gcc and clang with sanitizers, every test, style
#   make measure    the measurements of a machine with a GPU: RESULTS, and REPORT/here
#   make style      format, layers, headers
#   make install    PREFIX (/usr/local): the program, its manual page and completion, the library with
#                   its headers, pkg-config and CMake files; DESTDIR stands before it
#   make help       these lines
#   make clean      throw away builds (results/ and report/ stay)
PROFILE ?= smoke
RESULTS ?= results
REPORT  ?= report
BUILD   ?= build
PREFIX  ?= /usr/local
CUDA    := AUTO
CARDS   := $(patsubst plots/data/rows-%.h5,%,$(wildcard plots/data/rows-*.h5))
GPU     := $(wildcard /dev/nvidia[0-9]* /dev/dxg)

.PHONY: all build setup test reproduce figures measure style fuzz install help clean

all: build

setup:
	@ci/setup

build: setup
	@cmake -S . -B $(BUILD) -G Ninja -Wno-dev $(CUDA:%=-DCUDA=%) $(CMAKE_FLAGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 2; }
	@cmake --build $(BUILD)

# Said of the build before them: a program that is there stays as it is.
reproduce figures: CUDA := $(if $(GPU),AUTO,$(if $(wildcard $(BUILD)/mosaic),,OFF))

reproduce: build
	$(BUILD)/mosaic run bench/paper.exp profile=$(PROFILE) results=$(RESULTS)
	@$(MAKE) --no-print-directory figures

figures: build
	set -e; for card in $(CARDS); do $(BUILD)/mosaic show bench/gpu.exp profile=$$card out=$(REPORT)/$$card; done
	$(BUILD)/mosaic show bench/paper.exp profile=$(PROFILE) results=$(RESULTS) out=$(REPORT)

test: setup
	@ci/run

measure: build
	@ci/device $(BUILD) $(RESULTS); bad=$$?; \
	$(BUILD)/mosaic show bench/gpu.exp profile=here results=$(RESULTS) out=$(REPORT)/here && exit $$bad

style: setup
	@ci/style

fuzz: setup
	@ci/fuzz

install: build
	@cmake --build $(BUILD) --target installable
	@cmake --install $(BUILD) --prefix $(PREFIX) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 2; }
	@echo "installed in $(DESTDIR)$(PREFIX)"

help:
	@sed -n 's/^#   //p' Makefile

clean:
	rm -rf build build.log build-*
