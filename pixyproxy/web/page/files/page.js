// The page of one session: which place is shown, and what its parts tell each other.

import { Problem, ask, serverNow } from "./api.js";
import { byId, say } from "./dom.js";
import { Gallery } from "./gallery.js";
import { showKeys } from "./keys.js";
import { Live } from "./live.js";
import { Make } from "./make.js";
import { Now } from "./now.js";

/** @typedef {import("./api.js").Session} Session */

/** Milliseconds without a keystroke. */
const TYPING = 150;
/** Milliseconds between the clock and the list that is read. */
const OVERLAP = 2000;

export class Page {
    #live = new Live();
    /** @type {import("./picture.js").Picture | null} */
    #picture = null;
    /** @type {import("./activity.js").Activity | null} */
    #activity = null;
    /** Whether the table was only covered by a picture: it is not read again. */
    #stayed = false;
    /** Where the gallery was left, in CSS pixels. */
    #left = 0;
    /** Whether a picture was opened from here: closing it goes back. */
    #opened = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #typing;
    /** Milliseconds: pictures that were made since are new. */
    #since = 0;
    #search = /** @type {HTMLInputElement} */ (byId("search"));

    /** @param {Session} session */
    constructor(session) {
        this.session = session;
        const remove = (/** @type {Set<string>} */ guids) => this.#remove(guids);
        this.make = new Make(session, (body, partials) => this.now.begin(body, partials));
        this.now = new Now(session.caller, this.#live, (prompt) => this.make.edit(prompt));
        this.gallery = new Gallery(session.caller, remove, () => this.now.clear());
        this.#search.addEventListener("input", () => this.#onSearch());
        byId("running-count").addEventListener("click", () => this.#showNow());
        byId("home").addEventListener("click", () => this.gallery.refresh());
        this.#live.addEventListener("change", () => this.#onChange());
        this.#live.addEventListener("offline", (event) =>
            this.#banner(
                `${/** @type {CustomEvent} */ (event).detail} What runs goes on; this page asks again by itself.`,
            ),
        );
        this.#live.addEventListener("online", () => this.#banner(""));
        addEventListener("hashchange", () => this.#route());
    }

    async open() {
        history.scrollRestoration = "manual"; // the gallery keeps its place itself
        byId("account").hidden = false;
        byId("account").textContent = this.session.caller;
        byId("account").ariaLabel = `Account ${this.session.caller}`;
        const opening = this.gallery.open();
        this.#since = serverNow() - OVERLAP;
        const [query] = await Promise.all([opening, this.#live.start()]);
        if (this.#search.value)
            this.#onSearch(); // typed meanwhile
        else this.#search.value = query;
        this.now.refresh(true);
        if (!this.gallery.images.length && !query) this.make.suggest();
        if (location.hash.length <= 1 && document.activeElement === document.body) this.make.focus();
        await this.#route();
    }

    /** The keys of the page. */
    get keys() {
        return { "/": () => this.#search.focus(), n: () => this.#home().then(() => this.make.focus()), "?": showKeys };
    }

    get openPicture() {
        return this.#picture?.open ? this.#picture : null;
    }

    /**
     * Go on after logging in again: the page stays as it is, for the same key.
     * @param {Session} session
     */
    resume(session) {
        if (session.caller !== this.session.caller) location.reload();
        this.#live.soon();
        return this.gallery.images.length ? undefined : this.gallery.refresh();
    }

    async #route() {
        const guid = /^#p=([0-9a-f-]{36})$/.exec(location.hash)?.[1];
        const activity = location.hash === "#activity";
        if (!guid) this.#showPlace(activity);
        if (activity) await this.#showActivity();
        if (guid) await this.#showPicture(guid);
    }

    /** @param {boolean} activity whether it is that, and not the gallery */
    #showPlace(activity) {
        this.#picture?.close();
        if (byId("activity").hidden !== activity) return;
        if (activity) this.#left = scrollY;
        else this.#stayed = false;
        for (const id of ["make", "gallery"]) byId(id).hidden = activity;
        byId("activity").hidden = !activity;
        byId("now").classList.toggle("away", activity);
        byId(activity ? "to-activity" : "to-gallery").ariaCurrent = "page";
        byId(activity ? "to-gallery" : "to-activity").ariaCurrent = null;
        scrollTo(0, activity ? 0 : this.#left);
    }

    async #showActivity() {
        const { Activity } = await import("./activity.js");
        const known = this.#activity !== null;
        this.#activity ??= new Activity(this.#live);
        if (!known || !this.#stayed) await this.#activity.load();
        this.#stayed = true;
    }

    /** @param {string} guid */
    async #showPicture(guid) {
        const { Picture } = await import("./picture.js");
        this.#picture ??= new Picture(
            {
                known: (wanted) => [...this.gallery.images, ...this.now.images].find((image) => image.guid === wanted),
                neighbour: (of, step) => this.#neighbour(of, step),
                linkOf: (of) => this.gallery.linkOf(of) ?? this.now.linkOf(of),
                closed: () => this.#onClosed(),
            },
            {
                useAsInput: (source) => this.make.addSource(source),
                make: (body) => this.now.begin(body, 0),
                editPrompt: (prompt) => this.make.edit(prompt),
                remove: (guids) => this.#remove(guids),
            },
        );
        await this.#picture.show(guid);
    }

    /**
     * @param {string} guid
     * @param {1 | -1} step
     */
    async #neighbour(guid, step) {
        const fresh = this.now.images.filter((image) => !this.gallery.has(image.guid)).reverse();
        const index = fresh.findIndex((image) => image.guid === guid);
        if (index >= 0) return fresh[index + step] ?? (step === 1 ? (this.gallery.images[0] ?? null) : null);
        return (await this.gallery.neighbour(guid, step)) ?? (step === -1 ? (fresh.at(-1) ?? null) : null);
    }

    #onClosed() {
        if (!location.hash.startsWith("#p=")) return;
        if (this.#opened) history.back();
        else history.replaceState(null, "", "#");
        this.#opened = false;
    }

    /** A link of the page was followed. */
    noteOpened() {
        this.#opened = true;
    }

    /** To the gallery, from wherever. */
    async #home() {
        if (location.hash === "#activity") {
            history.pushState(null, "", "#");
            await this.#route();
        }
    }

    #onSearch() {
        clearTimeout(this.#typing);
        this.#typing = setTimeout(async () => {
            await this.#home();
            await this.gallery.search(queryOf(this.#search.value));
        }, TYPING);
    }

    #showNow() {
        this.now.refresh(true);
        scrollTo({ top: 0 });
    }

    #onChange() {
        const { running, succeeded } = this.#live;
        this.now.refresh(atTop());
        for (const generation of succeeded) this.#onPictures(generation);
        const count = byId("running-count");
        count.hidden = running.length === 0;
        count.textContent = `${running.length} running`;
    }

    /** Pictures that were made since the page was opened. @param {import("./api.js").Generation} generation */
    #onPictures(generation) {
        const shown = new Set(this.now.images.map((image) => image.guid));
        const fresh = generation.images.filter(
            ({ guid, created_at: at }) => Date.parse(at) > this.#since && !shown.has(guid) && !this.gallery.has(guid),
        );
        if (fresh.length && atTop()) this.now.add(generation);
        else for (const image of fresh) this.gallery.announce(image);
    }

    /** @param {Set<string>} guids */
    async #remove(guids) {
        let count = 0;
        for (const guid of guids) {
            try {
                await ask(`image/${guid}`, { method: "DELETE" });
            } catch (error) {
                if (!(error instanceof Problem)) throw error;
                if (error.name !== "image-not-found") {
                    this.#banner(`${error.message} ${guids.size - count} of ${guids.size} were not deleted.`);
                    break;
                }
            }
            count++;
            this.gallery.remove(guid);
            this.now.forget(guid);
        }
        say(count === 1 ? "The picture is deleted." : `${count} pictures are deleted.`);
    }

    /** @param {string} words */
    #banner(words) {
        const banner = byId("banner");
        banner.textContent = words;
        banner.hidden = !words;
    }
}

/** Whether the person looks at the beginning of everything. */
function atTop() {
    return scrollY < 8;
}

/**
 * The query of what was typed: the last word may still be growing.
 * @param {string} typed
 */
function queryOf(typed) {
    const growing = /(^|\s)[\p{L}\p{N}]{3,}$/u.test(typed) && (typed.match(/"/g) ?? []).length % 2 === 0;
    return growing ? `${typed.trim()}*` : typed.trim();
}
