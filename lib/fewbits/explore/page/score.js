// How many of the test digits a network reads, with and without few bits; counted anew after each change.
(() => {
  "use strict";
  window.FewBits ??= {};

  const PAUSE = 150; // ms without a change before the count begins

  /** Two meters and a progress mark. */
  class Score {
    #box;
    #count;
    #aborter = new AbortController();
    #timer;
    #right = {};

    /**
     * @param {HTMLElement} box Holds elements of class `float` and `quantized`, and a <progress>.
     * @param {(options: object) => Promise<{right: number, total: number}>} count Counts, as `FewBits.Network.accuracy` does.
     */
    constructor(box, count) {
      this.#box = box;
      this.#count = count;
    }

    /** Count the digits that the float network reads. */
    async countFloat() {
      this.#show("float", await this.#count({ float: true }));
    }

    /**
     * Count the digits that the network reads with its present formats, after a pause.
     * @param {() => void} done Called when all have been counted, unless the formats change before.
     */
    recount(done) {
      this.#aborter.abort();
      clearTimeout(this.#timer);
      this.#aborter = new AbortController();
      this.#box.classList.add("counting");
      this.#timer = setTimeout(() => this.#run(this.#aborter.signal, done), PAUSE);
    }

    /** Return how many digits are read, in words; empty before both counts are known. */
    inWords() {
      const { float, quantized } = this.#right;
      if (!float || !quantized) return "";
      return `Of ${quantized.total} test digits it reads ${quantized.right}, in float ${float.right}.`;
    }

    async #run(signal, done) {
      const mark = this.#box.querySelector("progress");
      try {
        const found = await this.#count({ signal, onProgress: ({ done: seen, total }) => (mark.value = seen / total) });
        if (signal.aborted) return;
        this.#show("quantized", found);
        this.#box.classList.remove("counting");
        done();
      } catch (error) {
        if (error.name !== "AbortError") throw error;
      }
    }

    #show(kind, { right, total }) {
      this.#right[kind] = { right, total };
      this.#box.querySelector(`b.${kind}`).textContent = `${((100 * right) / total).toFixed(1)} %`;
      this.#box.querySelector(`i.${kind}`).style.setProperty("--share", right / total);
    }
  }

  Object.assign(window.FewBits, { Score });
})();
