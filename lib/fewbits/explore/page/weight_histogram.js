// The weights of a layer before and after rounding, with the range of their format.
(() => {
  "use strict";
  window.FewBits ??= {};

  const SVG = "http://www.w3.org/2000/svg";
  const [WIDTH, HEIGHT, FLOOR] = [340, 150, 128]; // the drawing, and where its axis lies
  const BINS = 60;

  function element(name, attributes, text = "") {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  }

  function counted(values, places, least) {
    const counts = new Float64Array(places);
    for (const value of values) {
      const bin = Math.floor(((value + least) / (2 * least)) * places);
      counts[Math.max(0, Math.min(places - 1, bin))] += 1;
    }
    return counts;
  }

  function tally(values) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
    return counts;
  }

  const short = (value) => String(Number(value.toPrecision(3)));

  /**
   * Draw the histogram of weights.
   * @param {SVGElement} svg Where to draw.
   * @param {object} kernel As `FewBits.Network.kernel` returns it, with one format for all filters.
   */
  function drawWeights(svg, { values, rounded, low, high, step }) {
    const widest = Math.max(values.reduce((most, value) => Math.max(most, Math.abs(value)), 0), high[0]) * 1.05;
    const x = (value) => ((value + widest) / (2 * widest)) * WIDTH;
    const bars = counted(values, BINS, widest);
    const tallest = bars.reduce((a, b) => Math.max(a, b), 0);
    const y = (density) => FLOOR - Math.min(1, density / tallest) * (FLOOR - 18);
    const levels = tally(rounded);
    const perBin = (2 * widest) / BINS / step[0]; // counts of a level are compared with those of a bin
    const parts = [element("rect", { class: "range", x: x(low[0]), y: 14, width: x(high[0]) - x(low[0]), height: FLOOR - 14 })];
    bars.forEach((count, i) => {
      const width = WIDTH / BINS;
      parts.push(element("rect", { class: "float", x: i * width, y: y(count), width: width - 0.5, height: FLOOR - y(count) }));
    });
    if (levels.size <= 80) {
      for (const [value, count] of levels) {
        const top = y(count * perBin);
        parts.push(element("line", { class: "quantized", x1: x(value), x2: x(value), y1: FLOOR, y2: top }));
        parts.push(element("circle", { class: "quantized", cx: x(value), cy: top, r: 2.2 }));
      }
    }
    parts.push(element("line", { class: "axis", x1: 0, x2: WIDTH, y1: FLOOR, y2: FLOOR }));
    for (const limit of [low[0], 0, high[0]]) {
      const at = Math.max(16, Math.min(WIDTH - 16, x(limit)));
      parts.push(element("text", { x: at, y: FLOOR + 15, "text-anchor": "middle" }, short(limit).replace("-", "\u2212")));
    }
    svg.replaceChildren(...parts);
  }

  /**
   * Say in words what rounding does to weights.
   * @param {object} kernel As `FewBits.Network.kernel` returns it, with one format for all filters.
   * @returns {string} Two clauses, for the line below the histogram.
   */
  function weightsInWords({ values, rounded, low, high, step }) {
    let [clipped, lost] = [0, 0];
    values.forEach((value, i) => {
      if (value < low[0] - step[0] / 2 || value > high[0] + step[0]) clipped += 1;
      if (value !== 0 && rounded[i] === 0) lost += 1;
    });
    const share = (count) => window.FewBits.percent(count / values.length);
    const kept = tally(rounded).size;
    return `${kept} different ${kept === 1 ? "value remains" : "values remain"}; ` +
      `${share(clipped)} of the weights lie outside the range, ${share(lost)} become zero.`;
  }

  Object.assign(window.FewBits, { drawWeights, weightsInWords });
})();
