// The quantizer as a staircase over x, with its error: the view of fewbits.explore.histograms.staircase.
(() => {
  "use strict";
  const { amplitude, exponentOf, highestCode, lowestCode, quantized } = window.FewBits;

  const short = (value) => String(Number(value.toPrecision(10)));

  const views = (window.FewBits.views ??= {});

  views.staircase = ({ from, step, places }) => {
    const x = Array.from({ length: places }, (_, i) => from + i * step);

    return function* ({ bits, msb, rounding, codes = "signed" }) {
      const format = { msb, nbits: bits, signed: codes === "signed" };
      const y = x.map((value) => quantized(value, format, rounding));
      const [least, most] = [Math.min(...y), Math.max(...y)];
      const kind = format.signed ? "ap_fixed" : "ap_ufixed";
      yield {
        traces: [{ y }, { y: y.map((value, i) => value - x[i]) }],
        readings: {
          format: `${kind}<${bits}, ${msb + 1}>`,
          "amplitude A": short(amplitude(format)),
          "step q": short(2 ** exponentOf(format)),
          values: `${short(least)} to ${short(most)}`,
          levels: String(highestCode(format) - lowestCode(format) + 1 + (rounding === "thesis")),
        },
      };
    };
  };
})();
