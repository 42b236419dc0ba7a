// The page of one session: which place is shown, and what its parts tell each other.

import { serverNow } from "./api.js";
import { Arrivals } from "./arrivals.js";
import { byId, load, pause, tell } from "./dom.js";
import { Gallery } from "./gallery.js";
import { showKeys } from "./keys.js";
import { Live } from "./live.js";
import { Make } from "./make.js";
import { Now } from "./now.js";

/** @typedef {import("./api.js").Session} Session */

/** Milliseconds without a keystroke. */
const TYPING = 150;
/** Words that no prompt is found by. */
const COMMON = /^(and|for|from|that|the|this|with)$/i;

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
    #arrivals = new Arrivals();
    #search = /** @type {HTMLInputElement} */ (byId("search"));

    /** @param {Session} session */
    constructor(session) {
        this.session = session;
        const remove = (/** @type {Set<string>} */ guids) => this.#remove(guids);
        this.make = new Make(session, (body, watched) => this.now.begin(body, watched));
        this.now = new Now(session.caller, this.#live, (prompt) => this.make.edit(prompt));
        this.gallery = new Gallery(session.caller, remove, () => this.now.clear());
        this.#search.addEventListener("input", () => this.#onSearch());
        byId("running-count").addEventListener("click", () => this.#showNow());
        byId("home").addEventListener("click", () => this.#begin());
        this.#live.addEventListener("change", () => this.#onChange());
        this.#live.addEventListener("offline", (event) => {
            const { detail } = /** @type {CustomEvent} */ (event);
            tell(`${detail} What runs goes on; this page asks again by itself.`);
        });
        this.#live.addEventListener("online", () => tell(""));
        addEventListener("hashchange", () => this.#route());
    }

    async open() {
        history.scrollRestoration = "manual"; // the gallery keeps its place itself
        byId("account").hidden = false;
        byId("account").textContent = this.session.caller;
        byId("account").ariaLabel = `Account ${this.session.caller}`;
        const opened = serverNow();
        const [query] = await Promise.all([this.gallery.open(), this.#live.start()]);
        this.#arrivals.begin(this.gallery.newest ?? opened);
        if (this.#search.value)
            this.#onSearch(); // typed meanwhile
        else this.#search.value = query.replace(/\*$/, "");
        this.now.refresh(true);
        if (!this.gallery.images.length && !query) this.make.suggest();
        if (location.hash.length <= 1 && document.activeElement === document.body) {
            this.make.focus({ preventScroll: true });
        }
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
        this.#live.start();
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
        clearTimeout(this.#typing); // what was typed last does not lead back
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
        const loaded = await load(import("./activity.js"));
        if (!loaded) return;
        const { Activity } = loaded;
        const known = this.#activity !== null;
        this.#activity ??= new Activity(this.#live);
        if (!known || !this.#stayed) await this.#activity.load();
        this.#stayed = true;
    }

    /** @param {string} guid */
    async #showPicture(guid) {
        const loaded = await load(import("./picture.js"));
        if (!loaded) return;
        const { Picture } = loaded;
        this.#picture ??= new Picture(
            {
                known: (wanted) => [...this.gallery.images, ...this.now.images].find((image) => image.guid === wanted),
                neighbour: (of, step) => this.#neighbour(of, step),
                linkOf: (of) => this.gallery.linkOf(of) ?? this.now.linkOf(of),
                closed: () => this.#onClosed(),
            },
            {
                useAsInput: (source) => this.#inGallery(() => this.make.addSource(source)),
                make: (body) => this.#inGallery(() => this.now.begin(body, false)),
                editPrompt: (prompt, words) => this.#inGallery(() => this.make.edit(prompt, words)),
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

    /**
     * Do something in the gallery after the dialog was closed, which goes back in the history.
     * @param {() => unknown} action
     */
    async #inGallery(action) {
        for (let count = 0; location.hash.startsWith("#p=") && count < 20; count++) await pause(10);
        await this.#home();
        action();
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

    /** Everything, from the newest on. */
    async #begin() {
        this.#search.value = "";
        await this.gallery.search("");
        await this.gallery.refresh();
    }

    #showNow() {
        this.now.refresh(true);
        scrollTo({ top: 0 });
    }

    #onChange() {
        const { running, succeeded } = this.#live;
        this.now.refresh(atTop());
        const isShown = (/** @type {string} */ guid) => this.gallery.has(guid) || this.now.linkOf(guid) !== null;
        for (const { generation, images } of this.#arrivals.take(succeeded, isShown)) {
            if (atTop() && !this.#search.value) this.now.add(generation);
            else for (const image of images) this.gallery.announce(image);
        }
        const count = byId("running-count");
        count.hidden = running.length === 0;
        count.textContent = `${running.length} running`;
    }

    /** @param {Set<string>} guids */
    async #remove(guids) {
        const deletion = await load(import("./deletion.js"));
        await deletion?.deleteImages(guids, (guid) => {
            this.gallery.remove(guid);
            this.#live.forgetImage(guid);
        });
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
    const [, last = ""] = /(?:^|\s)([\p{L}\p{N}]{3,})$/u.exec(typed) ?? [];
    const quoted = (typed.match(/"/g) ?? []).length % 2 === 1;
    const growing = last && !COMMON.test(last) && !quoted && typed.length < 500;
    return growing ? `${typed.trim()}*` : typed.trim();
}
