// Draws the book's figures and makes its explorers move: no kernel, no network. Plotly comes from vendor/.
(() => {
  "use strict";
  const library = new URL("vendor/plotly.min.js", document.currentScript.src);
  const MOVING = 150; // ms without a change after which a control rests
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

  /** Return the function from the values of an explorer's controls to a series of views; most have a single one. */
  function viewsOf({ controls, states, view, data }) {
    if (view) return window.FewBits.views[view](data);
    return function* (values, places) {
      yield states[places.reduce((index, place, i) => index * controls[i].length + place, 0)];
    };
  }

  /** Return a function that draws an explorer at its controls' values; from now on, its controls call it. */
  function explorer(element) {
    const plot = element.querySelector(".fewbits-plot");
    const readings = element.querySelector(".fewbits-readings dl");
    const mark = element.querySelector("progress");
    const data = dataOf(element);
    const { controls, figure } = data;
    const views = viewsOf(data);
    const inputs = [...element.querySelectorAll("form input, form select")];
    const places = () => inputs.map((input) => (input.type === "range" ? Number(input.value) : input.selectedIndex));
    let latest; // the series of views that is drawn
    let counted = { at: String(places()), view: data.start }; // the last view that is complete

    function show(view) {
      readings.replaceChildren(...Object.entries(view.readings).map(reading));
      const traces = figure.data.map((trace, i) => ({ ...trace, ...view.traces[i] }));
      return plotInto(plot, traces, { ...figure.layout, ...view.layout });
    }

    /** Draw what the page has to count first, unless the reader has gone on meanwhile. */
    async function drawRest(series, at) {
      await pause(MOVING);
      for (let view; series === latest; ) {
        const { done, value } = await series.next();
        if (series !== latest) return;
        if (done) {
          counted = { at, view };
          element.classList.remove("counting");
          return;
        }
        await show((view = value));
      }
    }

    async function draw() {
      const now = places();
      inputs.forEach((input, i) => {
        if (input.type !== "range") return;
        input.nextElementSibling.textContent = controls[i][now[i]];
        input.setAttribute("aria-valuetext", controls[i][now[i]]);
      });
      const known = counted.at === String(now) ? counted.view : null;
      const values = Object.fromEntries(inputs.map(({ name }, i) => [name, controls[i][now[i]]]));
      const series = views(values, now, (share) => (mark.value = share));
      latest = known ? null : series;
      element.classList.toggle("counting", Boolean(mark && !known));
      if (known) return show(known);
      const { value } = await series.next();
      if (mark) {
        mark.value = 0;
        drawRest(series, String(now)).catch((error) => {
          if (error.name !== "AbortError") throw error; // the reader has gone on
        });
      }
      return show(value);
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

  const pause = (milliseconds = 0) => new Promise((resolve) => setTimeout(resolve, milliseconds));

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
