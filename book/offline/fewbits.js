// Draws the book's figures and makes its explorers move: no kernel, no network. Plotly comes from vendor/.
(() => {
  "use strict";
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };

  const dataOf = (figure) => JSON.parse(figure.querySelector('script[type="application/json"]').textContent);

  // Plotly draws its own colours: hand it the page's, so that figures can be read in light and dark.
  const inked = (layout) => {
    const ink = getComputedStyle(document.body).color;
    const narrow = window.innerWidth < 600;
    return { ...layout, font: { ...layout.font, color: ink, size: narrow ? 11 : 14 } };
  };

  const plotInto = (plot, data, layout) => {
    const height = layout.height ?? layout.template.layout.height;
    plot.style.height = `${height}px`; // else what follows would lie upon a tall plot
    return Plotly.react(plot, data, inked(layout), config);
  };

  const drawn = []; // functions that draw each figure again

  function drawFigure(figure) {
    const plot = figure.querySelector(".fewbits-plot");
    const { data, layout } = dataOf(figure);
    const draw = () => plotInto(plot, data, layout);
    drawn.push(draw);
    return draw();
  }

  function drawExplorer(explorer) {
    const plot = explorer.querySelector(".fewbits-plot");
    const readings = explorer.querySelector(".fewbits-readings dl");
    const { controls, figure, states } = dataOf(explorer);
    const inputs = [...explorer.querySelectorAll("form input, form select")];
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
    explorer.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    drawn.push(draw);
    return draw();
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

  function start() {
    for (const figure of document.querySelectorAll(".fewbits-figure")) {
      figure.classList.contains("fewbits-explorer") ? drawExplorer(figure) : drawFigure(figure);
    }
    const again = () => drawn.forEach((draw) => draw());
    new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
