// The front page's network: a digit to draw, formats on sliders, and all that changes with them.
(() => {
  "use strict";
  window.FewBits ??= {};

  const GREYS = 16;

  /** Draw an image of grey levels from 0 to 16, dark on light in every theme. */
  function drawImage(canvas, pixels) {
    const side = Math.sqrt(pixels.length);
    const cell = canvas.width / side;
    const context = canvas.getContext("2d");
    pixels.forEach((grey, i) => {
      context.fillStyle = `hsl(0 0% ${100 - (92 * grey) / GREYS}%)`;
      context.fillRect((i % side) * cell, Math.floor(i / side) * cell, cell, cell);
    });
  }

  /** All parts of a playground, and what happens when one of them changes. */
  class Playground {
    #data;
    #find;
    #reader;
    #network;
    #layers;
    #pixels;
    #pad;
    #controls;
    #maps;
    #probabilities;
    #score;
    #shown; // the layer of the histogram
    #answers; // in float and with few bits, in words

    /** @param {HTMLElement} figure The figure, as `fewbits.explore.playground` writes it. */
    constructor(figure) {
      const { Controls, LayerMaps, Pad, Probabilities, Reader, Score } = window.FewBits;
      this.#find = (selector) => figure.querySelector(selector);
      this.#data = JSON.parse(this.#find('script[type="application/json"]').textContent);
      const { classes, presets, reader } = this.#data;
      this.#reader = new Reader(reader);
      this.#network = this.#reader.network;
      this.#layers = this.#reader.layers;
      this.#shown = this.#layers[0].name;
      const names = this.#layers.map((layer) => layer.name);

      this.#pad = new Pad(this.#find(".pad"), (pixels) => this.#take(pixels));
      this.#probabilities = new Probabilities(this.#find(".classes"), classes);
      this.#score = new Score(this.#find(".accuracy"), (how) => this.#reader.count(how));
      this.#maps = new LayerMaps(this.#find(".layers ol"), this.#layers, (layer) => this.#controls.choose(layer));
      this.#controls = new Controls(
        figure, names, this.#network.roundings, presets, (layers) => this.#change(layers), (layer) => this.#choose(layer),
      );
      this.#listSamples();
      this.#find(".clear").addEventListener("click", () => this.#clear());
      this.#find(".reset").addEventListener("click", () => this.#reset());
      new MutationObserver(() => this.#pad.draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });

      this.#find(".live").hidden = false;
      this.#format(names);
      this.#pick(0);
      this.#choose("");
      this.#score.countFloat().then(() => this.#recount());
    }

    #listSamples() {
      for (let i = 0; i < this.#data.samples; i++) {
        const made = Object.assign(document.createElement("button"), { type: "button" });
        made.setAttribute("aria-label", `test digit ${i + 1}, a ${this.#data.classes[this.#reader.labels[i]]}`);
        made.addEventListener("click", () => this.#pick(i));
        drawImage(made.appendChild(Object.assign(document.createElement("canvas"), { width: 32, height: 32 })), this.#reader.image(i));
        this.#find(".samples").append(made);
      }
    }

    #clear() {
      this.#pad.clear();
      this.#take(new Uint8Array(this.#pixels.length));
    }

    #reset() {
      this.#controls.reset();
      this.#pick(0);
    }

    #pick(number) {
      this.#pad.clear();
      this.#take(this.#reader.image(number), number);
    }

    #take(pixels, number) {
      this.#pixels = pixels;
      [...this.#find(".samples").children].forEach((made, i) => made.setAttribute("aria-pressed", i === number));
      drawImage(this.#find(".input"), pixels);
      this.#read();
    }

    #choose(layer) {
      this.#shown = layer || this.#shown;
      this.#maps.mark(layer);
      this.#showWeights();
    }

    #change(layers) {
      this.#format(layers);
      this.#read();
      this.#showWeights();
      this.#recount();
    }

    /** Give layers the formats of their settings: MSBs from the tables of the run, those of weights moved by the shift. */
    #format(layers) {
      for (const layer of layers) {
        const { weights, activations, shift, rounding, unsigned } = this.#controls.setting(layer);
        const tables = this.#data.msbs[unsigned ? "unsigned" : "signed"];
        const [, input, output] = tables[activations][layer];
        this.#network.setFormats(layer, {
          kernel: { msb: tables[weights][layer][0] + shift, nbits: weights, signed: true },
          input: { msb: input[0], nbits: activations, signed: input[1] },
          output: { msb: output[0], nbits: activations, signed: output[1] },
          rounding,
        });
      }
    }

    #read() {
      const [few, float] = [this.#network.run(this.#pixels), this.#network.runFloat(this.#pixels)];
      this.#maps.show(few, float);
      const shares = [float, few].map((tensors) => Array.from(window.FewBits.softmax([...tensors.values()].at(-1).values())));
      this.#probabilities.show(shares);
      this.#answers = shares.map((of) => this.#answer(of));
      this.#summarize();
    }

    /** Return the most probable class in words; several classes where they are equally probable. */
    #answer(shares) {
      const largest = Math.max(...shares);
      const most = this.#data.classes.filter((_, i) => shares[i] === largest);
      const named = most.join(", ").replace(/, ([^,]*)$/, " or $1");
      return `${named} (${window.FewBits.percent(largest)}${most.length > 1 ? " each" : ""})`;
    }

    #recount() {
      const bits = this.#layers.reduce((sum, { name, weights }) => sum + weights * this.#controls.setting(name).weights, 0);
      const floats = 4 * this.#layers.reduce((sum, { weights }) => sum + weights, 0);
      const bytes = (number) => Math.round(number).toLocaleString("en");
      this.#find(".bytes").textContent = `Weights: ${bytes(floats)} bytes in float, ${bytes(bits / 8)} bytes now.`;
      this.#score.recount(() => this.#summarize());
    }

    #summarize() {
      const [float, few] = this.#answers;
      this.#find(".summary").textContent = `With few bits the network reads ${few}, in float ${float}. ${this.#score.inWords()}`;
    }

    #showWeights() {
      const kernel = this.#network.kernel(this.#shown);
      window.FewBits.drawWeights(this.#find(".weights svg"), kernel);
      this.#find(".weights .name").textContent = this.#shown;
      this.#find(".weights .words").textContent = window.FewBits.weightsInWords(kernel);
    }
  }

  for (const figure of document.querySelectorAll(".fewbits-playground")) new Playground(figure);
})();
