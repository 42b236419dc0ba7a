// The end of the gallery in words: that this is all, that nothing is found, or why there is no more.

import { emptyFrames } from "./days.js";
import { button, el, say } from "./dom.js";
import { number } from "./format.js";

export class End {
    element = el("p", { class: "end" });

    /** Whether the person has to press a button before more is read. */
    get waits() {
        return this.element.querySelector("button") !== null;
    }

    /** Whether the focus is on the button. */
    get focused() {
        return this.element.contains(document.activeElement);
    }

    focus() {
        this.element.querySelector("button")?.focus();
    }

    /**
     * @param {{count: number, more: boolean, query: string}} shown how many pictures, and whether there may be others
     * @param {() => unknown} searchOn
     */
    show({ count, more, query: asked }, searchOn) {
        const query = asked.replace(/\*$/, "");
        if (query) say(count ? `${number(count)}${more ? " or more" : ""} found` : "Nothing found");
        /** @type {(Node | string)[]} */
        let nodes = [];
        if (more && !count) nodes = ["Nothing yet. ", button("Search on", searchOn)];
        else if (!more && count) nodes = [`That is all: ${number(count)} ${count === 1 ? "picture" : "pictures"}.`];
        else if (!more && query) nodes = [`Nothing matches “${query}”. All words must be in the prompt.`];
        else if (!more) nodes = emptyFrames();
        this.element.replaceChildren(...nodes);
    }

    /**
     * @param {string} words why there is no more
     * @param {() => unknown} again
     */
    fail(words, again) {
        this.element.replaceChildren(`${words} `, button("Try again", again));
    }
}
