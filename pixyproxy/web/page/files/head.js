// What is above the pictures: what they are, and whose; and what is new, which waits until the person asks for it.

import { button, el } from "./dom.js";
import { seesEverybody } from "./rights.js";

/** The top of the page, which stays where one scrolls, but for very low windows. */
const top = /** @type {HTMLElement} */ (document.querySelector(".top"));
new ResizeObserver(() => document.documentElement.style.setProperty("--top", `${top.offsetHeight}px`)).observe(top);

/** CSS pixels of the window that the top of the page covers. */
export function covered() {
    return getComputedStyle(top).position === "sticky" ? top.offsetHeight : 0;
}

/** Words that no prompt is found by. */
const COMMON = /^(and|for|from|that|the|this|with)$/i;

/**
 * The query of what was typed: the last word may still be growing.
 * @param {string} typed
 */
export function queryOf(typed) {
    const [, last = ""] = /(?:^|\s)([\p{L}\p{N}]{3,})$/u.exec(typed) ?? [];
    const quoted = (typed.match(/"/g) ?? []).length % 2 === 1;
    const growing = last && !COMMON.test(last) && !quoted && typed.length < 500;
    return growing ? `${typed.trim()}*` : typed.trim();
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
        const whose = { class: "switch", role: "group", "aria-label": "Whose pictures", hidden: !seesEverybody() };
        this.element = el("div", { class: "head" }, this.#title, el("div", whose, this.#everybody, this.#own), select);
    }

    /**
     * @param {string} query
     * @param {boolean} mine
     */
    show(query, mine) {
        this.#everybody.ariaPressed = String(!mine);
        this.#own.ariaPressed = String(mine);
        this.#title.textContent = query ? "Found" : mine || !seesEverybody() ? "Your pictures" : "All pictures";
    }
}

/** What came since a list was read: it waits behind a button. */
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
        this.show([...this.#guids, guid]);
    }

    /** @param {string} guid */
    delete(guid) {
        this.show([...this.#guids].filter((other) => other !== guid));
    }

    /** @param {string[]} guids of all that wait */
    show(guids) {
        this.#guids = new Set(guids);
        this.#button.hidden = this.#guids.size === 0;
        this.#button.textContent = `↑ ${this.#guids.size} new`;
    }
}
