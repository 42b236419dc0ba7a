// One picture in a dialog with an address of its own.

import { Actions } from "./actions.js";
import { Problem, ask, askJson } from "./api.js";
import { button, el, motionReduced, say } from "./dom.js";
import { factsOf } from "./facts.js";
import { beginningOf } from "./format.js";
import { Neighbours } from "./neighbours.js";

/** @typedef {import("./api.js").Image} Image */
/**
 * @typedef {object} Surroundings Where the dialog stands.
 * @property {import("./gallery.js").Gallery} gallery
 * @property {import("./now.js").Now} now
 * @property {() => void} changed called when it shows another picture
 * @property {() => void} closed
 */

export class Picture {
    /** @type {Image | null} */
    #image = null;
    /** The guid of the picture that was asked for last: of others nothing is shown. */
    #wanted = "";
    /** @type {Actions | null} */
    #actions = null;
    #picture = el("img", { alt: "", onerror: () => this.#explainLoss() });
    #lost = el("p", { hidden: true });
    #prompt = el("p", { class: "prompt", id: "picture-prompt", tabIndex: -1, dir: "auto" });
    #about = el("div");
    #facts = el("dl");
    #dialog = el("dialog", { class: "picture", "aria-labelledby": "picture-prompt" });
    /** Whether what follows closing is still to be done. */
    #shown = false;
    #newer = button("‹", () => this.#go(-1), { class: "step previous", "aria-label": "Newer picture" });
    #older = button("›", () => this.#go(1), { class: "step next", "aria-label": "Older picture" });

    /**
     * @param {Surroundings} surroundings
     * @param {import("./actions.js").Doings} doings
     */
    constructor(surroundings, doings) {
        this.surroundings = surroundings;
        this.doings = doings;
        this.neighbours = new Neighbours(surroundings.gallery, surroundings.now);
        const close = button("×", () => this.close(), { class: "close", "aria-label": "Close" });
        this.#dialog.append(
            el("div", { class: "stage" }, this.#newer, this.#picture, this.#lost, this.#older),
            el("div", { class: "panel" }, close, this.#prompt, this.#about),
        );
        this.#dialog.addEventListener("close", () => this.#onClose());
        this.#dialog.addEventListener("cancel", (event) => this.#actions?.keep() && event.preventDefault());
        document.body.append(this.#dialog);
    }

    get open() {
        return this.#dialog.open;
    }

    /** The prompt of the picture that is open. */
    get name() {
        return this.open ? (this.#prompt.textContent ?? "") : "";
    }

    close() {
        this.#wanted = "";
        if (this.open) this.#dialog.close();
        this.#onClose(); // its event comes later
    }

    /**
     * Show a picture.
     * @param {string} guid
     */
    async show(guid) {
        this.#wanted = guid;
        if (this.#image?.guid === guid && this.open) return;
        try {
            const known = this.neighbours.known(guid);
            const image = known ?? /** @type {Image} */ (await askJson(`image/${guid}`));
            if (this.#wanted !== guid) return;
            if (this.open) this.#fill(image);
            else await this.#grow(image);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            if (this.#wanted !== guid) return;
            this.#fillMissing(error);
            this.#openDialog();
        }
        this.surroundings.changed();
    }

    #openDialog() {
        this.#shown = true;
        if (!this.open) this.#dialog.showModal();
    }

    /** The buttons at the ends of the list keep the focus, and say why nothing comes. */
    showEnds() {
        const guid = this.#image?.guid ?? "";
        this.#newer.ariaDisabled = String(!this.neighbours.reaches(guid, -1));
        this.#older.ariaDisabled = String(!this.neighbours.reaches(guid, 1));
    }

    /**
     * What a key does here; whether it is one of ours.
     * @param {string} key
     */
    press(key) {
        const steps = { ArrowLeft: () => this.#go(-1), ArrowRight: () => this.#go(1) };
        const action = this.#actions?.ofKey(key) ?? /** @type {Record<string, () => unknown>} */ (steps)[key];
        if (!this.#image || !action) return false;
        action();
        return true;
    }

    /** @param {1 | -1} step */
    async #go(step) {
        const image = this.#image;
        if (!image) return;
        try {
            const neighbour = await this.neighbours.of(image.guid, step);
            if (this.#image !== image) return;
            await this.#follow(neighbour.guid);
            say(beginningOf(neighbour.prompt, 100));
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            this.showEnds();
            say(error.message);
        }
    }

    /**
     * To another picture, which takes the place of this one in the history.
     * @param {string} guid
     */
    #follow(guid) {
        history.replaceState(history.state, "", `#p=${guid}`);
        return this.show(guid);
    }

    /**
     * Open with the tile growing into the picture.
     * @param {Image} image
     */
    #grow(image) {
        const tile = this.#linkOf(image)?.querySelector("img");
        const change = () => {
            if (this.#wanted !== image.guid) return;
            this.#fill(image);
            this.#openDialog();
            this.#prompt.focus({ preventScroll: true });
        };
        if (!tile || !document.startViewTransition || motionReduced()) return change();
        tile.style.viewTransitionName = "picture";
        const transition = document.startViewTransition(() => {
            tile.style.viewTransitionName = "";
            this.#picture.style.viewTransitionName = "picture";
            change();
        });
        transition.ready.catch(() => undefined); // another one began
        transition.finished.finally(() => {
            this.#picture.style.viewTransitionName = "";
        });
        return transition.updateCallbackDone;
    }

    /** @param {Image} image */
    #linkOf({ guid }) {
        return this.surroundings.gallery.linkOf(guid) ?? this.surroundings.now.linkOf(guid);
    }

    /** @param {Image} image */
    #fill(image) {
        this.#image = image;
        this.#actions = new Actions(image, this.doings, () => this.close());
        this.#lost.hidden = true;
        this.#picture.hidden = false;
        Object.assign(this.#picture, { width: image.width, height: image.height, alt: beginningOf(image.prompt) });
        this.#picture.style.backgroundImage = `url("image/${image.guid}/thumbnail?size=800")`;
        this.#picture.src = `image/${image.guid}/content`;
        this.#prompt.textContent = image.prompt;
        this.#about.replaceChildren(this.#actions.first, this.#facts, this.#actions.more);
        this.#showFacts(image, null);
        this.showEnds();
        if (image.generation) this.#askGeneration(image, image.generation);
    }

    /** @param {Problem} problem */
    #fillMissing(problem) {
        this.#image = null;
        this.#actions = null;
        this.#picture.hidden = true;
        this.#lost.hidden = false;
        const missing = problem.name === "image-not-found";
        this.#lost.textContent = missing ? "There is no such picture, or it was deleted." : problem.message;
        this.#prompt.textContent = "No picture";
        this.#about.replaceChildren();
        this.showEnds();
    }

    /**
     * @param {Image} image
     * @param {string} guid
     */
    async #askGeneration(image, guid) {
        try {
            const generation = await askJson(`generation/${guid}`);
            if (this.#image === image) this.#showFacts(image, generation);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
        }
    }

    /**
     * @param {Image} image
     * @param {import("./api.js").Generation | null} generation
     */
    #showFacts(image, generation) {
        this.#facts.replaceChildren(...factsOf(image, generation, (guid) => this.#follow(guid)));
    }

    /** The service says why the bytes did not come. */
    async #explainLoss() {
        const image = this.#image;
        if (!image) return;
        const words = await ask(`image/${image.guid}/content`).then(
            () => "The browser cannot show this picture.",
            (error) => String(error.message),
        );
        if (this.#image !== image) return;
        this.#picture.hidden = true;
        this.#lost.hidden = false;
        this.#lost.textContent = words;
    }

    #onClose() {
        if (this.open || !this.#shown) return;
        this.#shown = false;
        this.#wanted = "";
        const link = this.#image && this.#linkOf(this.#image);
        this.#image = null;
        this.#actions = null;
        this.#picture.removeAttribute("src");
        this.surroundings.closed();
        // What was done may have moved the focus to somewhere else.
        if (!document.activeElement?.matches("body, a.tile")) return;
        link?.focus({ preventScroll: true });
        link?.scrollIntoView({ block: "nearest" });
    }
}
