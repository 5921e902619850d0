// A network in the page, and the images whose share of right answers it counts.
(() => {
  "use strict";
  window.FewBits ??= {};

  const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  /** The numbers of several arrays, one after the other. */
  const joined = (arrays) => Float64Array.from(arrays.flatMap((array) => [...array]));

  /** What fewbits.explore.readers.reader_data writes, ready to read. */
  class Reader {
    #images;

    /** @param {{program: object, images: string, labels: string}} data */
    constructor({ program, images, labels }) {
      this.network = new window.FewBits.Network(program);
      this.labels = decoded(labels);
      this.#images = decoded(images);
    }

    /** The layers that multiply, in order. */
    get layers() {
      return this.network.layers.filter((layer) => layer.kind === "convolve");
    }

    /** @returns {Uint8Array} The pixels of an image. */
    image(number) {
      const size = this.#images.length / this.labels.length;
      return this.#images.subarray(number * size, (number + 1) * size);
    }

    /** Counts the images that the network reads right; options and result are those of Network.accuracy. */
    count(options) {
      return this.network.accuracy(this.#images, this.labels, options);
    }
  }

  Object.assign(window.FewBits, { Reader, joined });
})();
