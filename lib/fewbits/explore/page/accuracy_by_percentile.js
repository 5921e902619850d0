// The format that a percentile gives to the inputs of a layer, and what the network then reads: the view of
// fewbits.explore.layer_ranges.accuracy_by_percentile.
(() => {
  "use strict";
  const { Reader, amplitude, inWords, joined, quantizationError, quantized, shares } = window.FewBits;

  const views = (window.FewBits.views ??= {});

  const short = (value) => String(Number(value.toPrecision(3)));

  /** The limits between which the middle `percentile` % of sorted values lie. */
  function limitsOf(sorted, percentile) {
    const at = ((100 - percentile) / 200) * (sorted.length - 1);
    const between = (place) => {
      const low = Math.floor(place);
      return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
    };
    return [between(at), between(sorted.length - 1 - at)];
  }

  /** The histogram of values, in bins whose width is a power of two. */
  function histogram(values, [low, high], parts) {
    const width = 2 ** Math.ceil(Math.log2(Math.max(-low, high))) / parts;
    const first = Math.floor(low / width);
    const y = new Array(Math.floor(high / width) - first + 1).fill(0);
    for (const value of values) y[Math.floor(value / width) - first] += 1;
    return { x: y.map((_, i) => (first + i + 0.5) * width), y, width };
  }

  /** Two vertical lines. */
  const upright = ([low, high], top) => ({ x: [low, low, null, high, high], y: [0.5, top, null, 0.5, top] });

  views.accuracy_by_percentile = ({ reader: data, seen, parts, all }) => {
    const reader = new Reader(data);
    const { network } = reader;
    const { layers } = reader;
    const inputs = inputsOf(network, layers, new Reader({ ...data, ...seen }));
    for (const { name } of layers) network.setFormats(name, { kernel: null, input: null, output: null });

    function formatOf(name, percentile, nbits) {
      const limits = limitsOf(inputs[name], percentile);
      const msb = Math.ceil(Math.log2(Math.max(...limits.map(Math.abs), Number.MIN_VALUE)));
      return { limits, format: { msb, nbits, signed: true } };
    }

    return async function* ({ layer, quantized: which, percentile, bits, rounding }, places, onProgress) {
      for (const { name } of layers) {
        const input = which === all || name === layer ? formatOf(name, percentile, bits).format : null;
        network.setFormats(name, { input, rounding });
      }
      const values = inputs[layer];
      const { limits, format } = formatOf(layer, percentile, bits);
      const rounded = values.map((value) => quantized(value, format, rounding));
      const error = quantizationError(values, rounded, format, rounding);
      const bars = histogram(values, [values[0], values.at(-1)], parts);
      const top = Math.max(...bars.y);
      const view = (accuracy) => ({
        traces: [bars, upright(limits, top), upright([-amplitude(format), amplitude(format)], top)],
        readings: {
          accuracy,
          limits: limits.map(short).join(" to "),
          MSB: String(format.msb),
          clipped: shares.percent(error.clipped, 2),
          SQNR: inWords.decibel(error.sqnr),
        },
      });
      yield view("counting");
      const { right, total } = await reader.count({ onProgress: ({ done, total: of }) => onProgress(done / of) });
      yield view(shares.shareInWords(right, total));
    };
  };

  /** Layer -> what it reads of some images in float, sorted. */
  function inputsOf(network, layers, reader) {
    const names = network.layers.map((each) => each.name);
    const found = Object.fromEntries(layers.map(({ name }) => [name, []]));
    for (let n = 0; n < reader.labels.length; n++) {
      const tensors = network.runFloat(reader.image(n));
      for (const { name, inputs: [source] } of layers) {
        const tensor = source ? tensors.get(names[source - 1]) : network.imageOf(reader.image(n));
        found[name].push(tensor.values());
      }
    }
    return Object.fromEntries(Object.entries(found).map(([name, arrays]) => [name, joined(arrays).sort()]));
  }
})();
