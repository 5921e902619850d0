// A pad to draw a digit on, with mouse, finger or keyboard, and the small image that the network gets of it.
(() => {
  "use strict";
  window.FewBits ??= {};

  const SIDE = 32; // cells of the pad; the data set was made of bitmaps of this size
  const BLOCK = 4; // 4 x 4 cells are one pixel, whose grey level counts those with ink
  const RADIUS = 1.8; // of the pen, in cells
  const LARGEST_ZOOM = 4; // a dot stays a dot
  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  /**
   * Scale strokes until they fill the pad, centred, as the digits of the data set do.
   * @param {number[][][]} strokes Lists of points [x, y], in cells.
   * @returns {number[][][]} The strokes, moved and scaled.
   */
  function fitted(strokes) {
    const points = strokes.flat();
    const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const room = SIDE - 2 * RADIUS;
    const zoom = Math.min(room / Math.max(right - left, bottom - top, 1), LARGEST_ZOOM);
    const moved = ([x, y]) => [(x - (left + right) / 2) * zoom + SIDE / 2, (y - (top + bottom) / 2) * zoom + SIDE / 2];
    return strokes.map((stroke) => stroke.map(moved));
  }

  function distance([x, y], [ax, ay], [bx, by]) {
    const [dx, dy] = [bx - ax, by - ay];
    const along = Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
    return Math.hypot(x - ax - along * dx, y - ay - along * dy);
  }

  /**
   * Turn strokes into an image: ink in cells, counted in blocks.
   * @param {number[][][]} strokes Lists of points [x, y], in cells.
   * @returns {Uint8Array} Grey levels from 0 to 16, row by row.
   */
  function rastered(strokes) {
    const image = new Uint8Array((SIDE / BLOCK) ** 2);
    if (!strokes.length) return image;
    const segments = fitted(strokes).flatMap((s) => s.map((point, i) => [s[Math.max(i - 1, 0)], point]));
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const inked = segments.some(([a, b]) => distance([x + 0.5, y + 0.5], a, b) <= RADIUS);
        if (inked) image[Math.floor(y / BLOCK) * (SIDE / BLOCK) + Math.floor(x / BLOCK)] += 1;
      }
    }
    return image;
  }

  /** The pad: keeps strokes, draws them, and reports the image after each change. */
  class Pad {
    #canvas;
    #onchange;
    #strokes = [];
    #pen = [SIDE / 2, SIDE / 2]; // of the keyboard
    #down = false;

    /**
     * @param {HTMLCanvasElement} canvas Where to draw.
     * @param {(image: Uint8Array) => void} onchange Called with the image, 8 x 8 grey levels from 0 to 16.
     */
    constructor(canvas, onchange) {
      this.#canvas = canvas;
      this.#onchange = onchange;
      canvas.addEventListener("pointerdown", (event) => this.#press(event));
      canvas.addEventListener("pointermove", (event) => this.#drag(event));
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (this.#down = false));
      canvas.addEventListener("keydown", (event) => this.#key(event));
      for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.#lift());
      this.draw();
    }

    /** Remove all strokes, without a report. */
    clear() {
      this.#strokes = [];
      this.#down = false;
      this.draw();
    }

    /** Draw the pad again, for instance after a change of colours. */
    draw() {
      const context = this.#canvas.getContext("2d");
      const style = getComputedStyle(this.#canvas);
      const scale = this.#canvas.width / SIDE;
      context.setTransform(scale, 0, 0, scale, 0, 0);
      context.clearRect(0, 0, SIDE, SIDE);
      context.strokeStyle = context.fillStyle = style.color;
      context.lineWidth = 2 * RADIUS;
      context.lineCap = context.lineJoin = "round";
      for (const stroke of this.#strokes) {
        context.beginPath();
        stroke.forEach(([x, y]) => context.lineTo(x, y));
        context.lineTo(...stroke.at(-1)); // a single point is a dot
        context.stroke();
      }
      if (!this.#strokes.length) this.#invite(context);
      if (document.activeElement === this.#canvas && this.#canvas.matches(":focus-visible")) this.#drawPen(context);
    }

    #invite(context) {
      context.globalAlpha = 0.65;
      context.font = "2.6px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillText("Draw a digit here", SIDE / 2, SIDE / 2 + 1);
      context.globalAlpha = 1;
    }

    #drawPen(context) {
      context.beginPath();
      context.arc(...this.#pen, RADIUS + 0.6, 0, 2 * Math.PI);
      context.lineWidth = 0.5;
      context.strokeStyle = this.#down ? "#d55e00" : "#2a86c8";
      context.stroke();
    }

    #place(event) {
      const box = this.#canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
    }

    #press(event) {
      this.#canvas.setPointerCapture(event.pointerId);
      this.#down = true;
      this.#begin(this.#place(event));
    }

    #drag(event) {
      if (this.#down && this.#canvas.hasPointerCapture(event.pointerId)) this.#extend(this.#place(event));
    }

    #lift() {
      this.#down = false;
      this.draw();
    }

    #key(event) {
      if (event.key === " ") {
        this.#down = !this.#down;
        this.#down ? this.#begin([...this.#pen]) : this.draw();
      } else if (event.key === "Delete" || event.key === "Backspace" || event.key === "Escape") {
        this.clear();
        this.#report();
      } else if (event.key in MOVES && !event.ctrlKey && !event.metaKey && !event.altKey) {
        const [dx, dy] = MOVES[event.key];
        this.#pen = [this.#pen[0] + dx, this.#pen[1] + dy].map((at) => Math.max(1, Math.min(SIDE - 1, at)));
        this.#down ? this.#extend([...this.#pen]) : this.draw();
      } else return;
      event.preventDefault();
    }

    #begin(point) {
      this.#strokes.push([point]);
      this.#report();
    }

    #extend(point) {
      this.#strokes.at(-1).push(point);
      this.#report();
    }

    #report() {
      this.draw();
      this.#onchange(rastered(this.#strokes));
    }
  }

  Object.assign(window.FewBits, { Pad });
})();
