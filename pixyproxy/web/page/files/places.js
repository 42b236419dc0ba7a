// The places of the page, one of which is shown: the gallery or one of the table below, and a picture before either.

import { byId, el, load } from "./dom.js";
import { beginningOf } from "./format.js";
import { may, seesUsage } from "./rights.js";

/**
 * @typedef {{load: () => unknown}} Opened what fills a place; `load` reads it when somebody comes to it
 * @typedef {{title: string, isOffered: () => boolean, styles?: string[],
 *     module: () => Promise<{open: (live: import("./live.js").Live) => Opened}>}} Place
 */

const OF_KEYS = ["keyring.css"];

/**
 * Those beside the gallery. The name is the hash of the address, and the id of the section that `open` fills.
 * @type {Map<string, Place>}
 */
const PLACES = new Map([
    ["activity", { title: "Activity", isOffered: () => true, module: () => import("./activity.js") }],
    ["usage", { title: "Usage", isOffered: seesUsage, module: () => import("./usage.js") }],
    ["keys", { title: "Keys", isOffered: () => may("admin"), module: () => import("./keyring.js"), styles: OF_KEYS }],
]);
const GALLERY = "gallery";
const NAME = "PixyProxy";
/** Characters of a prompt or a query in the title of the window. */
const TITLE = 60;

export class Places {
    /** Of the gallery, in CSS pixels. */
    #top = 0;
    /** Whether a picture was opened from here: closing it goes back. */
    #opened = false;
    #returning = false;
    #shown = GALLERY;
    /** The place that has been read since somebody came to it. */
    #filled = "";
    /** @type {Map<string, Opened>} */
    #contents = new Map();
    /** What goes on before the page has gone back in the history would be undone by that. */
    settled = Promise.resolve();

    /** The guid of the picture that the address names. */
    get guid() {
        return /^#p=([0-9a-f-]{36})$/.exec(location.hash)?.[1];
    }

    /** The name of the place that the address names, or of the gallery. */
    get #named() {
        const name = location.hash.slice(1);
        return PLACES.get(name)?.isOffered() ? name : GALLERY;
    }

    get isGallery() {
        return this.#named === GALLERY;
    }

    /** Offer the places that the person's key may see. */
    offer() {
        for (const [id, { title, isOffered }] of PLACES) {
            if (!isOffered()) continue;
            byId("places").append(el("a", { href: `#${id}`, id: `to-${id}` }, title));
            byId("main").append(el("section", { id, class: "place", "aria-label": title, hidden: true }));
        }
    }

    /** Show the place of the address; whether it is another one. */
    show() {
        const [name, { isGallery }] = [this.#named, this];
        if (this.#shown === name) return false;
        if (this.#shown === GALLERY) this.#top = scrollY;
        this.#shown = name;
        for (const place of document.querySelectorAll(".place")) place.toggleAttribute("hidden", place.id !== name);
        for (const link of byId("places").children) link.ariaCurrent = link.id === `to-${name}` ? "page" : null;
        byId("make").hidden = !isGallery;
        byId("now").classList.toggle("away", !isGallery);
        scrollTo(0, isGallery ? this.#top : 0);
        return true;
    }

    /**
     * Fill the place that is shown. One that was only covered by a picture stays as it is.
     * @param {import("./live.js").Live} live
     */
    async fill(live) {
        const name = this.#shown;
        const place = PLACES.get(name);
        if (place) {
            const loaded = await load(place.module(), ...(place.styles ?? []));
            if (!loaded || this.#shown !== name) return;
            if (!this.#contents.has(name)) this.#contents.set(name, loaded.open(live));
        }
        if (this.#filled === name) return;
        this.#filled = name;
        await this.#contents.get(name)?.load();
    }

    /** Give the focus to the heading of what is shown, if what had it is gone. */
    keepFocus() {
        const { activeElement: focused } = document;
        if (focused && focused !== document.body && !focused.closest("[hidden]")) return;
        const heading = document.querySelector("main > section:not([hidden]) > .head h2");
        if (!(heading instanceof HTMLElement)) return;
        heading.tabIndex = -1;
        heading.focus({ preventScroll: true });
    }

    /**
     * Name the window after what is shown.
     * @param {string} picture the prompt of the open picture
     * @param {string} query what is searched for
     */
    entitle(picture, query) {
        const words = picture || PLACES.get(this.#shown)?.title || (query && `“${query}”`);
        document.title = words ? `${beginningOf(words, TITLE)} · ${NAME}` : NAME;
    }

    /** A picture is opened from here. @param {string} hash */
    open(hash) {
        this.#opened = true;
        history.pushState(null, "", hash);
    }

    /** A link was pressed. @param {MouseEvent} event */
    follow(event) {
        const link = event.target instanceof Element ? event.target.closest('a[href^="#"]') : null;
        const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey; // another tab or window
        if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented || elsewhere) return;
        const { hash } = link;
        if (hash.startsWith("#p=")) this.#opened = true;
        if (!this.#returning) return;
        event.preventDefault();
        this.settled.then(() => {
            location.hash = hash;
        });
    }

    /** The picture was closed: back to where it was opened. */
    leave() {
        if (!location.hash.startsWith("#p=")) return;
        if (this.#opened) {
            this.#returning = true;
            this.settled = new Promise((resolve) => {
                const arrived = () => {
                    this.#returning = false;
                    resolve();
                };
                addEventListener("hashchange", arrived, { once: true });
            });
            history.back();
        } else history.replaceState(null, "", "#");
        this.#opened = false;
    }
}
