// The head of the gallery: what it shows, and whose; and how much of the window the top of the page covers.

import { button, el } from "./dom.js";

/** The top of the page, which stays where one scrolls, but for very low windows. */
const top = /** @type {HTMLElement} */ (document.querySelector(".top"));
new ResizeObserver(() => document.documentElement.style.setProperty("--top", `${top.offsetHeight}px`)).observe(top);

/** CSS pixels of the window that the top of the page covers. */
export function covered() {
    return getComputedStyle(top).position === "sticky" ? top.offsetHeight : 0;
}

export class Head {
    #title = el("h2");
    #everybody;
    #own;
    element;

    /**
     * @param {(mine: boolean) => unknown} filter
     * @param {HTMLElement} select the button that begins to select
     */
    constructor(filter, select) {
        this.#everybody = button("Everybody", () => filter(false));
        this.#own = button("Mine", () => filter(true));
        const whose = { class: "switch", role: "group", "aria-label": "Whose pictures" };
        this.element = el("div", { class: "head" }, this.#title, el("div", whose, this.#everybody, this.#own), select);
    }

    /**
     * @param {string} query
     * @param {boolean} mine
     */
    show(query, mine) {
        this.#everybody.ariaPressed = String(!mine);
        this.#own.ariaPressed = String(mine);
        this.#title.textContent = query ? "Found" : mine ? "Your pictures" : "All pictures";
    }
}
