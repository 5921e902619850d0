// Holds the explanations of questions back until the reader has answered, and keeps the score in this browser alone.
(() => {
  "use strict";

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

    words() {
      const why = this.answers[this.chosen].lastChild.textContent.trim();
      return `${this.isRight ? "✓ Right." : "✗ Not right."} ${why}`;
    }
  }

  function start() {
    const roots = [...document.querySelectorAll(".fewbits-question")];
    if (!roots.length) return;
    const score = element("span", "");
    const again = element("button", "fewbits-again", "Ask me again");
    again.type = "button";
    const store = answerStore();
    const showScore = () => {
      const answered = questions.filter((question) => question.chosen !== null).length;
      const right = questions.filter((question) => question.isRight).length;
      score.textContent = answered ? `${right} of ${questions.length} right` : `${questions.length} questions to answer`;
      again.hidden = !answered;
    };
    const questions = roots.map((root) => new Question(root, store, showScore));
    again.addEventListener("click", () => {
      for (const question of questions) question.forget();
      showScore();
      questions[0].inputs[0].focus();
    });
    const line = element("p", "fewbits-score");
    score.setAttribute("role", "status");
    line.append(score, " ", again);
    roots.at(-1).after(line);
    showScore();
  }

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
