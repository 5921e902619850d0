// Measured shares with their intervals, as fewbits.statistics.Share writes them.
(() => {
  "use strict";
  window.FewBits ??= {};

  const Z = 1.96; // of the normal distribution, for 95 %

  /** @returns {number[]} The Wilson score interval of a share. */
  function wilsonInterval(hits, n) {
    const share = hits / n;
    const [square, whole] = [(Z * Z) / n, 1 + (Z * Z) / n];
    const middle = (share + square / 2) / whole;
    const half = (Z / whole) * Math.sqrt((share * (1 - share)) / n + square / (4 * n));
    return [Math.max(0, middle - half), Math.min(1, middle + half)];
  }

  /**
   * A share in percent.
   * @param {number} share
   * @param {number} [digits] Behind the point.
   */
  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;

  /** A share with its interval: 83.1% (78.8% to 86.6%). */
  function shareInWords(hits, n) {
    const [low, high] = wilsonInterval(hits, n).map((end) => percent(end));
    return `${percent(hits / n)} (${low} to ${high})`;
  }

  window.FewBits.shares = { percent, shareInWords, wilsonInterval };
})();
