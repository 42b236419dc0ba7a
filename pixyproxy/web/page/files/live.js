// What the service is doing now: asked every 2 s while something runs, every 15 s otherwise, never while hidden.

import { Problem, ask, askPage, pathWith, serverNow } from "./api.js";

/** @typedef {import("./api.js").Generation} Generation */
/** @typedef {import("./api.js").Image} Image */

const BUSY = 2_000;
const IDLE = 15_000;
const MOST = 30_000;
const RECENT = 30;
/** Pages of recent generations that are read to reach those that are known. */
const PAGES = 10;
/** Generations that are remembered. */
const MEMORY = 500;
/** A failure is news for so long. */
const NEWS = 60 * 60 * 1000;

/**
 * Follows all generations. Events: "change" when something may have changed, "offline" with the
 * reason, "online".
 */
export class Live extends EventTarget {
    /** @type {Map<string, Generation>} */
    #known = new Map();
    /** Those that a page of the list has had. @type {Set<string>} */
    #listed = new Set();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #timer;
    #pause = IDLE;
    #online = true;
    #started = false;
    #first = true;
    /** Pages of the service's list overlap if this one is asked again while its answer is on the way. */
    #asking = false;

    constructor() {
        super();
        document.addEventListener("visibilitychange", () => this.soon());
        addEventListener("online", () => this.soon());
    }

    /** Begin to ask. */
    start() {
        this.#started = true;
        return this.#ask();
    }

    /** Ask soon: something was begun, or ended. */
    soon() {
        if (!this.#started) return;
        clearTimeout(this.#timer);
        if (!document.hidden) this.#timer = setTimeout(() => this.#ask(), 100);
    }

    /** Generations that run, oldest first. */
    get running() {
        return this.#sorted((generation) => generation.state === "running");
    }

    /** Failures that are news, oldest first. */
    get failed() {
        const since = serverNow() - NEWS;
        return this.#sorted(({ state, created_at: at }) => state === "failed" && Date.parse(at) > since);
    }

    /** Every generation that is known. */
    get all() {
        return [...this.#known.values()];
    }

    /** Generations that succeeded, oldest first. */
    get succeeded() {
        return this.#sorted((generation) => generation.state === "succeeded");
    }

    /**
     * A generation, as it was when last asked for.
     * @param {string} guid
     */
    get(guid) {
        return this.#known.get(guid);
    }

    /**
     * Take over what another answer said.
     * @param {Generation} generation
     */
    learn(generation) {
        this.#keep(generation);
        this.dispatchEvent(new Event("change"));
    }

    /**
     * A picture was deleted.
     * @param {string} guid
     */
    forgetImage(guid) {
        for (const generation of this.#known.values()) {
            generation.images = generation.images.filter((image) => image.guid !== guid);
        }
        this.dispatchEvent(new Event("change"));
    }

    /** @param {(generation: Generation) => boolean} wanted */
    #sorted(wanted) {
        return this.all.filter(wanted).sort((one, other) => (one.created_at < other.created_at ? -1 : 1));
    }

    async #ask() {
        clearTimeout(this.#timer);
        if (this.#asking) return;
        this.#asking = true;
        try {
            await this.#read();
            this.#pause = this.running.length ? BUSY : IDLE;
            if (!this.#online) this.dispatchEvent(new Event("online"));
            this.#online = true;
        } catch (error) {
            // Without a session somebody else asks for a key, and starts it again. A key may lack the scope.
            const known = error instanceof Problem ? error : new Problem({ detail: "The answer cannot be read." });
            if (known.status === 401 || known.status === 403) this.#started = false;
            else this.dispatchEvent(new CustomEvent("offline", { detail: known.message }));
            this.#online = false;
            this.#pause = Math.min(MOST, Math.max(BUSY, this.#pause * 2));
        } finally {
            this.#asking = false;
            if (this.#started && !document.hidden) this.#timer = setTimeout(() => this.#ask(), this.#pause);
        }
        if (this.#online) this.dispatchEvent(new Event("change"));
    }

    /**
     * Keep what is newer: answers may overtake each other. What has ended does not run again.
     * @param {Generation} generation
     */
    #keep(generation) {
        const known = this.#known.get(generation.guid);
        const ended = known && known.state !== "running" && generation.state === "running";
        if (ended || (known && known.updated_at > generation.updated_at)) return;
        this.#known.set(generation.guid, generation);
    }

    async #read() {
        const ran = new Set(this.running.map((generation) => generation.guid));
        /** @type {string | null} */
        let path = pathWith("generation", { limit: RECENT });
        for (let page = 0; path !== null && page < PAGES; page++) {
            /** @type {{items: Generation[], next: string | null}} */
            const { items, next } = await askPage(path);
            const reached = items.some((item) => this.#listed.has(item.guid));
            for (const item of items) {
                this.#keep(item);
                this.#listed.add(item.guid);
                ran.delete(item.guid);
            }
            path = reached || this.#first ? null : next;
        }
        if (this.#first) {
            const { items } = await askPage(pathWith("generation", { state: "failed", limit: RECENT }));
            for (const item of items) this.#keep(item);
        }
        this.#first = false;
        // Those that ran when they were last seen, and are no longer among the newest; and others as old as they are.
        const older = await askPage(pathWith("generation", { state: "running", limit: 100 }));
        for (const item of /** @type {Generation[]} */ (older.items)) {
            this.#keep(item);
            ran.delete(item.guid);
        }
        for (const guid of ran) {
            const answer = await ask(`generation/${guid}`);
            this.#keep(await answer.json());
        }
        const old = this.all.sort((one, other) => (one.created_at < other.created_at ? 1 : -1)).slice(MEMORY);
        for (const { guid } of old.filter(({ state }) => state !== "running")) {
            this.#known.delete(guid);
            this.#listed.delete(guid);
        }
    }
}

/** Pictures that came since the page was opened: each arrives once, whatever is shown or deleted later. */
export class Arrivals {
    /** Milliseconds since 1970. */
    #since = Infinity;
    /** @type {Set<string>} */
    #seen = new Set();

    /** @param {number} since milliseconds since 1970 */
    begin(since) {
        this.#since = since;
    }

    /**
     * The generations with pictures that have just arrived, and these.
     * @param {Generation[]} generations
     * @param {(guid: string) => boolean} isShown whether a picture is on the page already
     * @returns {{generation: Generation, images: Image[]}[]}
     */
    take(generations, isShown) {
        const arrived = [];
        for (const generation of generations) {
            const fresh = generation.images.filter(
                ({ guid, created_at: at }) => !this.#seen.has(guid) && Date.parse(at) > this.#since,
            );
            for (const { guid } of fresh) this.#seen.add(guid);
            const images = fresh.filter(({ guid }) => !isShown(guid));
            if (images.length) arrived.push({ generation, images });
        }
        return arrived;
    }
}
