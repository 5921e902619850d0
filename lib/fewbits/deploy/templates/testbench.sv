// Runs a job on the engine, and reports how many output codes differ, the cycles, and what they waited for.
//
//   +job=FOLDER    registers.mem, pixels.mem, weights.mem, filters.mem; codes.mem, if codes are to be compared
//   +codes=FILE    writes the output codes to this file
//   +stall=PERCENT makes each stream wait at random
`timescale 1ns / 1ps

module testbench;
  localparam integer PATIENCE = 100000;  // cycles without a handshake
  localparam integer CODE_BITS = @code@;
  localparam integer FILTERS = @filter_count@;
  localparam [@address@-1:0] FIRST_COUNTER = @first_counter@;
  localparam integer COUNTERS = @counters@;

  reg clk = 0, rst = 1, write = 0, busy = 1;
  reg [@address@-1:0] address = 0;
  reg [31:0] write_data = 0;
  wire [31:0] read_data;
  reg pixels_valid = 0, weights_valid = 0, filters_valid = 0, codes_ready = 0;
  wire pixels_ready, weights_ready, filters_ready, codes_valid;
  reg [@pixels@-1:0] pixels = 0;
  reg [@weights@-1:0] weights = 0;
  reg [@filters@-1:0] filters = 0;
  wire [@codes@-1:0] codes;

  engine dut (
      .clk(clk),
      .rst(rst),
      .address(address),
      .write(write),
      .write_data(write_data),
      .read_data(read_data),
      .pixels__payload(pixels),
      .pixels__valid(pixels_valid),
      .pixels__ready(pixels_ready),
      .weights__payload(weights),
      .weights__valid(weights_valid),
      .weights__ready(weights_ready),
      .filters__payload(filters),
      .filters__valid(filters_valid),
      .filters__ready(filters_ready),
      .codes__payload(codes),
      .codes__valid(codes_valid),
      .codes__ready(codes_ready)
  );

  initial forever #5 clk = ~clk;

  string job, codes_name;
  integer stall, registers_file, pixels_file, weights_file, filters_file, expected_file, codes_file;
  integer compared = 0, different = 0, idle = 0;
  reg pixels_taken, weights_taken, filters_taken, codes_taken;
  reg [@codes@-1:0] expected = 0;

  function automatic reg lucky();
    lucky = $urandom % 100 >= stall;
  endfunction

  initial begin
    if ($value$plusargs("job=%s", job) == 0) job = ".";
    if ($value$plusargs("stall=%d", stall) == 0) stall = 0;
    codes_file = 0;
    if ($value$plusargs("codes=%s", codes_name) != 0) codes_file = $fopen(codes_name, "w");
    registers_file = $fopen({job, "/registers.mem"}, "r");
    pixels_file = $fopen({job, "/pixels.mem"}, "r");
    weights_file = $fopen({job, "/weights.mem"}, "r");
    filters_file = $fopen({job, "/filters.mem"}, "r");
    if (registers_file == 0 || pixels_file == 0 || weights_file == 0 || filters_file == 0)
      $fatal(1, "%s does not hold a job", job);
    expected_file = $fopen({job, "/codes.mem"}, "r");

    repeat (4) @(negedge clk);
    rst = 0;
    while ($fscanf(registers_file, "%h %h\n", address, write_data) == 2) begin
      write = 1;
      @(negedge clk);
    end
    address = 0;  // start
    write_data = 1;
    @(negedge clk);
    write = 0;
    while (busy) begin
      if (!pixels_valid && lucky()) pixels_valid = $fscanf(pixels_file, "%h\n", pixels) == 1;
      if (!weights_valid && lucky()) weights_valid = $fscanf(weights_file, "%h\n", weights) == 1;
      if (!filters_valid && lucky()) filters_valid = $fscanf(filters_file, "%h\n", filters) == 1;
      codes_ready = lucky();
      #1;  // the engine answers to what is offered; the next rising edge then takes it
      pixels_taken = pixels_valid && pixels_ready;
      weights_taken = weights_valid && weights_ready;
      filters_taken = filters_valid && filters_ready;
      codes_taken = codes_valid && codes_ready;
      if (codes_taken) begin
        if (codes_file != 0) $fdisplay(codes_file, "%h", codes);
        if (expected_file != 0) begin
          if ($fscanf(expected_file, "%h\n", expected) != 1) $fatal(1, "%s: more codes than expected", job);
          for (integer n = 0; n < FILTERS; n = n + 1) begin
            compared = compared + 1;
            if (codes[n*CODE_BITS+:CODE_BITS] !== expected[n*CODE_BITS+:CODE_BITS]) different = different + 1;
          end
        end
      end
      idle = pixels_taken || weights_taken || filters_taken || codes_taken ? 0 : idle + 1;
      if (idle > PATIENCE) $fatal(1, "%s: the engine stands still", job);
      @(negedge clk);
      if (pixels_taken) pixels_valid = 0;
      if (weights_taken) weights_valid = 0;
      if (filters_taken) filters_valid = 0;
      busy = read_data[0];
    end
    if (expected_file != 0 && $fscanf(expected_file, "%h\n", expected) == 1) $fatal(1, "%s: codes are missing", job);
    if (codes_file != 0) $fclose(codes_file);
    $write("%s: %0d of %0d codes differ; counters", job, different, compared);
    address = FIRST_COUNTER;
    repeat (COUNTERS) begin
      repeat (2) @(negedge clk);
      $write(" %0d", read_data);
      address = address + 1;
    end
    $write("\n");
    if (different != 0) $fatal(1, "%s: codes differ", job);
    $finish;
  end
endmodule
