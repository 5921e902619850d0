// Activation maps of a layer as small pictures in a row: positive values blue, negative ones orange, zero the ground.
(() => {
  "use strict";
  window.FewBits ??= {};

  const POSITIVE = [42, 134, 200];
  const NEGATIVE = [213, 94, 0];
  const VISIBLE = 0.7; // exponent that makes small values visible
  const GAP = 2; // between maps, in pixels of the canvas

  /**
   * Draw maps side by side, all on one scale.
   * @param {HTMLCanvasElement} canvas Its width is that of `columns` maps.
   * @param {ArrayLike<number>} values Row by row, the channels of a pixel together.
   * @param {number[]} shape Height, width and channels.
   * @param {number} largest The value that is drawn in full colour.
   * @param {number} columns How many maps to draw; if the layer has fewer, their places stay empty.
   */
  function drawMaps(canvas, values, [height, width, channels], largest, columns) {
    const context = canvas.getContext("2d");
    const side = Math.floor((canvas.width - GAP * (columns - 1)) / columns);
    const drawn = Math.min(columns, channels);
    const small = new OffscreenCanvas(width, height);
    const inner = small.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    for (let channel = 0; channel < drawn; channel++) {
      inner.putImageData(picture(values, height, width, channels, channel, largest), 0, 0);
      const left = channel * (side + GAP);
      context.drawImage(small, left, 0, side, side);
      context.strokeStyle = "rgba(136, 136, 136, 0.6)";
      context.strokeRect(left + 0.5, 0.5, side - 1, side - 1);
    }
  }

  function picture(values, height, width, channels, channel, largest) {
    const image = new ImageData(width, height);
    for (let pixel = 0; pixel < height * width; pixel++) {
      const share = values[pixel * channels + channel] / (largest || 1);
      image.data.set(share < 0 ? NEGATIVE : POSITIVE, 4 * pixel);
      image.data[4 * pixel + 3] = 255 * Math.min(1, Math.abs(share)) ** VISIBLE;
    }
    return image;
  }

  Object.assign(window.FewBits, { drawMaps });
})();
