// The quantizer on plain numbers, and the error it makes, as fewbits.quantization computes them.
(() => {
  "use strict";
  const { divideRounded, exponentOf, highestCode, lowestCode, toCode } = window.FewBits;

  const amplitude = ({ msb, signed }) => 2 ** (signed ? msb : msb + 1);

  /**
   * A number on the marks of a format.
   * @param {number} x
   * @param {Format} format
   * @param {string} rounding One of FewBits.ROUNDINGS, or `thesis`: clipped to the amplitude, which has no code, then down.
   */
  function quantized(x, format, rounding) {
    const step = 2 ** exponentOf(format);
    if (rounding !== "thesis") return toCode(x, format, rounding) * step;
    const [least, most] = [lowestCode(format) * step, amplitude(format)];
    return Math.floor(Math.min(Math.max(x, least), most) / step) * step + 0;
  }

  /**
   * What quantization does to values.
   * @param {ArrayLike<number>} values
   * @param {ArrayLike<number>} rounded The same values on the marks of the format.
   * @param {Format} format
   * @param {string} rounding One of FewBits.ROUNDINGS.
   * @returns {{clipped: number, underflowed: number, bias: number, rms: number, sqnr: number}} As in
   *   fewbits.quantization.sqnr.QuantizationError.
   */
  function quantizationError(values, rounded, format, rounding) {
    const step = 2 ** exponentOf(format);
    const [low, high, divide] = [lowestCode(format), highestCode(format), divideRounded[rounding]];
    let [clipped, underflowed, sum, noise, signal] = [0, 0, 0, 0, 0];
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      const code = divide(value, step);
      const error = rounded[i] - value;
      clipped += code < low || code > high;
      underflowed += value !== 0 && Math.abs(value) < step;
      sum += error;
      noise += error * error;
      signal += value * value;
    }
    const n = values.length;
    return {
      clipped: clipped / n,
      underflowed: underflowed / n,
      bias: sum / n,
      rms: Math.sqrt(noise / n),
      sqnr: 10 * Math.log10(signal / noise),
    };
  }

  const decibel = (value) => (Number.isFinite(value) ? `${value.toFixed(1)} dB` : "no error");
  const signed = (value, digits) => `${value < 0 ? "" : "+"}${value.toFixed(digits)}`;

  Object.assign(window.FewBits, { amplitude, quantized, quantizationError, inWords: { decibel, signed } });
})();
