// Pictures that came since the gallery was read: they wait behind a button until the person asks for them.

import { button, el } from "./dom.js";

export class Fresh {
    /** @type {Set<string>} */
    #guids = new Set();
    #button;
    element;

    /** @param {() => unknown} show */
    constructor(show) {
        this.#button = button("", show, { class: "new", hidden: true });
        this.element = el("div", { class: "fresh" }, this.#button);
    }

    /** @param {string} guid */
    add(guid) {
        this.#guids.add(guid);
        this.#show();
    }

    /** @param {string} guid */
    delete(guid) {
        this.#guids.delete(guid);
        this.#show();
    }

    clear() {
        this.#guids.clear();
        this.#show();
    }

    #show() {
        this.#button.hidden = this.#guids.size === 0;
        this.#button.textContent = `↑ ${this.#guids.size} new`;
    }
}
