// Several pictures at once: to download them as they are, or to delete them.

import { button, byId, el, pause, say } from "./dom.js";
import { may } from "./rights.js";

/** @typedef {import("./gallery.js").Gallery} Gallery */

const PAUSE = 300;

export class Selection {
    active = false;
    /** @type {Set<string>} */
    #chosen = new Set();
    /** Where Shift begins a range. @type {HTMLElement | null} */
    #last = null;
    /** The gallery, and what has just come. */
    #place = byId("main");
    #count = el("span", {});
    #delete = button("Delete…", (event) => this.#onDelete(event), { class: "danger", hidden: !may("delete") });
    #sure = false;
    element = el("div", { class: "selected", role: "toolbar", "aria-label": "Selected pictures", hidden: true });

    /**
     * @param {Gallery} gallery
     * @param {HTMLButtonElement} switcher
     * @param {(guids: Set<string>) => Promise<unknown>} remove
     */
    constructor(gallery, switcher, remove) {
        this.gallery = gallery;
        this.switcher = switcher;
        this.remove = remove;
        this.element.append(
            this.#count,
            button("Download", () => this.#download()),
            this.#delete,
            button("Done", () => this.#end(), { class: "quiet" }),
        );
        this.#place.addEventListener("click", (event) => this.#onClick(event), { capture: true });
        this.#place.addEventListener("keydown", (event) => this.#onKey(event));
    }

    /** Begin to select, or end it. */
    toggle() {
        this.active = !this.active;
        this.switcher.setAttribute("aria-pressed", String(this.active));
        this.#place.classList.toggle("selecting", this.active);
        for (const link of this.#links) this.prepare(link);
        if (this.active) say("Select pictures with Enter or a click.");
        else this.clear();
        this.element.hidden = !this.active;
        this.#show();
    }

    /** End it, with the focus where it was begun. */
    #end() {
        this.toggle();
        this.switcher.focus({ preventScroll: true });
    }

    clear() {
        this.#chosen.clear();
        this.refresh();
        this.#show();
    }

    /** Show what is chosen; what came meanwhile can be chosen too. */
    refresh() {
        if (this.active) for (const link of this.#links) this.prepare(link);
    }

    get #links() {
        return /** @type {HTMLElement[]} */ ([...this.#place.querySelectorAll("a.tile")]);
    }

    /**
     * While pictures are selected a tile is a check box, else a link.
     * @param {HTMLElement} link
     */
    prepare(link) {
        if (this.active) {
            link.role = "checkbox";
            link.setAttribute("aria-checked", String(this.#chosen.has(guidOf(link))));
        } else {
            link.removeAttribute("role");
            link.removeAttribute("aria-checked");
        }
    }

    /** @param {MouseEvent} event */
    #onClick(event) {
        const link = event.target instanceof Element ? event.target.closest("a.tile") : null;
        if (!this.active || !(link instanceof HTMLElement)) return;
        event.preventDefault();
        const links = this.#links;
        const chosen = !this.#chosen.has(guidOf(link));
        const [first, last] = [links.indexOf(event.shiftKey && this.#last ? this.#last : link), links.indexOf(link)];
        for (const each of links.slice(Math.min(first, last), Math.max(first, last) + 1)) {
            if (chosen) this.#chosen.add(guidOf(each));
            else this.#chosen.delete(guidOf(each));
        }
        this.#last = link;
        this.refresh();
        this.#show();
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        const { key, shiftKey, target } = event;
        if (!this.active || key !== " " || !(target instanceof HTMLElement) || !target.matches("a.tile")) return;
        event.preventDefault();
        target.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey }));
    }

    /** As by the button. */
    askDelete() {
        this.#delete.focus();
        this.#delete.click();
    }

    #show() {
        const count = this.#chosen.size;
        this.#sure = false;
        this.#count.textContent = `${count} selected`;
        this.#delete.textContent = "Delete…";
        for (const action of this.element.querySelectorAll("button"))
            action.disabled = count === 0 && action.textContent !== "Done";
    }

    async #download() {
        for (const guid of this.#chosen) {
            el("a", { href: `image/${guid}/content?download=1`, download: "" }).click();
            await pause(PAUSE); // a browser drops downloads that begin at once
        }
    }

    /** @param {MouseEvent} event */
    async #onDelete(event) {
        if (event.detail > 1) return; // a double click is no answer to the question
        const count = this.#chosen.size;
        if (!this.#sure) {
            this.#sure = true;
            this.#delete.textContent = count === 1 ? "Delete 1 picture for good" : `Delete ${count} pictures for good`;
            say(`${this.#delete.textContent}? Press again.`);
            return;
        }
        const guids = new Set(this.#chosen);
        this.toggle();
        await this.remove(guids);
    }
}

/** The guid of the picture that a tile opens. @param {HTMLElement} link */
function guidOf(link) {
    return link.getAttribute("href")?.slice("#p=".length) ?? "";
}
