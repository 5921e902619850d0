// The inference engine of the page: the network that fewbits.deploy.in_page writes, as an integer network whose formats
// change at any moment, and in float, as a whole or in part. It computes the codes that fewbits.deploy.IntegerNetwork
// computes.
(() => {
  "use strict";
  const { ROUNDINGS, Tensor, checkFormat, exponentOf, highestCode, lowestCode, operations, toCode } = window.FewBits;
  const { add, aligned, average, clip, concatenate, convolve, largest, pad, requantize, reshape } = operations;

  const SLICE = 16; // milliseconds of work before the page gets its turn
  const FLOAT = Object.freeze({ formats: { kernel: null, input: null, output: null }, rounding: "nearest" });
  const KINDS = ["kernel", "input", "output"];

  const activated = (x, { activation }) => (activation ? clip(x, activation) : x);

  // Kind of a layer -> what it computes from its inputs with the settings {formats, rounding}.
  const COMPUTE = {
    convolve(layer, [x], settings) {
      const { formats, rounding } = settings;
      const read = formats.input ? requantize(x, formats.input, rounding) : plain(x);
      const sums = convolve(read, layer.kernel(settings), layer);
      return activated(aligned(requantize(sums, formats.output, rounding)), layer);
    },
    round(layer, [x], { formats, rounding }) {
      return requantize(activated(requantize(x, formats.input, rounding), layer), formats.output, rounding);
    },
    max: (layer, [x]) => largest(x, layer),
    average: (layer, [x]) => average(x, layer),
    pad: (layer, [x]) => pad(x, layer),
    clip: (layer, [x]) => clip(x, layer.activation),
    reshape: (layer, [x]) => reshape(x, layer),
    concatenate: (layer, inputs) => concatenate(inputs, layer),
    add: (layer, inputs) => add(inputs),
  };

  /** One layer call: its place in the graph, its weights, and its present settings. */
  class Layer {
    constructor(call) {
      Object.assign(this, call);
      if (call.kernel) {
        this.kernelCodes = new Int16Array(decoded(call.kernel.codes));
        this.kernelStep = 2 ** call.kernel.exponent;
        this.bias = call.bias ? new Float32Array(decoded(call.bias)) : new Float32Array(call.window[3]);
      }
      delete this.kernel; // the method of this name says what the layer multiplies by
      this.settings = call.formats ? { formats: complete(call.formats), rounding: call.rounding } : FLOAT;
      this.kinds = KINDS.filter((kind) => this.settings.formats[kind]); // what can have a format
      this.kernels = new WeakMap();
    }

    /** What the layer multiplies by and adds, as `convolve` takes it; made once for each settings. */
    kernel(settings) {
      if (!this.kernels.has(settings)) this.kernels.set(settings, this.rounded(settings));
      return this.kernels.get(settings);
    }

    rounded({ formats, rounding }) {
      const filters = this.bias.length;
      const each = formats.kernel ? filterFormats(formats.kernel, filters) : null;
      const exponents = Array.from({ length: filters }, (_, f) => (each ? exponentOf(each[f]) : 0));
      // The codes have at most 24 bits, and the kernel in float has 16: Float32Array holds both exactly.
      const codes = Float32Array.from(this.kernelCodes, (code, i) =>
        each ? toCode(code * this.kernelStep, each[i % filters], rounding) : code * this.kernelStep,
      );
      const step = formats.input ? exponentOf(formats.input) : 0;
      const bias = Float64Array.from(this.bias, (value, f) => {
        const sum = value * 2 ** -(exponents[f] + step);
        return each && formats.input ? nearest(sum) : sum; // in float unless products are integers
      });
      const sizes = new Float64Array(filters);
      codes.forEach((code, i) => (sizes[i % filters] += Math.abs(code)));
      const bound = { products: Math.max(...sizes), bias: Math.max(...bias.map(Math.abs)) };
      return { codes, bias, exponents, bound };
    }

    /** @returns {Tensor} */
    compute(inputs, settings) {
      try {
        return COMPUTE[this.kind](this, inputs, settings);
      } catch (error) {
        throw new Error(`layer ${this.name} ${error.message}`);
      }
    }
  }

  const nearest = (value) => window.FewBits.divideRounded.nearest(value, 1) + 0; // no negative zero

  const decoded = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;

  /** The formats of a program with every field; a kernel is always signed. */
  const complete = ({ kernel, input, output }) => ({
    kernel: kernel && { ...kernel, signed: true },
    input,
    output,
  });

  /** The format of each filter. */
  const filterFormats = (format, filters) =>
    Array.from({ length: filters }, (_, f) => ({ ...format, msb: Array.isArray(format.msb) ? format.msb[f] : format.msb }));

  /** In float a tensor holds its values. */
  const plain = (x) => (x.exponent === 0 && x.divisor === 1 ? x : new Tensor(x.shape, x.values()));

  /** The network of a page. */
  class Network {
    /** @param {object} program What fewbits.deploy.in_page.page_program returns. */
    constructor(program) {
      this.name = program.name;
      this.input = program.input;
      this.calls = program.calls.map((call) => new Layer(call));
      this.output = program.output;
      this.roundings = ROUNDINGS;
      this.last = null; // the last image, and what each call made of it
    }

    /** The layers in order, as facts that the caller may keep. */
    get layers() {
      return this.calls.map((call) => this.layer(call.name));
    }

    /** @param {string} name */
    layer(name) {
      const { kind, shape, kernelCodes, settings, inputs } = this.callNamed(name);
      const has = settings === FLOAT ? { formats: null, rounding: null } : settings;
      return { name, kind, shape, filters: shape[2], weights: kernelCodes?.length ?? 0, inputs, ...has };
    }

    callNamed(name) {
      const call = this.calls.find((each) => each.name === name);
      if (!call) throw new Error(`there is no layer ${name}`);
      return call;
    }

    // Formats

    /**
     * Changes the settings of a layer; what is left out stays, and null computes in float.
     * @param {string} name
     * @param {{kernel?: ?Format, input?: ?Format, output?: ?Format, rounding?: string}} changes
     */
    setFormats(name, { rounding, ...formats }) {
      const call = this.callNamed(name);
      const { settings } = call;
      if (rounding !== undefined && !ROUNDINGS.includes(rounding)) {
        throw new Error(`there is no rounding ${rounding}; there are ${ROUNDINGS.join(", ")}`);
      }
      for (const [kind, format] of Object.entries(formats)) {
        if (!call.kinds.includes(kind)) throw new Error(`layer ${name}: the ${kind} has no format to change`);
        if (format === null) continue;
        checkFormat(format, name);
        if (Array.isArray(format.msb) && format.msb.length !== call.bias.length) {
          throw new Error(`layer ${name} has ${call.bias.length} filters, not ${format.msb.length} kernel formats`);
        }
      }
      const changed = { ...settings.formats };
      for (const [kind, format] of Object.entries(formats)) changed[kind] = format && { signed: true, ...format };
      call.settings = { formats: changed, rounding: rounding ?? settings.rounding };
    }

    // Images

    /**
     * Computes the codes of all layers for one image. What has not changed since the last call is not computed again.
     * @param {ArrayLike<number>} pixels Rows first, channels last; integers below `input.levels`.
     * @returns {Map<string, Tensor>} Layer name -> its codes.
     */
    run(pixels) {
      return this.named(this.again(pixels, false));
    }

    /** As `run`, in float: the codes are the values. */
    runFloat(pixels) {
      return this.named(this.again(pixels, true));
    }

    /**
     * Counts the images that the network reads right, in slices between which the page gets its turn.
     * @param {Uint8Array} images All images, one after the other.
     * @param {ArrayLike<number>} labels
     * @param {{float?: boolean, onProgress?: function({done: number, right: number, total: number}): void,
     *   onImage?: function(number, Map<string, Tensor>): void, signal?: AbortSignal}} [options] onImage gets the number
     *   of each image and the codes of all layers.
     * @returns {Promise<{right: number, total: number, answers: Uint16Array}>} Rejected by an AbortError when a format
     *   changes meanwhile, or when the signal says so.
     */
    async accuracy(images, labels, { float = false, onProgress = () => {}, onImage, signal } = {}) {
      const total = labels.length;
      const size = images.length / total;
      const answers = new Uint16Array(total);
      const settings = this.calls.map((call) => call.settings);
      const changed = () => !float && this.calls.some((call, i) => call.settings !== settings[i]);
      let [done, right] = [0, 0];
      while (done < total) {
        if (signal?.aborted || changed()) throw new DOMException("the formats have changed", "AbortError");
        const end = performance.now() + SLICE;
        do {
          const image = this.imageOf(images.subarray(done * size, (done + 1) * size));
          const tensors = this.forward(float ? plain(image) : image, float);
          answers[done] = indexOfLargest(tensors[this.output].codes);
          onImage?.(done, this.named(tensors));
          right += answers[done] === labels[done];
          done += 1;
        } while (done < total && performance.now() < end);
        onProgress({ done, right, total });
        if (done < total) await new Promise((resume) => setTimeout(resume));
      }
      return { right, total, answers };
    }

    // Weights

    /**
     * The kernel of a layer, in float and as the layer multiplies by it; the filters change fastest.
     * @param {string} name
     * @returns {{values: Float64Array, rounded: Float64Array, codes: Float32Array, low: number[], high: number[],
     *   step: number[]}} low, high and step per filter; one number if all filters share a format.
     */
    kernel(name) {
      const call = this.callNamed(name);
      const { kernel } = call.settings.formats;
      if (!kernel) throw new Error(`layer ${name} has no kernel`);
      const each = filterFormats(kernel, Array.isArray(kernel.msb) ? kernel.msb.length : 1);
      const step = each.map((format) => 2 ** exponentOf(format));
      const { codes } = call.kernel(call.settings);
      return {
        values: Float64Array.from(call.kernelCodes, (code) => code * call.kernelStep),
        rounded: Float64Array.from(codes, (code, i) => code * step[i % step.length]),
        codes,
        low: each.map((format, f) => lowestCode(format) * step[f]),
        high: each.map((format, f) => highestCode(format) * step[f]),
        step,
      };
    }

    // What the methods above share

    /** The image, then what each call makes; a call that `known` shows to be unchanged is not computed again. */
    forward(image, float, known = []) {
      const tensors = [image];
      this.calls.forEach((call, i) => {
        const inputs = call.inputs.map((n) => tensors[n]);
        const settings = float ? FLOAT : call.settings;
        const last = known[i];
        if (last?.settings !== settings || inputs.some((x, j) => x !== last.inputs[j])) {
          const tensor = call.compute(inputs, settings);
          known[i] = { settings, inputs, tensor: float ? plain(tensor) : tensor };
        }
        tensors.push(known[i].tensor);
      });
      return tensors;
    }

    /** As `forward`, with what is known of the last image if it is the same. */
    again(pixels, float) {
      const same = this.last?.pixels.length === pixels.length && this.last.pixels.every((p, i) => p === pixels[i]);
      if (!same) {
        const image = this.imageOf(pixels);
        const [codes, floats] = [image, plain(image)].map((x) => ({ image: x, known: [] }));
        this.last = { pixels: Float64Array.from(pixels), codes, floats };
      }
      const { image, known } = float ? this.last.floats : this.last.codes;
      return this.forward(image, float, known);
    }

    named(tensors) {
      return new Map(this.calls.map((call, i) => [call.name, tensors[i + 1]]));
    }

    imageOf(pixels) {
      const { shape, levels, mean, exponent } = this.input;
      const [height, width, channels] = shape;
      if (pixels.length !== height * width * channels) {
        throw new Error(`an image has ${height} x ${width} x ${channels} pixels, not ${pixels.length}`);
      }
      const codes = Float64Array.from(pixels, (pixel, i) => {
        if (!Number.isInteger(pixel) || pixel < 0 || pixel >= levels) {
          throw new Error(`a pixel is an integer from 0 to ${levels - 1}, not ${pixel}`);
        }
        return pixel - mean[i % channels];
      });
      return new Tensor(shape, codes, { exponent, bound: levels });
    }
  }

  const indexOfLargest = (numbers) => numbers.reduce((best, number, i) => (number > numbers[best] ? i : best), 0);

  /** @returns {Float64Array} Probabilities of classes. */
  function softmax(logits) {
    const most = Math.max(...logits);
    const powers = Float64Array.from(logits, (logit) => Math.exp(logit - most));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  Object.assign(window.FewBits, { Network, softmax });
})();
