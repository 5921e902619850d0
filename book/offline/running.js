// The zip of the book lies beside the pages on a server only: who reads files already has them all.
(() => {
  "use strict";
  const hide = () => document.querySelectorAll(".fewbits-whole-book").forEach((link) => link.remove());
  if (location.protocol === "file:") document.addEventListener("DOMContentLoaded", hide);
})();
