// The page of all trials: a heading sorts the table by its column, a field filters the rows. Without this it is a plain table.
(() => {
  "use strict";
  const box = document.querySelector(".fewbits-trials");
  if (!box) return;
  const body = box.querySelector("tbody");
  const heads = [...box.querySelectorAll("thead th")];
  const rows = [...body.rows];

  /**
   * What a cell is sorted by.
   * @param {HTMLTableCellElement} cell
   * @param {boolean} isNumber
   * @returns {number | string | null} null for a cell that holds nothing
   */
  function valueOf(cell, isNumber) {
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (text === "") return null;
    return isNumber ? Number(text) : text.toLowerCase();
  }

  /**
   * Sort the rows by a column; cells that hold nothing come last, and equal rows keep their order.
   * @param {number} column
   * @param {"ascending" | "descending"} direction
   */
  function sort(column, direction) {
    const isNumber = heads[column].classList.contains("number");
    const sign = direction === "ascending" ? 1 : -1;
    const keyed = rows.map((row) => [valueOf(row.cells[column], isNumber), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    });
    heads.forEach((head, i) => (i === column ? head.setAttribute("aria-sort", direction) : head.removeAttribute("aria-sort")));
    body.append(...keyed.map(([, row]) => row));
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () =>
      sort(column, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"));
    head.replaceChildren(button);
  });

  const form = document.createElement("div");
  form.className = "fewbits-trials-filter";
  form.innerHTML = '<label for="fewbits-trials-words">Only rows with</label>' +
    '<input id="fewbits-trials-words" type="search" autocomplete="off" placeholder="squeezenet 6-6-6">' +
    '<output for="fewbits-trials-words" aria-live="polite"></output>';
  const [, field, count] = form.children;
  const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());

  /** Show the rows that hold all words of the field, and say how many they are. */
  function filter() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => (row.hidden = !words.every((word) => texts[i].includes(word))));
    count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} trials`;
  }
  field.addEventListener("input", filter);
  box.before(form);
  filter();
})();
