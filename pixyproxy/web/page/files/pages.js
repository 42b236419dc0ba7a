// The pages of the gallery's list: the next one is read before the person is at the end of what is shown.

import { Problem, askFilledPage } from "./api.js";
import { el } from "./dom.js";

/** @typedef {import("./api.js").Image} Image */
/**
 * @typedef {object} Reader What is done with pages. `begun` is the cursor of another list, at its first page.
 * @property {(images: Image[], cursor: string, begun?: string) => void} came
 * @property {(error: unknown, begun?: string) => void} failed
 * @property {() => boolean} waits whether the person has to ask before more is read
 */

const FIRST_PAGE = 28;
const PAGE = 60;
const EMPTY_PAGES = 20; // without a match, before the person is asked
const NEAR = "100px"; // of the end of the first page: a first view loads no more than it shows
const FAR = "600px";

export class Pages {
    /** What is at the end of everything that is shown. */
    element = el("div");
    /** Where the next page is; empty at the end. */
    #next = "";
    #asked = new AbortController();
    /** The page that is being read; whether it came. @type {Promise<boolean> | null} */
    #reading = null;
    #near = this.#observerOf(NEAR);
    #far = this.#observerOf(FAR);
    #observer = this.#near;

    /**
     * @param {HTMLElement} busy while a page is read
     * @param {Reader} reader
     */
    constructor(busy, reader) {
        this.busy = busy;
        this.reader = reader;
    }

    /** Whether there are more. */
    get left() {
        return this.#next !== "";
    }

    /** There is no next page, until another list is begun. */
    end() {
        this.#next = "";
    }

    /**
     * Begin another list, in place of what is being read; whether its first page came.
     * @param {(limit: number) => string} path
     * @param {string} cursor
     */
    begin(path, cursor) {
        this.#asked.abort();
        this.#asked = new AbortController();
        return this.#read(path(FIRST_PAGE), cursor);
    }

    /** Read the next page; whether it came. */
    async more() {
        return this.#reading ?? (this.#next ? this.#read(this.#next) : false);
    }

    /**
     * @param {string} path
     * @param {string} [begun]
     */
    #read(path, begun) {
        const { signal } = this.#asked;
        this.#observer.unobserve(this.element);
        this.busy.setAttribute("aria-busy", "true");
        this.#reading = this.#ask(path, signal, begun).finally(() => {
            if (signal.aborted) return;
            this.#reading = null;
            this.busy.removeAttribute("aria-busy");
            // It reports changes only: a page that is shorter than the margin would be the last one.
            if (this.#next && !this.reader.waits()) this.#observer.observe(this.element);
        });
        return this.#reading;
    }

    /**
     * @param {string} path
     * @param {AbortSignal} signal
     * @param {string} [begun]
     */
    async #ask(path, signal, begun) {
        try {
            /** @type {{items: Image[], next: string | null, cursor: string}} */
            const { items, next, cursor } = await askFilledPage(path, EMPTY_PAGES, signal);
            this.#next = next?.replace(`limit=${FIRST_PAGE}`, `limit=${PAGE}`) ?? "";
            this.#observer = begun === undefined ? this.#far : this.#near;
            this.reader.came(items, cursor, begun);
            return true;
        } catch (error) {
            if (signal.aborted) return false;
            this.reader.failed(error, begun);
            if (!(error instanceof Problem)) throw error;
            return false;
        }
    }

    /** @param {string} rootMargin */
    #observerOf(rootMargin) {
        // A busy browser reports several states at once, the newest last; it says no more at the end of the page.
        return new IntersectionObserver((states) => states.at(-1)?.isIntersecting && this.more(), { rootMargin });
    }
}
