// Steps through what a recorder on the simulated hardware engine found: one window, its sums, and its code.
(() => {
  "use strict";
  const { divideRounded } = window.FewBits;

  /**
   * An integer in two's complement.
   * @param {number} number
   * @param {number} bits
   * @returns {string} Zeros and ones.
   */
  const binary = (number, bits) => BigInt.asUintN(bits, BigInt(number)).toString(2).padStart(bits, "0");

  const minus = (number) => String(number).replace("-", "\u2212");
  const signed = (number) => (number < 0 ? `(${minus(number)})` : String(number));
  const element = (name, ...parts) => {
    const made = document.createElement(name);
    made.append(...parts);
    return made;
  };

  /** The figure: the planes and the window, and the sums in words and in binary. */
  class EngineSteps {
    constructor(figure) {
      this.figure = figure;
      this.data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
      this.form = figure.querySelector("form");
      const { windows, planes, places, start } = this.data;
      this.side = Math.sqrt(windows[0].length);
      this.cells = {
        plane: this.table("plane", planes[0].length, planes[0][0].length),
        output: this.table("output", ...places),
      };
      for (const name of ["window", "weights", "products"]) this.cells[name] = this.table(name, this.side, this.side);
      this.form.step.max = windows.length - 1;
      this.form.step.value = start;
      this.listen();
      figure.querySelector(".live").hidden = false;
      this.draw();
    }

    /** Fills a table with empty cells under heads, which number rows and columns, and returns the cells by row. */
    table(name, rows, columns) {
      const table = this.figure.querySelector(`table.${name}`);
      const head = (scope, number) => Object.assign(element("th", String(number)), { scope });
      const numbers = Array.from({ length: columns }, (_, c) => head("col", c + 1));
      table.createTHead().insertRow().append(element("td"), ...numbers);
      const body = table.createTBody();
      return Array.from({ length: rows }, (_, r) => {
        const row = body.insertRow();
        row.append(head("row", r + 1));
        return Array.from({ length: columns }, () => row.insertCell());
      });
    }

    listen() {
      const { step, back, next } = this.form.elements;
      const move = (by) => {
        step.value = (Number(step.value) + by + this.data.windows.length) % this.data.windows.length;
        this.draw();
      };
      this.form.addEventListener("submit", (event) => event.preventDefault());
      step.addEventListener("input", () => this.draw());
      back.addEventListener("click", () => move(-1));
      next.addEventListener("click", () => move(1));
    }

    draw() {
      const { places, windows, planes } = this.data;
      const number = Number(this.form.step.value);
      const count = places[0] * places[1];
      const place = number % count;
      const at = { number, place, count, plane: Math.floor(number / count), row: Math.floor(place / places[1]), column: place % places[1] };
      at.last = at.plane === planes.length - 1;
      const words = `${number + 1} of ${windows.length}`;
      this.form.querySelector("output").textContent = words;
      this.form.step.setAttribute("aria-valuetext", words);
      this.drawTables(at);
      this.drawSteps(at);
    }

    drawTables({ number, place, count, plane, row, column, last }) {
      const { planes, windows, weights, codes, places, before, stride } = this.data;
      const [top, left] = [row * stride - before[0], column * stride - before[1]];
      const inside = (y, x) => y >= top && x >= left && y < top + this.side && x < left + this.side;
      this.figure.querySelector(".plane caption").textContent = `Plane ${plane + 1} of ${planes.length}`;
      this.cells.plane.forEach((cells, y) =>
        cells.forEach((cell, x) => {
          cell.textContent = minus(planes[plane][y][x]);
          cell.classList.toggle("inside", inside(y, x));
        }),
      );
      const outside = (i) => {
        const [y, x] = [top + Math.floor(i / this.side), left + (i % this.side)];
        return y < 0 || x < 0 || y >= planes[0].length || x >= planes[0][0].length;
      };
      this.cells.window.flat().forEach((cell, i) => {
        cell.textContent = minus(windows[number][i]);
        cell.classList.toggle("outside", outside(i));
      });
      this.cells.weights.flat().forEach((cell, i) => (cell.textContent = minus(weights[plane][i])));
      this.cells.products.flat().forEach((cell, i) => (cell.textContent = minus(windows[number][i] * weights[plane][i])));
      this.cells.output.forEach((cells, y) =>
        cells.forEach((cell, x) => {
          const index = y * places[1] + x;
          cell.textContent = last && index <= place ? minus(codes[index]) : "\u00b7";
          cell.classList.toggle("now", index === number % count);
        }),
      );
    }

    drawSteps({ number, place, count, plane, row, column, last }) {
      const { slices, sums, partial, bias, codes, shift, rounding, limits, bits, planes } = this.data;
      const put = (name, ...parts) => this.figure.querySelector(`.steps .${name}`).replaceChildren(...parts);
      const parts = slices[number];
      const names = { 1: ["all bits"], 2: ["low 4 bits", "high 4 bits"], 4: ["bits 0 to 3", "4 to 7", "8 to 11", "12 to 15"] };
      put("slices", parts.map((sum, k) => `${names[parts.length][k]} of the weights: ${minus(sum)}`).join("; "));
      const joined = parts.map((sum, k) => (k ? `${16 ** k}\u00b7${signed(sum)}` : minus(sum))).join(" + ");
      put("join", parts.length > 1 ? `${joined} = ${minus(sums[number])}` : `nothing to join: ${minus(sums[number])}`);

      const total = partial[number];
      const whole = binary(total, bits.sum);
      const previous = plane ? `from the queue, ${minus(partial[number - count])}` : `the bias, ${minus(bias)}`;
      put("partial", `${previous}, plus ${signed(sums[number])} = ${minus(total)} `, element("code", whole));
      for (const name of ["shift", "round", "clip"]) {
        this.figure.querySelector(`.steps .${name}`).parentElement.classList.toggle("waits", !last);
      }
      const where = `Plane ${plane + 1}, row ${row + 1}, column ${column + 1}: `;
      const summary = this.figure.querySelector(".summary");
      if (!last) {
        put("shift", `not yet: the sum returns to the queue until plane ${plane + 2} arrives`);
        put("round", "not yet");
        put("clip", "not yet");
        summary.textContent = `${where}the partial sum is ${minus(total)}.`;
        return;
      }
      const floor = divideRounded.floor(total, 2 ** shift);
      const rounded = divideRounded[rounding](total, 2 ** shift);
      const kept = whole.slice(0, whole.length - shift);
      const dropped = shift
        ? [element("mark", whole[kept.length]), element("s", whole.slice(kept.length + 1))]
        : [];
      put("shift", `by ${shift} bits; what is left is the floor, ${minus(floor)} `, element("code", kept, ...dropped));
      const half = shift && whole[kept.length] === "1";
      put(
        "round",
        shift ? `${rounding}: the first bit that was dropped, in the frame, is ${half ? 1 : 0} and worth half a step; ` : `${rounding}: nothing was dropped; `,
        `${rounded === floor ? "nothing is added" : "1 is added"}: ${minus(rounded)}`,
      );
      put("clip", `to ${minus(limits[0])} \u2026 ${minus(limits[1])}: ${minus(codes[place])} `, element("code", binary(codes[place], bits.code)));
      summary.textContent = `${where}the sum of ${planes.length} planes, ${minus(total)}, becomes the code ${minus(codes[place])}.`;
    }
  }

  window.FewBits.EngineSteps = EngineSteps;
  for (const figure of document.querySelectorAll(".fewbits-engine-steps:not([data-drawn])")) {
    figure.dataset.drawn = "";
    new EngineSteps(figure);
  }
})();
