// What is wider than the page scrolls in a box of its own. The keyboard must reach such a box, and only such a box.
(() => {
  "use strict";
  const boxes = ".equation, .cell_output .text_html > table, .fewbits-figure details > table, .indextable, .pst-scrollable-table-container";

  function reach() {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  window.addEventListener("load", reach);
  window.addEventListener("resize", reach);
  matchMedia("print").addEventListener("change", reach); // on paper nothing scrolls; afterwards it does again
  document.addEventListener("toggle", reach, true); // a table that was folded
})();
