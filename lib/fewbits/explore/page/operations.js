// What the layers of an integer network compute. All numbers are integers of at most 53 bits, which doubles hold
// exactly, so the results are those of fewbits.deploy.operations, code by code.
(() => {
  "use strict";
  const { divideRounded, exponentOf, lowestCode, highestCode } = window.FewBits;

  const EXACT = 2 ** 53;
  const sizeOf = ([height, width, channels]) => height * width * channels;

  /** The codes that a layer outputs; a code stands for code * 2**exponent / divisor. */
  class Tensor {
    /**
     * @param {number[]} shape Height, width and channels.
     * @param {Float64Array} codes Rows first, channels last.
     * @param {{exponent?: number | number[], divisor?: number, bound?: number}} [meaning] One exponent, or one per
     *   channel; what is left to divide by; and the largest absolute value that a code can have.
     */
    constructor(shape, codes, { exponent = 0, divisor = 1, bound = 0 } = {}) {
      if (bound > EXACT) throw new Error("needs integers of more than 53 bits; give it formats of fewer bits");
      Object.assign(this, { shape, codes, exponent, divisor, bound });
    }

    /** @returns {number} The exponent of a channel. */
    exponentAt(channel) {
      return Array.isArray(this.exponent) ? this.exponent[channel] : this.exponent;
    }

    /** @returns {Float64Array} The values that the codes stand for. */
    values() {
      const channels = this.shape[2];
      const steps = Array.from({ length: channels }, (_, c) => 2 ** this.exponentAt(c) / this.divisor);
      return this.codes.map((code, i) => code * steps[i % channels]);
    }
  }

  /** The tensor with other codes, and the same meaning but for what `changes` names. */
  const like = (x, shape, codes, changes = {}) => new Tensor(shape, codes, { ...x, ...changes });

  /**
   * Codes in a format: divided, rounded and clipped.
   * @param {Tensor} x
   * @param {Format | null} format None leaves the tensor as it is.
   * @param {string} rounding
   */
  function requantize(x, format, rounding) {
    if (!format) return x;
    const [low, high, divide] = [lowestCode(format), highestCode(format), divideRounded[rounding]];
    const channels = x.shape[2];
    const divisors = Array.from({ length: channels }, (_, c) => x.divisor * 2 ** (exponentOf(format) - x.exponentAt(c)));
    const codes = new Float64Array(x.codes.length);
    for (let start = 0; start < codes.length; start += channels) {
      for (let c = 0; c < channels; c++) {
        codes[start + c] = Math.min(Math.max(divide(x.codes[start + c], divisors[c]), low), high) + 0; // no -0
      }
    }
    return new Tensor(x.shape, codes, { exponent: exponentOf(format), bound: Math.max(-low, high) });
  }

  /** The tensor with one exponent for all channels, the finest, so that nothing is rounded. */
  function aligned(x) {
    return Array.isArray(x.exponent) ? onGrid(x, Math.min(...x.exponent)) : x;
  }

  function onGrid(x, exponent) {
    const factors = Array.from({ length: x.shape[2] }, (_, c) => 2 ** (x.exponentAt(c) - exponent));
    const codes = x.codes.map((code, i) => code * factors[i % factors.length]);
    return like(x, x.shape, codes, { exponent, bound: x.bound * Math.max(...factors) });
  }

  /**
   * Sums of products of codes and kernel, plus bias: a convolution, grouped or depthwise, or a dense layer.
   * @param {Tensor} x
   * @param {Kernel} kernel Its codes as `geometry.window` shapes them, and one bias and one exponent per filter.
   * @param {object} geometry shape of the output, window (rows, columns, channels of a group, filters), strides,
   *   padding, dilation.
   */
  function convolve(x, kernel, { shape, window: [rows, columns, own, filters], strides, padding, dilation }) {
    const [height, width, channels] = x.shape;
    const [down, right] = strides;
    const [top, left] = [padding[0][0], padding[1][0]];
    const each = filters / (channels / own); // filters of a group
    const { codes: weights, bias, bound } = kernel;
    const inputs = x.codes;
    const sums = new Float64Array(sizeOf(shape));
    let at = 0; // the first sum of the present place
    for (let y = -top, i = 0; i < shape[0]; i++, y += down) {
      for (let z = -left, j = 0; j < shape[1]; j++, z += right, at += filters) {
        sums.set(bias, at);
        for (let r = 0; r < rows; r++) {
          const row = y + r * dilation[0];
          if (row < 0 || row >= height) continue;
          for (let s = 0; s < columns; s++) {
            const column = z + s * dilation[1];
            if (column < 0 || column >= width) continue;
            const pixel = (row * width + column) * channels;
            for (let c = 0; c < channels; c++) {
              const input = inputs[pixel + c];
              if (input === 0) continue; // after a ReLU, half of them
              const first = Math.floor(c / own) * each;
              const weight = ((r * columns + s) * own + (c % own)) * filters + first;
              for (let f = 0; f < each; f++) sums[at + first + f] += input * weights[weight + f];
            }
          }
        }
      }
    }
    const exponent = kernel.exponents.map((e) => e + x.exponent);
    return new Tensor(shape, sums, { exponent, bound: x.bound * bound.products + bound.bias });
  }

  /** Calls `use(place in the output, place in the input)` for each pixel of each window, as indices of first channels. */
  function slide(x, { shape, window: [rows, columns], strides, padding }, use) {
    const [height, width, channels] = x.shape;
    for (let i = 0, at = 0; i < shape[0]; i++) {
      for (let j = 0; j < shape[1]; j++, at += channels) {
        for (let r = 0; r < rows; r++) {
          const row = i * strides[0] - padding[0][0] + r;
          for (let s = 0; s < columns; s++) {
            const column = j * strides[1] - padding[1][0] + s;
            if (row >= 0 && row < height && column >= 0 && column < width) use(at, (row * width + column) * channels);
          }
        }
      }
    }
  }

  /** The largest code of each window; the padding never wins. */
  function largest(x, geometry) {
    const codes = new Float64Array(sizeOf(geometry.shape)).fill(-Infinity);
    slide(x, geometry, (to, from) => {
      for (let c = 0; c < x.shape[2]; c++) codes[to + c] = Math.max(codes[to + c], x.codes[from + c]);
    });
    return like(x, geometry.shape, codes);
  }

  /** The sum of each window, and how many pixels are left to divide it by. */
  function average(x, geometry) {
    const codes = new Float64Array(sizeOf(geometry.shape));
    slide(x, geometry, (to, from) => {
      for (let c = 0; c < x.shape[2]; c++) codes[to + c] += x.codes[from + c];
    });
    const n = geometry.window[0] * geometry.window[1];
    return like(x, geometry.shape, codes, { divisor: x.divisor * n, bound: x.bound * n });
  }

  /** Codes with a border of zeros; a negative padding crops. */
  function pad(x, { shape, padding }) {
    const codes = new Float64Array(sizeOf(shape));
    slide(x, { shape, window: [1, 1], strides: [1, 1], padding }, (to, from) => {
      codes.set(x.codes.subarray(from, from + x.shape[2]), to);
    });
    return like(x, shape, codes);
  }

  /**
   * Codes clipped to a range of values: a ReLU.
   * @param {Tensor} x
   * @param {{highest: number | null}} activation The largest value; null for no limit.
   */
  function clip(x, { highest }) {
    const most = highest === null ? Infinity : highest * x.divisor * 2 ** -x.exponent;
    if (highest !== null && !Number.isInteger(most)) {
      throw new Error(`clips at ${highest}, which is not a multiple of its step ${2 ** x.exponent}`);
    }
    return like(x, x.shape, x.codes.map((code) => Math.min(Math.max(code, 0), most)));
  }

  const reshape = (x, { shape }) => like(x, shape, x.codes);

  const finest = (tensors) => {
    const exponent = Math.min(...tensors.map((x) => x.exponent));
    return tensors.map((x) => (x.exponent === exponent ? x : onGrid(x, exponent)));
  };

  /** The channels of all tensors, on the finest of their grids. */
  function concatenate(tensors, { shape }) {
    const parts = finest(tensors);
    const codes = new Float64Array(sizeOf(shape));
    let offset = 0;
    for (const { shape: [, , own], codes: part } of parts) {
      for (let from = 0, to = offset; from < part.length; from += own, to += shape[2]) {
        codes.set(part.subarray(from, from + own), to);
      }
      offset += own;
    }
    return like(parts[0], shape, codes, { bound: Math.max(...parts.map((x) => x.bound)) });
  }

  /** The sum of all tensors, on the finest of their grids. */
  function add(tensors) {
    const [first, ...others] = finest(tensors);
    const codes = first.codes.map((code, i) => others.reduce((sum, x) => sum + x.codes[i], code));
    return like(first, first.shape, codes, { bound: [first, ...others].reduce((sum, x) => sum + x.bound, 0) });
  }

  window.FewBits.Tensor = Tensor;
  window.FewBits.operations = { requantize, aligned, convolve, largest, average, pad, clip, reshape, concatenate, add };
})();
