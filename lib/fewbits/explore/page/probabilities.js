// The probabilities of the classes in two networks, side by side, in bars and in figures.
(() => {
  "use strict";
  window.FewBits ??= {};

  /**
   * Write a share in whole percent; the smallest and the largest are not rounded to none and all.
   * @param {number} share From 0 to 1.
   * @returns {string} For instance "97 %".
   */
  function percent(share) {
    if (share > 0 && share < 0.005) return "< 1 %";
    if (share < 1 && share > 0.995) return "> 99 %";
    return `${Math.round(100 * share)} %`;
  }

  /** A table with one row per class: its name, two bars, two shares. */
  class Probabilities {
    #rows;

    /**
     * @param {HTMLTableSectionElement} body Where the rows go.
     * @param {string[]} classes The names of the classes.
     */
    constructor(body, classes) {
      const names = ["float", "quantized"];
      this.#rows = classes.map((name) => {
        const row = body.insertRow();
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = name;
        row.append(head);
        const drawing = row.insertCell();
        drawing.className = "bars";
        const bars = names.map((kind) => drawing.appendChild(Object.assign(document.createElement("i"), { className: kind })));
        const texts = names.map((kind) => Object.assign(row.insertCell(), { className: kind }));
        return { row, bars, texts };
      });
    }

    /**
     * Show probabilities.
     * @param {number[][]} shares Those of the float network, then those of the quantized one.
     */
    show(shares) {
      this.#rows.forEach(({ row, bars, texts }, i) => {
        shares.forEach((of, kind) => {
          bars[kind].style.width = `${100 * of[i]}%`;
          texts[kind].textContent = percent(of[i]);
          texts[kind].classList.toggle("most", of[i] === Math.max(...of));
        });
        row.classList.toggle("unlikely", shares.every((of) => of[i] < 0.005));
      });
    }
  }

  Object.assign(window.FewBits, { Probabilities, percent });
})();
