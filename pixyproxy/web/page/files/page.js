// The page of one session: which place is shown, and what its parts tell each other.

import { serverNow } from "./api.js";
import { byId, load, pause, tell } from "./dom.js";
import { Gallery } from "./gallery.js";
import { queryOf } from "./head.js";
import { focusFirstInSight } from "./keys.js";
import { Arrivals, Live } from "./live.js";
import { Make } from "./make.js";
import { Now } from "./now.js";
import { Places } from "./places.js";
import { isKnown, learnRights, seesUsage } from "./rights.js";

/** @typedef {import("./api.js").Session} Session */

/** Milliseconds without a keystroke. */
const TYPING = 150;
/** Milliseconds that the gallery waits for what is shown above it. */
const SOON = 5_000;

export class Page {
    #live = new Live();
    /** @type {import("./picture.js").Picture | null} */
    #picture = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #typing;
    #arrivals = new Arrivals();
    #places = new Places();
    #search = /** @type {HTMLInputElement} */ (byId("search"));

    /** @param {Session} session */
    constructor(session) {
        this.session = session;
        learnRights(session);
        this.#places.offer();
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
        document.addEventListener("click", (event) => this.#places.follow(event));
        addEventListener("hashchange", () => this.#route());
    }

    async open() {
        history.scrollRestoration = "manual"; // the gallery keeps its place itself
        byId("account").hidden = false;
        byId("account").textContent = this.session.caller;
        byId("account").ariaLabel = `Account ${this.session.caller}`;
        const opened = serverNow();
        const started = this.#live.start().then(() => this.now.refresh(true));
        Promise.race([started, pause(SOON)]).then(() => byId("gallery").classList.remove("early"));
        const [query] = await Promise.all([this.gallery.open(), started]);
        this.#arrivals.begin(this.gallery.newest ?? opened);
        if (this.#search.value)
            this.#onSearch(); // typed meanwhile
        else this.#search.value = query.replace(/\*$/, "");
        if (!this.gallery.images.length && !query) this.make.suggest();
        if (location.hash.length <= 1 && document.activeElement === document.body) {
            this.make.focus({ preventScroll: true });
        }
        this.#sumUp();
        await this.#route();
        const budget = await import("./own-budget.js").catch(() => null); // of another version: it is not missed
        budget?.showOwnBudget(this.#live, this.make);
    }

    /**
     * What a key does here; whether it is one of ours.
     * @param {KeyboardEvent} event
     */
    press({ key, target, repeat }) {
        if (this.#picture?.open) return this.#picture.press(key);
        if (!(target instanceof Element) || document.querySelector("dialog[open]")) return false;
        if (key.startsWith("Arrow")) return target.matches("body, h2") && focusFirstInSight();
        if (key === "Delete") return !repeat && this.#askDelete(target.closest("a.tile"));
        const actions = new Map([
            ["/", () => this.#search.focus()],
            ["n", () => this.#home().then(() => this.make.focus())],
            ["?", () => this.showKeys()],
        ]);
        actions.get(key)?.();
        return actions.has(key);
    }

    /** Begin to follow what today costs. */
    async #sumUp() {
        const today = seesUsage() && (await import("./today.js").catch(() => null));
        if (today) this.today = new today.Today(this.#live);
    }

    /** Show the list of keys. */
    async showKeys() {
        (await load(import("./key-list.js")))?.showKeys();
    }

    /** @param {Element | null} tile */
    #askDelete(tile) {
        if (!(tile instanceof HTMLAnchorElement)) return false;
        const { selection } = this.gallery;
        if (selection.active) selection.askDelete();
        else this.#open(tile.hash).then(() => this.#picture?.press("Delete"));
        return true;
    }

    /** @param {string} hash of a picture */
    #open(hash) {
        this.#places.open(hash);
        return this.#route();
    }

    /**
     * Go on after logging in again: the page stays as it is, for the same key that may do the same.
     * @param {Session} session
     */
    resume(session) {
        if (!isKnown(session)) location.reload();
        this.#live.start();
        return this.gallery.images.length ? undefined : this.gallery.refresh();
    }

    async #route() {
        const { guid } = this.#places;
        if (guid) {
            await this.#showPicture(guid);
            return;
        }
        this.#picture?.close();
        const changed = this.#places.show();
        if (changed) clearTimeout(this.#typing); // what was typed last does not lead back
        this.#entitle();
        await this.#places.fill(this.#live);
        if (changed) this.#places.keepFocus();
    }

    #entitle() {
        this.#places.entitle(this.#picture?.name ?? "", this.#search.value.trim());
    }

    /** @param {string} guid */
    async #showPicture(guid) {
        const loaded = await load(import("./picture.js"));
        if (!loaded) return;
        const { Picture } = loaded;
        this.#picture ??= new Picture(
            {
                gallery: this.gallery,
                now: this.now,
                changed: () => this.#entitle(),
                closed: () => {
                    this.#places.leave();
                    this.#entitle();
                },
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
     * Do something in the gallery after the dialog was closed.
     * @param {() => unknown} action
     */
    async #inGallery(action) {
        await this.#home();
        action();
    }

    /** To the gallery, from wherever. */
    async #home() {
        await this.#places.settled;
        if (!this.#places.isGallery) {
            history.pushState(null, "", "#");
            await this.#route();
        }
    }

    #onSearch() {
        clearTimeout(this.#typing);
        this.#typing = setTimeout(async () => {
            await this.#home();
            this.#entitle();
            await this.gallery.search(queryOf(this.#search.value));
        }, TYPING);
    }

    /** Everything, from the newest on. */
    async #begin() {
        this.#search.value = "";
        this.#entitle();
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
        this.gallery.selection.refresh();
        this.#picture?.showEnds();
        const count = byId("running-count");
        count.hidden = running.length === 0;
        count.textContent = `${running.length} running`;
    }

    /** @param {Set<string>} guids */
    async #remove(guids) {
        const actions = await load(import("./actions.js"));
        await actions?.deleteImages(guids, [...this.gallery.images, ...this.now.images], (guid) => {
            this.gallery.remove(guid);
            this.#live.forgetImage(guid);
        });
        this.#places.keepFocus();
    }
}

/** Whether the person looks at the beginning of everything. */
function atTop() {
    return scrollY < 8;
}
