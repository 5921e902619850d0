/**
 * Return a page's article as HTML that can stand in one file with those of other pages.
 *
 * Nothing is left to click: hidden code is gone, solutions are open, and a figure that is painted on canvases is what
 * browsers without JavaScript show. Ids begin with the page's, links to pages of the file lead to their place in it,
 * other links to files are text, and addresses of images are absolute.
 * @param {{page: string, pages: string[], root: string}} of the page, all pages of the file, the folder's address
 * @returns {{title: string, html: string, styles: string[]}}
 */
(book) => {
  "use strict";
  const { page, pages, root } = book;
  const article = document.querySelector("article");
  dispatchEvent(new Event("beforeprint")); // questions unfold their explanations
  for (const figure of article.querySelectorAll("figure:has(> .live canvas)")) {
    figure.querySelector(".live").outerHTML = figure.querySelector("noscript").textContent;
  }
  const clicked = "script, button, details.hide, .fewbits-figure details, .headerlink, .modebar-container, .fewbits-running";
  article.querySelectorAll(clicked).forEach((element) => element.remove());
  article.querySelectorAll("details").forEach((folded) => folded.setAttribute("open", ""));
  article.querySelectorAll(".toggle-hidden").forEach((folded) => folded.classList.remove("toggle-hidden"));
  const anchor = (name, hash) => [name.replaceAll("/", "-"), hash].filter(Boolean).join("--");
  const plain = (address) => address.split(/[#?]/)[0];
  for (const link of article.querySelectorAll("a[href]")) {
    const name = plain(link.href).startsWith(root) ? plain(link.href).slice(root.length).replace(/\.html$/, "") : null;
    if (name !== null && pages.includes(name)) link.setAttribute("href", `#${anchor(name, link.hash.slice(1))}`);
    else if (link.protocol === "file:") link.removeAttribute("href");
  }
  for (const element of article.querySelectorAll("[id]")) {
    if (!element.closest("svg")) element.id = anchor(page, element.id); // a drawing refers to its own ids
  }
  article.querySelectorAll("img").forEach((image) => image.setAttribute("src", image.src));
  article.id = anchor(page);
  const title = article.querySelector("h1").textContent.trim();
  const styles = [...document.querySelectorAll("link[rel=stylesheet]")].map((link) => link.href);
  return { title, html: article.outerHTML, styles };
};
