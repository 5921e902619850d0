// The controls of a network's formats: presets, and one setting per layer that a form shows and changes.
(() => {
  "use strict";
  window.FewBits ??= {};

  const ALL = ""; // the choice of all layers

  const signs = { shift: (value) => (value > 0 ? `+${value}` : String(value).replace("-", "\u2212")) };

  /**
   * @typedef {object} Setting
   * @property {number} weights Bits of the weights.
   * @property {number} activations Bits of inputs and outputs.
   * @property {number} shift Added to the MSB of the weights.
   * @property {string} rounding The name of a rounding.
   * @property {boolean} unsigned Whether values that are never negative have no sign.
   */

  /** The form and the buttons above it. */
  class Controls {
    #form;
    #presets; // name -> setting
    #buttons = {}; // name -> button
    #settings = new Map(); // layer -> setting
    #onchange;
    #onchoose;

    /**
     * @param {HTMLElement} box Holds the form, and a button of class `reset` that the presets go before.
     * @param {string[]} layers The names of the layers.
     * @param {string[]} roundings The names of the roundings.
     * @param {Object<string, Setting>} presets Name -> setting; the first is where all begins.
     * @param {(layers: string[]) => void} onchange Called with the layers whose setting has changed.
     * @param {(layer: string) => void} onchoose Called with the layer that the form now shows, or "" for all.
     */
    constructor(box, layers, roundings, presets, onchange, onchoose) {
      this.#form = box.querySelector("form");
      this.#presets = presets;
      this.#onchange = onchange;
      this.#onchoose = onchoose;
      const choices = [["all layers", ALL], ...layers.map((layer) => [layer, layer])];
      this.#form.elements.layer.append(...choices.map((choice) => new Option(...choice)));
      this.#form.elements.rounding.append(...roundings.map((rounding) => new Option(rounding)));
      for (const name of Object.keys(presets)) {
        const made = Object.assign(document.createElement("button"), { type: "button", textContent: name });
        made.addEventListener("click", () => this.#take(name));
        this.#buttons[name] = made;
        box.querySelector(".reset").before(made);
      }
      this.#form.addEventListener("submit", (event) => event.preventDefault());
      this.#form.addEventListener("input", ({ target }) => (target.name === "layer" ? this.#shown() : this.#set(target)));
      for (const layer of layers) this.#settings.set(layer, { ...Object.values(presets)[0] });
      this.#show();
    }

    /** Take the first preset. */
    reset() {
      this.#take(Object.keys(this.#presets)[0]);
    }

    /** Return the setting of a layer. */
    setting(layer) {
      return this.#settings.get(layer);
    }

    /** Show the setting of one layer, and change that layer alone; of all if `layer` is "". */
    choose(layer) {
      this.#form.elements.layer.value = layer;
      this.#shown();
    }

    get #chosen() {
      const layer = this.#form.elements.layer.value;
      return layer === ALL ? [...this.#settings.keys()] : [layer];
    }

    #shown() {
      this.#show();
      this.#onchoose(this.#form.elements.layer.value);
    }

    #take(preset) {
      for (const layer of this.#settings.keys()) this.#settings.set(layer, { ...this.#presets[preset] });
      this.#onchange([...this.#settings.keys()]);
      this.choose(ALL);
    }

    #set(input) {
      const values = { checkbox: input.checked, range: Number(input.value) };
      for (const layer of this.#chosen) this.#settings.get(layer)[input.name] = values[input.type] ?? input.value;
      this.#show();
      this.#onchange(this.#chosen);
    }

    #show() {
      for (const [name, value] of Object.entries(this.#settings.get(this.#chosen[0]))) {
        const input = this.#form.elements[name];
        input.type === "checkbox" ? (input.checked = value) : (input.value = value);
        if (input.type !== "range") continue;
        const text = (signs[name] ?? String)(value);
        input.parentElement.querySelector("output").textContent = text;
        input.setAttribute("aria-valuetext", text);
      }
      const everywhere = (preset) =>
        [...this.#settings.values()].every((own) => Object.entries(preset).every(([name, value]) => own[name] === value));
      for (const [name, made] of Object.entries(this.#buttons)) {
        made.setAttribute("aria-pressed", everywhere(this.#presets[name]));
      }
    }
  }

  Object.assign(window.FewBits, { Controls });
})();
