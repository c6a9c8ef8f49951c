# Developers' measurements; everything else is ./dev.
CFLAGS ?= -O2 -Wall -Wextra -Wno-missing-field-initializers
BUILD = benchmarks/build
PYTHON ?= .venv/bin/python

bench: $(BUILD)/floor $(BUILD)/client
	$(PYTHON) benchmarks/run.py

bench-scale: $(BUILD)/client
	$(PYTHON) -m benchmarks.scale

$(BUILD)/%: benchmarks/%.c benchmarks/usbredir.h
	mkdir -p $(BUILD)
	$(CC) $(CFLAGS) -o $@ $<

bench-page:
	$(PYTHON) -m benchmarks.page

.PHONY: bench bench-scale bench-page
