// What rounded kernels do to the outputs of each layer and to the logits, with a rounding for each level: the view of
// fewbits.explore.settings_by_level.error_by_rounding.
(() => {
  "use strict";
  const { Reader, inWords, shares } = window.FewBits;

  const views = (window.FewBits.views ??= {});

  /** The errors of a layer's outputs, image after image. */
  class Errors {
    count = 0;
    sum = 0;
    squares = 0;
    shared = 0; // squares of the mean error of each image
    signal = 0;

    add(values, exact) {
      let sum = 0;
      values.forEach((value, i) => {
        const error = value - exact[i];
        sum += error;
        this.squares += error * error;
        this.signal += exact[i] * exact[i];
      });
      this.count += values.length;
      this.sum += sum;
      this.shared += (sum * sum) / values.length;
    }

    get mean() {
      return this.sum / this.count;
    }

    get rms() {
      return Math.sqrt(this.squares / this.count);
    }

    get size() {
      return Math.sqrt(this.signal / this.count);
    }
  }

  views.error_by_rounding = ({ reader: data, levels }) => {
    const reader = new Reader(data);
    const { network } = reader;
    const names = reader.layers.map((layer) => layer.name);
    const inFloat = []; // what the layers compute for each image, which no setting changes

    return async function* ({ bits, msb, ...roundings }, places, onProgress) {
      for (const [level, layers] of Object.entries(levels)) {
        const settings = { kernel: { msb, nbits: bits }, input: null, output: null, rounding: roundings[level] };
        for (const layer of layers) network.setFormats(layer, settings);
      }
      const view = (accuracy, errors, logits) => ({
        traces: ["mean", "rms"].map((kind) => ({ y: errors.map((each) => each[kind] / each.size) })),
        readings: {
          accuracy,
          "mean error of the logits": logits ? inWords.signed(logits.mean, 2) : "counting",
          "RMS error of the logits": logits ? logits.rms.toFixed(2) : "counting",
          "of it the same in all classes": logits ? shares.percent(logits.shared / logits.squares, 0) : "counting",
        },
      });
      yield view("counting", []);
      const [errors, logits] = [names.map(() => new Errors()), new Errors()];
      const { right, total } = await reader.count({
        onImage(number, tensors) {
          const exact = (inFloat[number] ??= network.runFloat(reader.image(number)));
          names.forEach((name, i) => errors[i].add(tensors.get(name).values(), exact.get(name).values()));
          logits.add(...[tensors, exact].map((of) => [...of.values()].at(-1).values()));
        },
        onProgress: ({ done, total: of }) => onProgress(done / of),
      });
      yield view(shares.shareInWords(right, total), errors, logits);
    };
  };
})();
