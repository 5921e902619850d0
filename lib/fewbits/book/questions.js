// Holds the explanations of questions back until the reader has answered, and keeps the score in this browser alone.
// It stands in each question, so that it runs in JupyterLab too; the first one is that which all use.
(() => {
  "use strict";
  window.FewBits ??= {};

  /**
   * Return the store of answers: this browser's, or none where it refuses one.
   * @returns {{get: function(string): (string|null), set: function(string, (string|null)): void}}
   */
  function answerStore() {
    const prefix = "fewbits-";
    const kept = new Map(); // of this visit, in case the browser keeps nothing
    return {
      get(name) {
        try {
          return localStorage.getItem(prefix + name) ?? kept.get(name) ?? null;
        } catch {
          return kept.get(name) ?? null;
        }
      },
      set(name, value) {
        value === null ? kept.delete(name) : kept.set(name, value);
        try {
          value === null ? localStorage.removeItem(prefix + name) : localStorage.setItem(prefix + name, value);
        } catch {
          // answers last as long as the page
        }
      },
    };
  }

  /**
   * Return an element with text.
   * @param {string} tag The element's name.
   * @param {string} className Its class.
   * @param {string} text Its text.
   * @returns {HTMLElement}
   */
  function element(tag, className, text = "") {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  }

  /** One question of the page: its choices, and what the reader sees once one of them is checked. */
  class Question {
    /**
     * @param {HTMLElement} root The question's element.
     * @param {object} store Where the answer is kept.
     * @param {function(): void} changed Called after each answer.
     */
    constructor(root, store, changed) {
      this.root = root;
      this.store = store;
      this.changed = changed;
      this.inputs = [...root.querySelectorAll("input")];
      this.answers = [...root.querySelectorAll("li")];
      this.details = root.querySelector("details");
      this.button = element("button", "fewbits-check", "Check");
      this.button.type = "button";
      this.verdict = element("p", "fewbits-verdict");
      this.verdict.setAttribute("role", "status"); // read aloud when it changes
      root.querySelector("fieldset").append(this.button);
      this.details.before(this.verdict);
      this.button.addEventListener("click", () => this.answer());
      this.show();
    }

    /** The number of the choice that the reader has checked, or null. */
    get chosen() {
      const kept = this.store.get(this.root.id);
      return kept !== null && this.inputs[kept] ? Number(kept) : null;
    }

    get isRight() {
      return this.chosen !== null && "right" in this.answers[this.chosen].dataset;
    }

    answer() {
      const at = this.inputs.findIndex((input) => input.checked);
      if (at < 0) {
        this.verdict.textContent = "Choose an answer first.";
        return;
      }
      this.store.set(this.root.id, String(at));
      this.show();
      this.changed();
    }

    forget() {
      this.store.set(this.root.id, null);
      for (const input of this.inputs) input.checked = false;
      this.show();
    }

    show() {
      const { chosen } = this;
      const answered = chosen !== null;
      if (answered) this.inputs[chosen].checked = true;
      for (const input of this.inputs) input.disabled = answered;
      this.answers.forEach((answer, at) => answer.classList.toggle("chosen", at === chosen));
      this.button.hidden = answered;
      this.details.hidden = !answered;
      this.details.open = answered;
      this.verdict.textContent = answered ? this.words() : "";
    }

    /** Show all explanations: paper cannot be asked. */
    unfold() {
      this.details.hidden = false;
      this.details.open = true;
    }

    words() {
      const why = this.answers[this.chosen].lastChild.textContent.trim();
      return `${this.isRight ? "✓ Right." : "✗ Not right."} ${why}`;
    }
  }

  /** The score of the questions in one notebook, in a line below the last of them. */
  class Score {
    constructor() {
      this.questions = new Map(); // the question's name -> the question as it was last displayed
      this.store = answerStore();
      this.line = element("p", "fewbits-score");
      this.words = element("span", "");
      this.words.setAttribute("role", "status");
      this.again = element("button", "fewbits-again", "Ask me again");
      this.again.type = "button";
      this.line.append(this.words, " ", this.again);
      this.again.addEventListener("click", () => this.forget());
      addEventListener("beforeprint", () => this.questions.forEach((question) => question.unfold()));
      addEventListener("afterprint", () => this.questions.forEach((question) => question.show()));
    }

    /** Add a question, in place of one of the same name. */
    add(root) {
      this.questions.set(root.id, new Question(root, this.store, () => this.show()));
      root.after(this.line);
      this.show();
    }

    forget() {
      const questions = [...this.questions.values()];
      for (const question of questions) question.forget();
      this.show();
      questions[0].inputs[0].focus();
    }

    show() {
      const questions = [...this.questions.values()];
      const answered = questions.some((question) => question.chosen !== null);
      const right = questions.filter((question) => question.isRight).length;
      const count = `${questions.length} ${questions.length === 1 ? "question" : "questions"}`;
      this.words.textContent = answered ? `${right} of ${questions.length} right` : `${count} to answer`;
      this.again.hidden = !answered;
    }
  }

  const scores = new WeakMap(); // a notebook's element -> its score; JupyterLab shows several in one page

  window.FewBits.ask ??= (root) => {
    const notebook = root.closest(".jp-Notebook") ?? document.body;
    if (!scores.has(notebook)) scores.set(notebook, new Score());
    scores.get(notebook).add(root);
  };

  window.FewBits.ask(document.currentScript.parentElement);
})();
