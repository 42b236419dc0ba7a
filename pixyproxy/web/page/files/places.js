// The places of the page, one of which is shown: the gallery or the activity, and a picture before either.

import { byId } from "./dom.js";
import { beginningOf } from "./format.js";

const NAME = "PixyProxy";
/** Characters of a prompt or a query in the title of the window. */
const TITLE = 60;

export class Places {
    /** Of the gallery, in CSS pixels. */
    #top = 0;
    /** Whether a picture was opened from here: closing it goes back. */
    #opened = false;
    #returning = false;
    /** What goes on before the page has gone back in the history would be undone by that. */
    settled = Promise.resolve();

    /** The guid of the picture that the address names. */
    get guid() {
        return /^#p=([0-9a-f-]{36})$/.exec(location.hash)?.[1];
    }

    get isActivity() {
        return location.hash === "#activity";
    }

    /** Show the place of the address; whether it is another one. */
    show() {
        const activity = this.isActivity;
        if (byId("activity").hidden !== activity) return false;
        if (activity) this.#top = scrollY;
        for (const id of ["make", "gallery"]) byId(id).hidden = activity;
        byId("activity").hidden = !activity;
        byId("now").classList.toggle("away", activity);
        byId(activity ? "to-activity" : "to-gallery").ariaCurrent = "page";
        byId(activity ? "to-gallery" : "to-activity").ariaCurrent = null;
        scrollTo(0, activity ? 0 : this.#top);
        return true;
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
        const words = picture || (this.isActivity ? "Activity" : query && `“${query}”`);
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
