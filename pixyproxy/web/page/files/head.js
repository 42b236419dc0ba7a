// The head of the gallery: what it shows, and whose.

import { button, el } from "./dom.js";

export class Head {
    #title = el("h2");
    #everybody;
    #own;
    element;

    /**
     * @param {(mine: boolean) => unknown} filter
     * @param {HTMLElement} fresh the button of new pictures
     * @param {HTMLElement} select the button that begins to select
     */
    constructor(filter, fresh, select) {
        this.#everybody = button("Everybody", () => filter(false));
        this.#own = button("Mine", () => filter(true));
        const whose = { class: "switch", role: "group", "aria-label": "Whose pictures" };
        this.element = el(
            "div",
            { class: "head" },
            this.#title,
            fresh,
            el("div", whose, this.#everybody, this.#own),
            select,
        );
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
