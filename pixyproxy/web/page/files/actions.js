// What can be done with the open picture, by button and by key; and deleting one or several.

import { Problem, ask } from "./api.js";
import { button, copy, el, say, tell } from "./dom.js";
import { beginningOf } from "./format.js";
import { bodyLike } from "./purchase.js";
import { mayDelete, whyNotMake } from "./rights.js";

/** @typedef {import("./api.js").Image} Image */
/**
 * @typedef {object} Doings What the page does.
 * @property {(source: import("./sources.js").SourceOfEdit) => void} useAsInput
 * @property {(body: Record<string, any>) => void} make
 * @property {(prompt: string, words: string) => void} editPrompt
 * @property {(guids: Set<string>) => Promise<unknown>} remove
 */

const NOT_KEPT = "It was edited from an upload or with a mask, which is not kept. Add it again.";

export class Actions {
    first = el("div", { class: "actions" });
    more = el("div", { class: "more" });
    /** Whether it is being asked whether to delete the picture. */
    #asking = false;

    /**
     * @param {Image} image
     * @param {Doings} doings
     * @param {() => void} close the dialog
     */
    constructor(image, doings, close) {
        this.image = image;
        this.doings = doings;
        this.close = close;
        this.first.append(
            button("Copy URL", () => this.#copyUrl(), { class: "main" }),
            button("Copy prompt", () => this.#copyPrompt()),
            button("Download", () => this.#download()),
            button("Use as input", () => this.#use(), { hidden: whyNotMake() !== "" }),
        );
        this.#showMore();
    }

    /**
     * What a key does; nothing if it is none of these.
     * @param {string} key
     * @returns {(() => unknown) | undefined}
     */
    ofKey(key) {
        if ((key === "e" && whyNotMake()) || (key === "Delete" && !mayDelete(this.image))) return undefined;
        return {
            c: () => this.#copyUrl(),
            p: () => this.#copyPrompt(),
            d: () => this.#download(),
            e: () => this.#use(),
            Delete: () => this.#askDelete(),
        }[key];
    }

    /**
     * Keep the picture, if it is being asked whether to delete it; whether it was.
     * Esc does it too, and closes nothing.
     */
    keep() {
        if (!this.#asking) return false;
        this.#showMore();
        this.more.querySelector("button")?.focus();
        return true;
    }

    #showMore() {
        this.#asking = false;
        this.more.replaceChildren(
            button("Make it again", () => this.#makeAgain(), { class: "quiet", hidden: whyNotMake() !== "" }),
            button("Delete…", () => this.#askDelete(), { class: "quiet danger", hidden: !mayDelete(this.image) }),
        );
    }

    #copyUrl() {
        return this.#copy(this.image.url, "The URL is copied. It does not expire.");
    }

    #copyPrompt() {
        return this.#copy(this.image.prompt, "The prompt is copied.");
    }

    /**
     * @param {string} text
     * @param {string} words
     */
    async #copy(text, words) {
        const told = await copy(text).then(
            () => words,
            () => `The browser does not let this page copy. Copy it from here: ${text}`,
        );
        this.first.querySelector(".told")?.remove();
        this.first.append(el("p", { class: "told" }, told));
        say(told);
    }

    #download() {
        el("a", { href: `image/${this.image.guid}/content?download=1`, download: this.image.filename }).click();
    }

    #use() {
        const { guid, prompt, width, height } = this.image;
        const preview = `image/${guid}/thumbnail?size=400`;
        this.close();
        this.doings.useAsInput({ name: beginningOf(prompt, 40), source: guid, preview, width, height });
    }

    #makeAgain() {
        const { prompt, parameters = {}, sources } = this.image;
        const body = bodyLike(prompt, parameters, sources);
        this.close();
        if (body) this.doings.make(body);
        else this.doings.editPrompt(prompt, NOT_KEPT);
    }

    #askDelete() {
        const remove = button("Delete for good", () => this.#delete(), { class: "danger" });
        const keep = button("Keep it", () => this.keep());
        this.#asking = true;
        this.more.replaceChildren(el("p", {}, "Delete it? Its URL will stop working, for everybody."), remove, keep);
        remove.focus();
    }

    #delete() {
        this.close();
        return this.doings.remove(new Set([this.image.guid]));
    }
}

/**
 * Delete pictures until one cannot be deleted; what happened is said.
 * @param {Set<string>} chosen
 * @param {{guid: string, caller?: string}[]} images what is known of them
 * @param {(guid: string) => void} gone called for each that does not exist any more
 */
export async function deleteImages(chosen, images, gone) {
    const others = new Set(images.filter((image) => !mayDelete(image)).map(({ guid }) => guid));
    const guids = new Set([...chosen].filter((guid) => !others.has(guid)));
    let count = 0;
    tell("");
    for (const guid of guids) {
        try {
            await ask(`image/${guid}`, { method: "DELETE" });
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            if (error.name !== "image-not-found") {
                tell(`${error.message} ${guids.size - count} of ${guids.size} were not deleted.`);
                return;
            }
        }
        count++;
        gone(guid);
    }
    const kept = chosen.size - guids.size;
    if (kept) tell(`${kept} of ${chosen.size} belong to others: your key may not delete them.`);
    say(count === 1 ? "The picture is deleted." : `${count} pictures are deleted.`);
}
