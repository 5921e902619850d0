// Draws the book's figures and makes its explorers move: no kernel, no network. Plotly comes from vendor/.
(() => {
  "use strict";
  const library = new URL("vendor/plotly.min.js", document.currentScript.src);
  const touch = matchMedia("(hover: none)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    // Named one by one: Plotly's own set has a button that uploads the figure.
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };

  const dataOf = (figure) => JSON.parse(figure.querySelector('script[type="application/json"]').textContent);

  // Plotly draws its own colours: hand it the page's, so that figures can be read in light and dark.
  const inked = (layout) => {
    const ink = getComputedStyle(document.body).color;
    const narrow = window.innerWidth < 600;
    return { ...layout, font: { ...layout.font, color: ink, size: narrow ? 11 : 14 } };
  };

  /** A finger scrolls the page, also over a figure: nothing in it can be dragged. */
  const still = (layout) => {
    const axes = Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name));
    const fixed = axes.map((name) => [name, { ...layout[name], fixedrange: true }]);
    return { ...layout, ...Object.fromEntries(fixed), dragmode: false };
  };

  /** Draw; who listens hears the text alternative and the buttons, not the words in the drawing. */
  async function plotInto(plot, data, layout) {
    await Plotly.react(plot, data, inked(touch ? still(layout) : layout), config);
    for (const svg of plot.querySelectorAll("svg.main-svg")) svg.setAttribute("aria-hidden", true);
  }

  /** Return a function that draws a figure. */
  function drawing(figure) {
    const plot = figure.querySelector(".fewbits-plot");
    const { data, layout } = dataOf(figure);
    return () => plotInto(plot, data, layout);
  }

  /** Return a function that draws an explorer at its controls' values; from now on, its controls call it. */
  function explorer(element) {
    const plot = element.querySelector(".fewbits-plot");
    const readings = element.querySelector(".fewbits-readings dl");
    const { controls, figure, states } = dataOf(element);
    const inputs = [...element.querySelectorAll("form input, form select")];
    const position = (input) => (input.type === "range" ? Number(input.value) : input.selectedIndex);

    function draw() {
      const at = inputs.map(position);
      const state = states[at.reduce((index, p, i) => index * controls[i].length + p, 0)];
      inputs.forEach((input, i) => {
        if (input.type !== "range") return;
        input.nextElementSibling.textContent = controls[i][at[i]];
        input.setAttribute("aria-valuetext", controls[i][at[i]]);
      });
      readings.replaceChildren(...Object.entries(state.readings).map(reading));
      const data = figure.data.map((trace, i) => ({ ...trace, ...state.traces[i] }));
      return plotInto(plot, data, { ...figure.layout, ...state.layout });
    }

    inputs.forEach((input) => input.addEventListener("input", draw));
    element.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    return draw;
  }

  function reading([name, value]) {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    const number = document.createElement("dd");
    term.textContent = name;
    number.textContent = value;
    row.append(term, number);
    return row;
  }

  const loaded = (address) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      Object.assign(script, { src: address, onload: resolve, onerror: reject });
      document.head.append(script);
    });

  const pause = () => new Promise((resolve) => setTimeout(resolve));

  /** Words first: Plotly weighs five megabytes, so only pages with figures load it, once they can be read. */
  async function start() {
    const figures = [...document.querySelectorAll(".fewbits-figure:has(> .fewbits-plot)")];
    if (!figures.length) return;
    await loaded(library);
    const drawn = []; // functions that draw each figure again
    for (const figure of figures) {
      const draw = figure.classList.contains("fewbits-explorer") ? explorer(figure) : drawing(figure);
      drawn.push(draw);
      await draw();
      await pause(); // a page with many figures can be scrolled meanwhile
    }
    const again = () => drawn.forEach((draw) => draw());
    new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  document.readyState === "complete" ? start() : window.addEventListener("load", start);
})();
