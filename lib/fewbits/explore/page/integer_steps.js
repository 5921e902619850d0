// Steps through one convolution: what it multiplies at a place, their sum, the shift with its rounding, and the clip.
(() => {
  "use strict";
  const { ROUNDINGS, divideRounded } = window.FewBits;

  /**
   * An integer in two's complement.
   * @param {number} number
   * @param {number} bits
   * @returns {string} Zeros and ones.
   */
  const binary = (number, bits) => BigInt.asUintN(bits, BigInt(number)).toString(2).padStart(bits, "0");

  /** What becomes of one place of the output: the facts of each step. */
  function stepsAt(data, { row, column, filter, rounding }) {
    const kernel = data.kernel[filter];
    const terms = kernel.flatMap((weights, r) =>
      weights.map((weight, c) => {
        const y = row * data.strides[0] + r * data.dilation[0];
        const x = column * data.strides[1] + c * data.dilation[1];
        return { y, x, code: data.codes[y][x], weight };
      }),
    );
    const products = terms.reduce((sum, { code, weight }) => sum + code * weight, 0);
    const sum = products + data.bias[filter];
    const shift = data.shifts[filter];
    const rounded = divideRounded[rounding](sum, 2 ** shift);
    const [low, high] = data.limits;
    const clipped = Math.min(Math.max(rounded, low), high);
    const code = data.relu ? Math.min(Math.max(clipped, 0), data.highest) : clipped;
    return { terms, products, sum, shift, rounded, clipped, code: code + 0 };
  }

  const minus = (number) => String(number).replace("-", "\u2212");
  const code = (bits, dropped = "") => {
    const element = document.createElement("code");
    element.append(bits);
    if (dropped) {
      const struck = document.createElement("s");
      struck.textContent = dropped;
      element.append(struck);
    }
    return element;
  };

  /** The figure: tables of codes, and the steps in words and in binary. */
  class IntegerSteps {
    constructor(figure) {
      this.figure = figure;
      this.data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
      this.form = figure.querySelector("form");
      const [height, width, filters] = this.data.shape;
      this.place = { row: this.data.start[0], column: this.data.start[1] };
      this.form.filter.max = filters - 1;
      this.form.rounding.append(...ROUNDINGS.map((name) => new Option(name, name, false, name === this.data.rounding)));
      this.cells = {
        input: this.table("input", this.data.codes.length, this.data.codes[0].length),
        kernel: this.table("kernel", this.data.kernel[0].length, this.data.kernel[0][0].length),
        output: this.table("output", height, width),
      };
      this.listen(height, width);
      figure.querySelector(".live").hidden = false;
      this.draw();
    }

    /** Fills a table with empty cells under heads, which number rows and columns, and returns the cells by row. */
    table(name, rows, columns) {
      const table = this.figure.querySelector(`.${name}`);
      const head = (scope, number) => {
        const cell = document.createElement("th");
        return Object.assign(cell, { scope, textContent: number });
      };
      const numbers = Array.from({ length: columns }, (_, c) => head("col", c + 1));
      table.createTHead().insertRow().append(document.createElement("td"), ...numbers);
      const body = table.createTBody();
      return Array.from({ length: rows }, (_, r) => {
        const row = body.insertRow();
        row.append(head("row", r + 1));
        return Array.from({ length: columns }, () => row.insertCell());
      });
    }

    listen(height, width) {
      const go = (row, column) => {
        this.place = { row: Math.min(Math.max(row, 0), height - 1), column: Math.min(Math.max(column, 0), width - 1) };
        this.draw();
      };
      const along = (by) => {
        const at = (this.place.row * width + this.place.column + by + height * width) % (height * width);
        go(Math.floor(at / width), at % width);
      };
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      this.form.addEventListener("input", () => this.draw());
      this.form.addEventListener("submit", (event) => event.preventDefault());
      this.form.elements.back.addEventListener("click", () => along(-1));
      this.form.elements.next.addEventListener("click", () => along(1));
      this.cells.output.forEach((cells, row) =>
        cells.forEach((cell, column) => {
          cell.setAttribute("role", "gridcell");
          cell.addEventListener("click", () => go(row, column));
          cell.addEventListener("keydown", (event) => {
            const move = moves[event.key];
            if (!move) return;
            event.preventDefault();
            go(row + move[0], column + move[1]);
            this.cells.output[this.place.row][this.place.column].focus();
          });
        }),
      );
    }

    draw() {
      const setting = { filter: Number(this.form.filter.value), rounding: this.form.rounding.value };
      const steps = stepsAt(this.data, { ...this.place, ...setting });
      this.form.filter.nextElementSibling.textContent = setting.filter + 1;
      this.form.filter.setAttribute("aria-valuetext", setting.filter + 1);
      this.drawTables(steps, setting);
      this.drawSteps(steps, setting);
    }

    drawTables({ terms }, setting) {
      const [[top], [left]] = this.data.padding;
      const [bottom, right] = [0, 1].map((axis) => this.data.padding[axis][1]);
      const under = new Set(terms.map(({ y, x }) => `${y},${x}`));
      this.cells.input.forEach((cells, y) =>
        cells.forEach((cell, x) => {
          cell.textContent = minus(this.data.codes[y][x]);
          const inside = y >= top && x >= left && y < this.cells.input.length - bottom && x < cells.length - right;
          cell.classList.toggle("border", !inside);
          cell.classList.toggle("window", under.has(`${y},${x}`));
        }),
      );
      this.cells.kernel.flat().forEach((cell, i) => (cell.textContent = minus(terms[i].weight)));
      this.cells.output.forEach((cells, row) =>
        cells.forEach((cell, column) => {
          const chosen = row === this.place.row && column === this.place.column;
          cell.textContent = minus(stepsAt(this.data, { row, column, ...setting }).code);
          cell.setAttribute("aria-selected", chosen);
          cell.tabIndex = chosen ? 0 : -1;
        }),
      );
    }

    drawSteps({ terms, products, sum, shift, rounded, clipped, code: last }, { filter, rounding }) {
      const { bits, limits, relu, exponent, bias } = this.data;
      const put = (name, ...parts) => this.figure.querySelector(`.${name}`).replaceChildren(...parts);
      const whole = binary(sum, bits.sum);
      const signed = limits[0] < 0;
      put("products", terms.map(({ code: input, weight }) => `${minus(input)}\u00b7${weight < 0 ? `(${minus(weight)})` : weight}`).join(" + "), ` = ${minus(products)}`);
      put("sum", `the bias ${minus(bias[filter])}: ${minus(sum)}, in ${bits.sum} bits `, code(whole));
      const quotient = minus(sum / 2 ** shift);
      const [kept, dropped] = shift > 0 ? [whole.slice(0, -shift), whole.slice(-shift)] : [whole, ""];
      put("shift", `by ${minus(shift)} bits: ${quotient}, rounded by ${rounding}: ${minus(rounded)} `, code(kept, dropped));
      const range = `to ${minus(limits[0])} \u2026 ${minus(limits[1])}: ${minus(clipped)}`;
      put("clip", relu ? `${range}; ReLU: ${minus(last)} ` : `${range} `, code(binary(last, bits.code)));
      const { row, column } = this.place;
      put(
        "summary",
        `Row ${row + 1}, column ${column + 1}, filter ${filter + 1}: the sum ${minus(sum)} becomes the code ${minus(last)} of `
          + `${bits.code} bits${signed ? "" : ", unsigned"}, which stands for ${minus(last * 2 ** exponent)}.`,
      );
    }
  }

  window.FewBits.IntegerSteps = IntegerSteps;
  for (const figure of document.querySelectorAll(".fewbits-integer-steps:not([data-drawn])")) {
    figure.dataset.drawn = "";
    new IntegerSteps(figure);
  }
})();
