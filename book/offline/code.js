// One switch for all folded code of a page. Loaded in the head, so that no code shows before it folds.
(() => {
  "use strict";
  const key = "fewbits-code";
  const root = document.documentElement;

  /** What the reader chose last; a browser may keep nothing for pages from files. */
  const kept = () => {
    try {
      return localStorage.getItem(key) === "shown";
    } catch {
      return false;
    }
  };
  const keep = (shown) => {
    try {
      localStorage.setItem(key, shown ? "shown" : "folded");
    } catch {
      // the choice holds for this page
    }
  };

  function set(shown) {
    root.dataset.code = shown ? "shown" : "folded";
    for (const folded of document.querySelectorAll(".cell details.hide")) folded.open = shown;
  }

  function addSwitch() {
    const article = document.querySelector("article.bd-article");
    if (!article?.querySelector(".cell details.hide")) return;
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "fewbits-code-switch", textContent: "Show code" });
    const show = (shown) => {
      set(shown);
      button.setAttribute("aria-pressed", shown);
      window.dispatchEvent(new Event("resize")); // the theme then lets the keyboard reach long lines of code
    };
    button.addEventListener("click", () => {
      const shown = root.dataset.code !== "shown";
      show(shown);
      keep(shown);
    });
    show(kept());
    article.prepend(button);
  }

  set(kept());
  document.addEventListener("DOMContentLoaded", addSwitch);
})();
