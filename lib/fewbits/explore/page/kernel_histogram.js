// Kernels before and after quantization, and what the network then reads: the view of
// fewbits.explore.histograms.kernel_histogram.
(() => {
  "use strict";
  const { Reader, amplitude, exponentOf, inWords, joined, quantizationError, shares } = window.FewBits;

  const views = (window.FewBits.views ??= {});

  /** How many values lie in each of `bins.count` bins, which are `bins.width` wide from `bins.lowest` on. */
  function counted(values, { lowest, width, count }) {
    const counts = new Array(count).fill(0);
    for (const value of values) {
      const bin = Math.floor((value - lowest) / width);
      if (bin >= 0 && bin < count) counts[bin] += 1;
    }
    return counts;
  }

  views.kernel_histogram = ({ reader: data, bins, line, all }) => {
    const reader = new Reader(data);
    const { network } = reader;
    const names = reader.layers.map((layer) => layer.name);

    return async function* ({ kernel: chosen, bits, msb, rounding }, places, onProgress) {
      const format = { msb, nbits: bits, signed: true };
      for (const name of names) {
        const kernel = chosen === all || chosen === name ? format : null;
        network.setFormats(name, { kernel, input: null, output: null, rounding });
      }
      const kernels = names.filter((name) => chosen === all || chosen === name).map((name) => network.kernel(name));
      const [values, rounded] = ["values", "rounded"].map((kind) => joined(kernels.map((each) => each[kind])));
      const error = quantizationError(values, rounded, format, rounding);
      const edge = (a) => ({ type: "line", x0: a, x1: a, y0: 0, y1: 1, yref: "paper", line });
      const view = (accuracy) => ({
        traces: [{ y: counted(rounded, bins) }, { y: counted(values, bins) }],
        layout: { shapes: [-amplitude(format), amplitude(format)].map(edge) },
        readings: {
          accuracy,
          clipped: shares.percent(error.clipped, 2),
          underflowed: shares.percent(error.underflowed, 2),
          "mean shift": `${inWords.signed(error.bias / 2 ** exponentOf(format), 2)} q`,
          "RMS error": error.rms.toFixed(4),
          SQNR: inWords.decibel(error.sqnr),
        },
      });
      yield view("counting");
      const { right, total } = await reader.count({ onProgress: ({ done, total: of }) => onProgress(done / of) });
      yield view(shares.shareInWords(right, total));
    };
  };
})();
