# Developers' measurements; everything else is ./dev.
CFLAGS ?= -O2 -Wall -Wextra -Wno-missing-field-initializers
BUILD = benchmarks/build
PYTHON ?= .venv/bin/python

bench: $(BUILD)/floor $(BUILD)/client
	$(PYTHON) benchmarks/run.py

bench-guest: $(BUILD)/floor
	$(PYTHON) -m benchmarks.guest

bench-scale: $(BUILD)/client
	$(PYTHON) -m benchmarks.scale

$(BUILD)/%: benchmarks/%.c benchmarks/usbredir.h
	mkdir -p $(BUILD)
	$(CC) $(CFLAGS) -o $@ $<

$(BUILD)/floor: benchmarks/canned.h

bench-page:
	$(PYTHON) -m benchmarks.page

.PHONY: bench bench-guest bench-scale bench-page
