// The gallery: every picture, newest first, without an end. What is on screen does not move.

import { Problem, askFilledPage, pathWith } from "./api.js";
import { Days, emptyFrames } from "./days.js";
import { button, byId, el, motionReduced, say } from "./dom.js";
import { number } from "./format.js";
import { Fresh } from "./fresh.js";
import { Head } from "./head.js";
import { Place } from "./place.js";
import { Selection } from "./selection.js";
import { rove, tileOf } from "./tiles.js";

/** @typedef {import("./api.js").Image} Image */
/** @typedef {import("./rows.js").Tile} Tile */

const FIRST_PAGE = 30;
const PAGE = 60;
const EMPTY_PAGES = 20; // without a match, before the person is asked
const AHEAD = "600px";
const TOP = 64; // CSS pixels that the top of the page covers

export class Gallery {
    /** @type {Image[]} */
    images = [];
    /** @type {Map<string, Tile>} */
    #tiles = new Map();
    #next = "";
    #cursor = "";
    #place = new Place();
    #asked = new AbortController();
    #loading = false;
    #query = "";
    #mine = false;

    #fresh = new Fresh(() => this.#showNewest());
    #select = button("Select", () => this.selection.toggle(), { class: "quiet", "aria-pressed": "false" });
    #head;
    #days = new Days();
    #end = el("p", { class: "end" });
    #sentinel = el("div");
    #observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && this.#readMore(), { rootMargin: AHEAD });

    /**
     * @param {string} caller
     * @param {(guids: Set<string>) => Promise<unknown>} remove
     * @param {() => void} refreshed called when the newest pictures were read
     */
    constructor(caller, remove, refreshed) {
        this.caller = caller;
        this.refreshed = refreshed;
        this.selection = new Selection(this, this.#select, remove);
        this.#head = new Head((mine) => this.filter(mine), this.#fresh.button, this.#select);
        const { element: bar } = this.selection;
        byId("gallery").replaceChildren(this.#head.element, this.#days.element, this.#end, this.#sentinel, bar);
    }

    /** Begin with the newest, or after a reload where the person was; returns what is searched for. */
    async open() {
        const { query, mine, cursor, below } = Place.read();
        this.#query = query;
        this.#mine = mine;
        await this.#load(cursor);
        if (below > 0) scrollTo(0, this.#days.element.getBoundingClientRect().top + scrollY + below);
        addEventListener("scroll", () => this.#keepPlace(), { passive: true });
        return query;
    }

    /** @param {string} query */
    async search(query) {
        if (query === this.#query) return;
        this.#query = query;
        await this.#begin();
    }

    /** @param {boolean} mine whether only the caller's own pictures are shown */
    async filter(mine) {
        this.#mine = mine;
        await this.#begin();
    }

    /** Begin again with the newest. */
    async refresh() {
        await this.#load("");
        this.refreshed();
    }

    /** Begin another list, at its beginning. */
    async #begin() {
        await this.#load("");
        const above = this.#head.element.getBoundingClientRect().top - TOP;
        if (above < 0) scrollBy(0, above);
        this.#keepPlace();
    }

    /** @param {string} guid */
    has(guid) {
        return this.#tiles.has(guid);
    }

    /**
     * A picture came. It waits until the person asks for it.
     * @param {Image} image
     */
    announce(image) {
        if (this.has(image.guid) || this.#query || (this.#mine && image.caller !== this.caller)) return;
        this.#fresh.add(image.guid);
    }

    async #showNewest() {
        scrollTo({ top: 0, behavior: motionReduced() ? "auto" : "smooth" });
        await this.refresh();
        /** @type {HTMLElement | null} */ (this.#days.element.querySelector("a.tile"))?.focus({ preventScroll: true });
    }

    /**
     * The neighbour of a picture; at the end the next page is read.
     * @param {string} guid
     * @param {1 | -1} step
     * @returns {Promise<Image | null>}
     */
    async neighbour(guid, step) {
        const index = this.images.findIndex((image) => image.guid === guid);
        if (index < 0) return null;
        if (index + step >= this.images.length && this.#next) await this.#readMore();
        return this.images[index + step] ?? null;
    }

    /**
     * The link of a picture, if it is shown.
     * @param {string} guid
     */
    linkOf(guid) {
        const link = this.#tiles.get(guid)?.link;
        return link?.isConnected ? link : null;
    }

    /**
     * Leave an empty frame where a deleted picture was, and the focus beside it.
     * @param {string} guid
     */
    remove(guid) {
        this.#fresh.delete(guid);
        const index = this.images.findIndex((image) => image.guid === guid);
        if (index < 0) return;
        const [tile, neighbour] = [this.#tiles.get(guid), this.images[index + 1] ?? this.images[index - 1]];
        this.images.splice(index, 1);
        this.#tiles.delete(guid);
        tile?.element.replaceChildren();
        tile?.element.classList.add("gone");
        const beside = neighbour ? this.linkOf(neighbour.guid) : null;
        rove(this.#days.element, beside);
        if (document.activeElement === document.body) beside?.focus({ preventScroll: true });
    }

    /** @param {string} cursor */
    async #load(cursor) {
        this.#asked.abort();
        this.#asked = new AbortController();
        this.#loading = false;
        this.#cursor = cursor;
        const caller = this.#mine ? this.caller : "";
        this.#next = pathWith("image", { q: this.#query, caller, limit: FIRST_PAGE, cursor });
        this.#head.show(this.#query, this.#mine);
        await this.#readMore(true);
    }

    #clear() {
        this.images = [];
        this.#tiles.clear();
        this.#place.begin(this.#cursor);
        this.#fresh.clear();
        const newer = button("↑ To the newest", () => this.#showNewest(), { class: "quiet" });
        this.#days.clear(...(this.#cursor ? [newer] : []));
        this.selection.clear();
    }

    /**
     * Read the next page.
     * @param {boolean} first of another list: what is shown stays until it is here
     */
    async #readMore(first = false) {
        if (this.#loading || !this.#next) return;
        this.#loading = true;
        const { signal } = this.#asked;
        this.#days.element.setAttribute("aria-busy", "true");
        try {
            /** @type {{items: Image[], next: string | null, cursor: string}} */
            const { items, next, cursor } = await askFilledPage(this.#next, EMPTY_PAGES, signal);
            if (first) this.#clear();
            this.#next = next?.replace(`limit=${FIRST_PAGE}`, `limit=${PAGE}`) ?? "";
            this.#add(items, cursor);
            this.#showEnd();
        } catch (error) {
            if (signal.aborted) return;
            if (!(error instanceof Problem)) throw error;
            if (first) this.#clear();
            this.#end.replaceChildren(
                `${error.message} `,
                button("Try again", () => this.#readMore(first)),
            );
        } finally {
            if (!signal.aborted) this.#onRead();
        }
    }

    #onRead() {
        this.#loading = false;
        this.#days.element.removeAttribute("aria-busy");
        // It reports changes only: a page that is shorter than the margin would be the last one.
        this.#observer.unobserve(this.#sentinel);
        if (this.#next && !this.#end.querySelector("button")) this.#observer.observe(this.#sentinel);
    }

    /**
     * @param {Image[]} images
     * @param {string} cursor of their page
     */
    #add(images, cursor) {
        const page = [];
        for (const image of images.filter(({ guid }) => !this.#tiles.has(guid))) {
            const tile = tileOf(image);
            this.images.push(image);
            this.#tiles.set(image.guid, tile);
            this.selection.prepare(tile.link);
            page.push({ tile, made: image.created_at });
        }
        if (page[0]) this.#place.add(cursor, page[0].tile.element);
        this.#days.add(page, this.#next !== "");
    }

    #showEnd() {
        const count = this.images.length;
        const query = this.#query.replace(/\*$/, "");
        if (query) say(count ? `${number(count)}${this.#next ? " or more" : ""} found` : "Nothing found");
        if (this.#next && count) this.#end.textContent = "";
        else if (this.#next)
            this.#end.replaceChildren(
                "Nothing yet. ",
                button("Search on", () => this.#readMore()),
            );
        else if (count)
            this.#end.textContent = `That is all: ${number(count)} ${count === 1 ? "picture" : "pictures"}.`;
        else if (query) this.#end.textContent = `Nothing matches “${query}”. All words must be in the prompt.`;
        else this.#end.replaceChildren(...emptyFrames());
    }

    #keepPlace() {
        this.#place.keep({ query: this.#query, mine: this.#mine });
    }
}
