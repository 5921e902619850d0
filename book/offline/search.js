// The search, from texts that search-texts.js holds: no index on a server, nothing to fetch.
(() => {
  "use strict";
  const MOST = 50; // results shown
  const AROUND = 110; // characters of an excerpt on each side of its first word

  /**
   * Make a text comparable: lower case, no accents. Positions stay those of the text.
   * @param {string} text
   * @returns {string}
   */
  function folded(text) {
    const plain = text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
    return plain.length === text.length ? plain : text.toLowerCase();
  }

  /**
   * Find the passages that hold every word, those with the words in their titles first.
   * @param {{folded: string, foldedTitle: string, foldedPage: string}[]} passages
   * @param {string[]} words folded words
   * @returns {object[]} passages, best first
   */
  function found(passages, words) {
    const count = (text) => words.filter((word) => text.includes(word)).length;
    const often = (text) => words.reduce((sum, word) => sum + text.split(word).length - 1, 0);
    return passages
      .filter((p) => words.every((w) => p.foldedTitle.includes(w) || p.folded.includes(w)))
      .map((p) => ({ passage: p, rank: [count(p.foldedTitle), count(p.foldedPage), often(p.folded)] }))
      .sort((a, b) => b.rank[0] - a.rank[0] || b.rank[1] - a.rank[1] || b.rank[2] - a.rank[2])
      .map((p) => p.passage);
  }

  /**
   * Return a text as nodes, each word of the search in a mark.
   * @param {string} text
   * @param {string[]} words folded words
   * @returns {(Text|HTMLElement)[]}
   */
  function marked(text, words) {
    const plain = folded(text);
    const parts = [];
    let at = 0;
    while (at < text.length) {
      const hits = words.map((word) => [plain.indexOf(word, at), word.length]).filter(([start]) => start >= 0);
      if (!hits.length) break;
      const [start, length] = hits.reduce((a, b) => (b[0] < a[0] || (b[0] === a[0] && b[1] > a[1]) ? b : a));
      const mark = document.createElement("mark");
      mark.textContent = text.slice(start, start + length);
      parts.push(document.createTextNode(text.slice(at, start)), mark);
      at = start + length;
    }
    return [...parts, document.createTextNode(text.slice(at))];
  }

  /**
   * Cut out of a passage's text what stands around the first word found.
   * @param {{text: string, folded: string}} passage
   * @param {string[]} words folded words
   * @returns {string}
   */
  function excerpt({ text, folded: plain }, words) {
    const hits = words.map((word) => plain.indexOf(word)).filter((start) => start >= 0);
    const middle = hits.length ? Math.min(...hits) : 0;
    const start = middle > AROUND ? text.indexOf(" ", middle - AROUND) + 1 : 0;
    const end = middle + AROUND < text.length ? text.lastIndexOf(" ", middle + AROUND) : text.length;
    const stop = end > middle ? end : Math.min(middle + AROUND, text.length);
    return `${start > 0 ? "… " : ""}${text.slice(Math.min(start, middle), stop)}${stop < text.length ? " …" : ""}`;
  }

  function item(passage, words) {
    const link = document.createElement("a");
    link.href = `${passage.page}.html${passage.anchor && "#"}${passage.anchor}`;
    link.append(...marked(passage.title, words));
    const place = document.createElement("span");
    if (passage.anchor) place.append(" in ", passage.pageTitle);
    const text = document.createElement("p");
    text.append(...marked(excerpt(passage, words), words));
    const entry = document.createElement("li");
    entry.append(link, place, text);
    return entry;
  }

  const passages = Object.entries(FEWBITS_TEXTS).flatMap(([page, all]) =>
    all.map(([anchor, title, text]) => ({
      page, anchor, title, text, pageTitle: all[0][1],
      folded: folded(text), foldedTitle: folded(title), foldedPage: folded(all[0][1]),
    })),
  );
  const input = document.querySelector(".bd-search-container input[name=q]");
  const status = document.getElementById("fewbits-found");
  const list = document.getElementById("fewbits-results");

  function show() {
    const words = [...new Set(folded(input.value).split(/\s+/).filter(Boolean))];
    const results = words.length ? found(passages, words) : [];
    const more = results.length > MOST ? `, the first ${MOST} of them below` : "";
    const number = `${results.length || "No"} ${results.length === 1 ? "passage" : "passages"}`;
    status.textContent = words.length ? `${number} with ${words.length > 1 ? "all words" : "this word"}${more}` : "";
    list.replaceChildren(...results.slice(0, MOST).map((passage) => item(passage, words)));
  }

  // Arrow keys lead from the field to the results, through them, and back.
  function step(event) {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const stops = [input, ...list.querySelectorAll("a")];
    const at = stops.indexOf(document.activeElement);
    if (!way || at < 0) return;
    event.preventDefault();
    stops[Math.min(Math.max(at + way, 0), stops.length - 1)].focus();
  }

  input.value = new URLSearchParams(location.search).get("q") ?? "";
  input.addEventListener("input", show);
  document.addEventListener("keydown", step);
  input.focus();
  show();
})();
