// The tiles of the gallery by day, in rows: what does not fill a row waits for the next page. And what is said below.

import { button, el, pause, say } from "./dom.js";
import { dayOf, number } from "./format.js";
import { layOut, layoutFor } from "./rows.js";
import { moveByArrows, rove } from "./tiles.js";

/** @typedef {import("./rows.js").Tile} Tile */
/** @typedef {{heading: string, list: HTMLOListElement, tiles: Tile[], waiting: Tile[]}} Day */

/** Rows grow and shrink with the window by this factor before they are packed anew. */
const STRETCH = 1.28;
/** Tiles that are packed anew without a pause. */
const AT_ONCE = 500;

export class Days {
    element = el("div", { class: "days" });
    /** @type {Day[]} */
    #days = [];
    #width = 0;
    /** Whether more pages are to come. */
    #more = true;

    constructor() {
        moveByArrows(this.element);
        new ResizeObserver(() => this.#onResize()).observe(this.element);
    }

    /** @param {Node[]} nodes to be shown before the first day */
    clear(...nodes) {
        this.#days = [];
        this.element.replaceChildren(...nodes);
    }

    /**
     * Add a page.
     * @param {{tile: Tile, made: string}[]} page tiles, and when their pictures were made
     * @param {boolean} more whether another page is to come
     */
    add(page, more) {
        this.#more = more;
        for (const { tile, made } of page) {
            const heading = dayOf(made);
            if (this.#days.at(-1)?.heading !== heading) this.#begin(heading);
            this.#days.at(-1)?.waiting.push(tile);
        }
        this.#layOutLast(!more);
        if (!this.element.querySelector('a[tabindex="0"]')) rove(this.element, this.element.querySelector("a.tile"));
    }

    /** @param {string} heading */
    #begin(heading) {
        this.#layOutLast(true);
        const list = el("ol");
        this.element.append(el("section", {}, el("h3", {}, heading), list));
        this.#days.push({ heading, list, tiles: [], waiting: [] });
    }

    /** @param {boolean} whole whether the last row is shown even if it is not complete */
    #layOutLast(whole) {
        const day = this.#days.at(-1);
        if (!day) return;
        this.#width ||= this.element.clientWidth;
        const ready = day.waiting.splice(0, layOut(day.waiting, this.#width, layoutFor(this.#width), whole));
        day.tiles.push(...ready);
        day.list.append(...ready.map((tile) => tile.element));
    }

    #onResize() {
        const width = this.element.clientWidth;
        if (!this.#width || !width) return;
        const [before, after] = [layoutFor(this.#width), layoutFor(width)];
        const same = before.square === after.square && before.height === after.height;
        if (same && Math.max(width / this.#width, this.#width / width) < STRETCH) return;
        this.#width = width;
        this.#packAnew();
    }

    async #packAnew() {
        const width = this.#width;
        for (const day of [...this.#days]) {
            const whole = this.#more === false || day !== this.#days.at(-1);
            layOut([...day.tiles, ...day.waiting], width, layoutFor(width), true);
            if (whole) day.list.append(...day.waiting.splice(0).map((tile) => tile.element));
            if (day.tiles.length > AT_ONCE) await pause();
            if (width !== this.#width) return;
        }
    }
}

/** What is below the days: that this is all, that nothing is found, or why there is no more. */
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

/** What stands for pictures where there are none yet. */
function emptyFrames() {
    const frames = el("span", { class: "frames", "aria-hidden": "true" }, el("span"), el("span"), el("span"));
    return [frames, "No pictures yet. Make the first one."];
}
