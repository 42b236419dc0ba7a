// The gallery: every picture, newest first, without an end. What is on screen does not move.

import { Problem, pathWith } from "./api.js";
import { Days, End } from "./days.js";
import { button, byId, motionReduced, tell } from "./dom.js";
import { Fresh, Head, covered } from "./head.js";
import { Pages } from "./pages.js";
import { Place } from "./place.js";
import { Selection } from "./selection.js";
import { rove, tileOf } from "./tiles.js";

/** @typedef {import("./api.js").Image} Image */
/** @typedef {import("./rows.js").Tile} Tile */

const GAP = 8; // CSS pixels between the top of the page and the beginning of another list

export class Gallery {
    /** @type {Image[]} */
    images = [];
    /** @type {Map<string, Tile>} */
    #tiles = new Map();
    #cursor = "";
    /** The query and the filter of what is shown. */
    #shown = "";
    #place = new Place();
    /** Whether the person was told that the newest could not be read. */
    #told = false;
    #query = "";
    #mine = false;

    #fresh = new Fresh(() => this.#showNewest());
    #select = button("Select", () => this.selection.toggle(), { class: "quiet", "aria-pressed": "false" });
    #head;
    #days = new Days();
    #end = new End();
    #pages = new Pages(this.#days.element, {
        came: (images, cursor, begun) => this.#add(images, cursor, begun),
        failed: (error, begun) => this.#fail(error, begun),
        waits: () => this.#end.waits,
    });

    /**
     * @param {string} caller
     * @param {(guids: Set<string>) => Promise<unknown>} remove
     * @param {() => void} refreshed called when the newest pictures were read
     */
    constructor(caller, remove, refreshed) {
        this.caller = caller;
        this.refreshed = refreshed;
        this.selection = new Selection(this, this.#select, remove);
        this.#head = new Head((mine) => this.filter(mine), this.#select);
        const parts = [this.#head, this.#days, this.#end, this.#pages, this.selection].map(({ element }) => element);
        byId("gallery").replaceChildren(...parts);
        byId("gallery").before(this.#fresh.element);
    }

    /** Begin with the newest, or after a reload where the person was; returns what is searched for. */
    async open() {
        const { query, mine, cursor, below } = Place.read();
        this.#query = query;
        this.#mine = mine;
        await this.#load(cursor);
        for (let pages = 0; !this.#place.scrollTo(below) && pages < 3; pages++) await this.#pages.more();
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

    /** Begin again with the newest; whether they came. Else what is shown stays. */
    async refresh() {
        const came = await this.#load("");
        if (came) this.refreshed();
        return came;
    }

    /** Begin another list, at its beginning. */
    async #begin() {
        await this.#load("");
        const above = this.#head.element.getBoundingClientRect().top - covered() - GAP;
        if (above < 0) scrollBy(0, above);
        this.#keepPlace();
    }

    /** When the newest picture of all was made, in milliseconds, if the gallery begins with it. */
    get newest() {
        const [first] = this.images;
        return first && !this.#query && !this.#mine && !this.#cursor ? Date.parse(first.created_at) : null;
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
        if (await this.refresh()) this.#focusTile(this.#days.element.querySelector("a.tile"));
    }

    /** Whether there are newer pictures than those that are shown. */
    get newer() {
        return this.#cursor !== "";
    }

    /** Whether there are older ones. */
    get older() {
        return this.#pages.left;
    }

    /** Read the next page; whether it came. */
    more() {
        return this.#pages.more();
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

    /**
     * Begin a list; whether it came.
     * @param {string} cursor
     */
    #load(cursor) {
        const caller = this.#mine ? this.caller : "";
        this.#head.show(this.#query, this.#mine);
        return this.#pages.begin((limit) => pathWith("image", { q: this.#query, caller, limit, cursor }), cursor);
    }

    /** @param {string} cursor */
    #clear(cursor) {
        this.#cursor = cursor;
        this.#shown = this.#wanted;
        this.images = [];
        this.#tiles.clear();
        this.#place.begin(this.#cursor);
        this.#fresh.show([]);
        const newer = button("↑ To the newest", () => this.#showNewest(), { class: "quiet" });
        this.#days.clear(...(this.#cursor ? [newer] : []));
        this.selection.clear();
    }

    /** The query and the filter that the person wants. */
    get #wanted() {
        return JSON.stringify([this.#query, this.#mine]);
    }

    /**
     * @param {unknown} error
     * @param {string} [begun] the cursor of a list that did not begin: what is shown stays if it is of the same one
     */
    #fail(error, begun) {
        const words = error instanceof Error ? error.message : String(error);
        if (begun !== undefined && this.images.length && this.#shown === this.#wanted) {
            if (error instanceof Problem && error.status === 401) return; // the login says it
            this.#told = true;
            tell(`The newest pictures did not come. ${words}`);
            return;
        }
        const pressed = this.#end.focused;
        if (begun !== undefined) {
            this.#clear(begun);
            this.#pages.end();
        }
        this.#end.fail(words, () => (begun === undefined ? this.#pages.more() : this.#load(begun)));
        if (pressed) this.#end.focus();
    }

    /** @param {HTMLElement | null} link */
    #focusTile(link) {
        if (link) link.focus({ preventScroll: true });
        else this.#end.focus();
    }

    /**
     * Add a page.
     * @param {Image[]} images
     * @param {string} cursor of their page
     * @param {string} [begun] the cursor of another list, which begins with this page
     */
    #add(images, cursor, begun) {
        const pressed = this.#end.focused;
        if (begun !== undefined) this.#clear(begun);
        const page = [];
        for (const image of images.filter(({ guid }) => !this.#tiles.has(guid))) {
            const tile = tileOf(image);
            this.images.push(image);
            this.#tiles.set(image.guid, tile);
            this.selection.prepare(tile.link);
            page.push({ tile, made: image.created_at });
        }
        if (page[0]) this.#place.add(cursor, page[0].tile.element);
        const more = this.#pages.left;
        this.#days.add(page, more);
        this.#end.show({ count: this.images.length, more, query: this.#query }, () => this.#pages.more());
        if (pressed) this.#focusTile(page.find(({ tile }) => tile.element.isConnected)?.tile.link ?? null);
        if (this.#told) tell("");
        this.#told = false;
    }

    #keepPlace() {
        this.#place.keep({ query: this.#query, mine: this.#mine });
    }
}
