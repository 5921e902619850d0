# make         runs every layer on the engine in Verilator, and compares its codes
# make lint    checks the Verilog

VERILATOR = verilator
STALL = 0
MEMORIES = +verilator+rand+reset+2  # random at the start, as in a device
TOP = --top-module testbench engine.v testbench.sv

simulate: obj_dir/Vtestbench
	@for layer in layers/*; do ./obj_dir/Vtestbench +job=$$layer +stall=$(STALL) $(MEMORIES) || exit 1; done

obj_dir/Vtestbench: engine.v testbench.sv
	$(VERILATOR) --binary -O3 $(TOP)

lint:
	$(VERILATOR) --lint-only -Wall --timing $(TOP)

.PHONY: simulate lint
