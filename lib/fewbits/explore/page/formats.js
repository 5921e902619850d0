// Number formats: their codes, and how a number becomes one. The arithmetic is that of fewbits.quantization.fixedpoint.
(() => {
  "use strict";

  const MOST_BITS = 24; // as in fewbits.quantization.layers

  /**
   * A format: its most significant bit weighs 2**msb, and its step is 2**(msb + 1 - nbits).
   * @typedef {{msb: number, nbits: number, signed: boolean}} Format
   */

  // Name -> the nearest integer of number / divisor. A division by a power of two is exact; by another number, the
  // floor is still exact for integers below 2**53, and the rest decides.
  const ROUNDINGS = {
    floor: (number, divisor) => Math.floor(number / divisor),
    nearest(number, divisor) {
      const low = Math.floor(number / divisor);
      const twice = 2 * (number - low * divisor);
      return twice > divisor || (twice === divisor && low % 2 !== 0) ? low + 1 : low;
    },
    "nearest-up"(number, divisor) {
      const low = Math.floor(number / divisor);
      return 2 * (number - low * divisor) >= divisor ? low + 1 : low;
    },
    "nearest-away": (number, divisor) =>
      number < 0 ? -ROUNDINGS["nearest-up"](-number, divisor) : ROUNDINGS["nearest-up"](number, divisor),
  };

  const exponentOf = ({ msb, nbits }) => msb + 1 - nbits;
  const lowestCode = ({ nbits, signed }) => (signed ? -(2 ** (nbits - 1)) : 0);
  const highestCode = (format) => lowestCode(format) + 2 ** format.nbits - 1;

  /**
   * The code of a number.
   * @param {number} number A value; or an integer, if the divisor takes it to the steps of the format.
   * @param {Format} format
   * @param {string} rounding One of ROUNDINGS.
   * @param {number} [divisor] What one step of the format is, in units of the number.
   * @returns {number} An integer.
   */
  function toCode(number, format, rounding, divisor = 2 ** exponentOf(format)) {
    const code = ROUNDINGS[rounding](number, divisor);
    return Math.min(Math.max(code, lowestCode(format)), highestCode(format)) + 0; // + 0: no negative zero
  }

  /** The value that a number has after rounding to a format. */
  const quantize = (value, format, rounding) => toCode(value, format, rounding) * 2 ** exponentOf(format);

  /** Refuses what is not a format, in one sentence. */
  function checkFormat(format, layer) {
    const { msb, nbits } = format;
    if (![msb].flat().every(Number.isInteger)) throw new Error(`layer ${layer}: the MSB must be an integer, not ${msb}`);
    if (!Number.isInteger(nbits) || nbits < 1 || nbits > MOST_BITS) {
      throw new Error(`layer ${layer}: a format has 1 to ${MOST_BITS} bits, not ${nbits}`);
    }
  }

  window.FewBits = Object.assign(window.FewBits ?? {}, {
    ROUNDINGS: Object.keys(ROUNDINGS),
    divideRounded: ROUNDINGS,
    exponentOf,
    lowestCode,
    highestCode,
    toCode,
    quantize,
    checkFormat,
  });
})();
