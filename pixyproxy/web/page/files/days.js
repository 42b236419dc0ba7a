// The tiles of the gallery by day, in rows: what does not fill a row waits for the next page. And what is said below.

import { button, el, load, say } from "./dom.js";
import { dayOf, number } from "./format.js";
import { List, layoutFor, rowsOf } from "./rows.js";
import { moveByArrows, rove, roved } from "./tiles.js";

/** @typedef {import("./rows.js").Tile} Tile */
/** @typedef {{heading: HTMLElement, lists: List[], waiting: Tile[]}} Day */

/** Tiles of a list. */
const LENGTH = 120;

export class Days {
    element = el("div", { class: "days" });
    /** @type {Day[]} */
    #days = [];
    #width = 0;
    /** Whether more pages are to come. */
    #more = true;

    constructor() {
        moveByArrows(this.element);
        /** @type {Promise<unknown> | undefined} */
        let kept;
        const density = devicePixelRatio;
        // Before that there is no place to keep, and the rows are right.
        const keep = () => {
            kept ??= load(import("./anew.js")).then((anew) => anew?.keepTop(this, density));
        };
        for (const event of ["scroll", "resize"]) addEventListener(event, keep);
        matchMedia(`(resolution: ${density}dppx)`).addEventListener("change", keep);
    }

    get lists() {
        return this.#days.flatMap(({ lists }) => lists);
    }

    /** The width for which rows are packed, in CSS pixels; 0 before the first page. */
    get width() {
        return this.#width;
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
        if (!this.#width) this.#setWidth(this.element.clientWidth);
        for (const { tile, made } of page) {
            const words = dayOf(made);
            if (this.#days.at(-1)?.heading.textContent !== words) this.#begin(words);
            this.#days.at(-1)?.waiting.push(tile);
        }
        this.#append(!more);
        if (!roved(this.element)?.isConnected) rove(this.element, this.element.querySelector("a.tile"));
    }

    /** @param {string} words */
    #begin(words) {
        this.#append(true);
        const heading = el("h3", { id: `day-${this.#days.length}` }, words);
        this.element.append(el("section", {}, heading));
        this.#days.push({ heading, lists: [], waiting: [] });
    }

    /** @param {boolean} whole whether nothing more is to come for the last day */
    #append(whole) {
        const day = this.#days.at(-1);
        if (!day) return;
        const from = Math.max(0, day.lists.length - 1);
        this.#pack(day, whole, from);
        for (const list of day.lists.slice(from)) list.place();
    }

    /**
     * Pack what waits. A row that is not complete waits on, unless it is seen already.
     * @param {Day} day
     * @param {boolean} whole
     * @param {number} from the first list that may change
     * @param {boolean} [anew] whether complete rows are packed too
     */
    #pack({ heading, lists, waiting }, whole, from, anew = false) {
        if (anew) for (const list of lists) list.close();
        const before = lists.slice(from).flatMap(({ rows }) => rows);
        const rows = before.filter(({ complete }) => complete && !anew);
        const tiles = before.slice(rows.length).flatMap((row) => row.tiles);
        rows.push(...rowsOf([...tiles, ...waiting.splice(0)], this.#width));
        const last = rows.at(-1);
        if (last && !last.complete && !whole && !last.tiles.some(({ element }) => element.isConnected))
            waiting.push(...(rows.pop()?.tiles ?? []));
        // A list ends about where it did at other widths: few tiles go to another one.
        let count = lists.slice(0, from).reduce((sum, { size }) => sum + size, 0);
        let index = from;
        for (; rows.length; index++) {
            let end = 0;
            while (end < rows.length && count < LENGTH * (index + 1)) count += rows[end++]?.tiles.length ?? 0;
            const list = (lists[index] ??= new List(heading.id));
            if (!list.element.isConnected) heading.parentElement?.append(list.element);
            list.hold(rows.splice(0, end), layoutFor(this.#width).gap);
        }
        for (const { element } of lists.splice(index)) element.remove();
    }

    /** @param {number} width */
    #setWidth(width) {
        this.#width = width;
        this.element.style.setProperty("--gap", `${layoutFor(width).gap}px`);
    }

    /**
     * Pack all rows for another width. Their tiles are not sized yet.
     * @param {number} width
     */
    packAnew(width) {
        this.#setWidth(width);
        for (const day of this.#days) this.#pack(day, !this.#more || day !== this.#days.at(-1), 0, true);
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
