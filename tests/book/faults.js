() => {
  const found = [];
  const say = (what, element) => found.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const visible = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true });

  if (!document.documentElement.lang) found.push("the page has no language");

  const ids = new Map();
  for (const element of all("[id]")) {
    if (ids.has(element.id)) say("id twice", element);
    ids.set(element.id, element);
  }

  for (const image of all("img:not([alt]), [role=img]:not([aria-label], [aria-labelledby])")) say("picture without words", image);

  const words = (e) => e?.innerText?.trim() || [...(e?.querySelectorAll("img[alt]") ?? [])].map((i) => i.alt).join("");
  const named = (e) =>
    e.ariaLabel || e.title || words(e.ariaLabelledByElements?.[0]) || [...(e.labels ?? [])].some((l) => words(l)) ||
    (!["INPUT", "SELECT", "TEXTAREA"].includes(e.tagName) && words(e)) || e.placeholder || e.dataset.title;
  for (const control of all("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    if (visible(control) && !named(control)) say("control without a name", control);
  }

  let level = 0;
  for (const heading of all("article :is(h1, h2, h3, h4, h5, h6)").filter(visible)) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) say(`heading ${next} after ${level}`, heading);
    level = next;
  }

  for (const table of all("article table:not(.indextable, .footnote, .citation, .field-list)")) {
    if (!table.querySelector("th")) say("table without heads", table);
  }

  // Contrast. Colours as the page draws them: the canvas knows every way to write one.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      known.set(colour, [...canvas.getImageData(0, 0, 1, 1).data].map((c, i) => (i < 3 ? c : c / 255)));
    }
    return known.get(colour);
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const grounds = new Map([[null, [255, 255, 255]]]);
  const ground = (e) => {
    if (!grounds.has(e)) grounds.set(e, over(rgba(getComputedStyle(e).backgroundColor), ground(e.parentElement)));
    return grounds.get(e);
  };
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const contrast = (ink, paper) => {
    const [high, low] = [luminance(ink), luminance(paper)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const seen = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || seen.has(element) || element.closest("script, style, noscript, option")) continue;
    seen.add(element);
    if (!visible(element)) continue;
    const style = getComputedStyle(element);
    const drawn = element.closest("svg") !== null;
    if (drawn && !element.closest(".xtick, .ytick, .legendtext, .xtitle, .ytitle")) continue; // names in bars, on pictures
    const paper = ground(drawn ? element.closest("svg").parentElement : element);
    const ink = over(rgba(drawn ? style.fill : style.color), paper);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = contrast(ink, paper);
    if (ratio < (large ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}`, element);
  }

  // Focus. One control of each kind: it must look different when it has the focus.
  const look = (e) => {
    const { outlineStyle, outlineWidth, boxShadow, borderColor, backgroundColor, textDecorationLine } = getComputedStyle(e);
    return [outlineStyle === "none" ? "" : outlineWidth, boxShadow, borderColor, backgroundColor, textDecorationLine].join();
  };
  const kinds = new Set();
  for (const control of all("article :is(a[href], button, input, select, summary, [tabindex='0'])").filter(visible)) {
    const kind = control.tagName + control.className;
    if (kinds.has(kind)) continue;
    kinds.add(kind);
    const box = control.closest(".sd-card") ?? control; // the link of a card covers it, and shows nothing itself
    const before = look(box);
    control.focus({ preventScroll: true, focusVisible: true });
    if (document.activeElement === control && look(box) === before) say("focus is not seen", control);
    control.blur();
  }
  return [...new Set(found)];
}
