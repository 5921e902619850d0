// The layers of a network in a list, each with its maps and, below them, what few bits change in them.
(() => {
  "use strict";
  window.FewBits ??= {};

  const COLUMNS = 12; // maps of each layer
  const SIDE = 24; // of a map, in pixels of the canvas

  const most = (values) => values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);

  function mean(values) {
    return values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
  }

  /** The list. */
  class LayerMaps {
    #rows;

    /**
     * @param {HTMLElement} list Where the layers go.
     * @param {{name: string, shape: number[]}[]} layers The layers.
     * @param {(layer: string) => void} onchoose Called with the name of a layer that the reader chooses.
     */
    constructor(list, layers, onchoose) {
      this.#rows = layers.map(({ name, shape }) => {
        const row = list.appendChild(document.createElement("li"));
        const choice = Object.assign(document.createElement("button"), { type: "button", textContent: name });
        choice.addEventListener("click", () => onchoose(name));
        const note = Object.assign(document.createElement("span"), { className: "note" });
        const [maps, differences] = [0, 1].map(() => {
          const made = Object.assign(document.createElement("canvas"), { width: COLUMNS * (SIDE + 2) - 2, height: SIDE });
          made.setAttribute("role", "img");
          return made;
        });
        maps.setAttribute("aria-label", `${name}: ${Math.min(COLUMNS, shape[2])} of ${shape[2]} maps, ${shape[0]} by ${shape[1]}`);
        row.append(choice, note, maps, differences);
        return { name, shape, choice, note, maps, differences };
      });
    }

    /** Mark the layer that is chosen; none if `layer` is "". */
    mark(layer) {
      for (const { name, choice } of this.#rows) choice.setAttribute("aria-pressed", name === layer);
    }

    /**
     * Show the outputs of all layers.
     * @param {Map<string, {values: () => Float64Array}>} few Those with few bits, by the layer's name.
     * @param {Map<string, {values: () => Float64Array}>} float Those of the float network.
     */
    show(few, float) {
      for (const { name, shape, note, maps, differences } of this.#rows) {
        const [rounded, exact] = [few.get(name).values(), float.get(name).values()];
        const off = rounded.map((value, i) => value - exact[i]);
        const largest = most(exact);
        window.FewBits.drawMaps(maps, rounded, shape, largest, COLUMNS);
        window.FewBits.drawMaps(differences, off, shape, largest, COLUMNS);
        const change = mean(off) / (mean(exact) || 1);
        note.textContent = change < 0.0005 ? "changed by less than 0.1 %" : `changed by ${Number((100 * change).toPrecision(2))} %`;
        differences.setAttribute("aria-label", `${name}: ${note.textContent}`);
      }
    }
  }

  Object.assign(window.FewBits, { LayerMaps });
})();
