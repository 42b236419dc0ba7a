// The pictures that are to be edited, and the mask of the first one.

import { button, byId, el, load, say } from "./dom.js";

/**
 * @typedef {{name: string, source: string, preview: string, width: number, height: number}} SourceOfEdit
 *     `source`: the guid of a picture that is stored here, or a data: URL. `preview`: the address of a small one.
 */

const TYPES = ["image/png", "image/webp", "image/jpeg"];

export class Sources {
    element = el("ul", { class: "sources", "aria-label": "Pictures to edit" });
    /** @type {SourceOfEdit[]} */
    #chosen = [];
    /** A data: URL. @type {string | null} */
    #mask = null;

    /**
     * @param {number} most
     * @param {() => void} changed
     * @param {(words: string) => void} tell says what could not be done
     */
    constructor(most, changed, tell) {
        this.most = most;
        this.changed = changed;
        this.tell = tell;
    }

    get count() {
        return this.#chosen.length;
    }

    /** What a request says of them. */
    get parameters() {
        if (!this.count) return {};
        const sources = this.#chosen.map(({ source }) => source);
        return this.#mask ? { sources, mask: this.#mask } : { sources };
    }

    /** Those that the draft can keep: an upload would not fit, and is chosen again. */
    get kept() {
        return this.#chosen.filter(({ preview }) => !preview.startsWith("blob:"));
    }

    /** @param {SourceOfEdit} source */
    add(source) {
        const known = this.#chosen.some((other) => other.source === source.source);
        if (known || this.count >= this.most) {
            this.tell(known ? `${source.name} is used already.` : `An edit has at most ${this.most} pictures.`);
            if (source.preview.startsWith("blob:")) URL.revokeObjectURL(source.preview);
            return;
        }
        this.#chosen.push(source);
        this.#show();
        say(`${source.name} is used as input.`);
    }

    /**
     * Pictures from this device.
     * @param {Iterable<File>} files
     */
    async addFiles(files) {
        const unreadable = [];
        for (const file of files) {
            const preview = URL.createObjectURL(file);
            const image = el("img", { src: preview });
            try {
                if (!TYPES.includes(file.type)) throw new TypeError(file.type);
                await image.decode();
                const source = await dataUrlOf(file);
                this.add({ name: file.name, source, preview, width: image.naturalWidth, height: image.naturalHeight });
            } catch {
                URL.revokeObjectURL(preview);
                unreadable.push(`${file.name} is no PNG, WebP or JPEG that can be read.`);
            }
        }
        if (unreadable.length) this.tell(unreadable.join(" "));
    }

    /** @param {SourceOfEdit} source */
    #remove(source) {
        if (source.preview.startsWith("blob:")) URL.revokeObjectURL(source.preview);
        if (source === this.#chosen[0]) this.#mask = null;
        const index = this.#chosen.indexOf(source);
        this.#chosen = this.#chosen.filter((other) => other !== source);
        this.#show();
        const rest = this.element.children[Math.min(index, this.count - 1)];
        /** @type {HTMLElement} */ (rest?.querySelector("button:last-child") ?? byId("prompt")).focus();
    }

    #show() {
        this.element.replaceChildren(
            ...this.#chosen.map((source, index) =>
                el(
                    "li",
                    {},
                    el("img", { src: source.preview, alt: "", width: 48, height: 48 }),
                    el("span", {}, source.name),
                    index === 0 ? this.#maskButton(source) : null,
                    button("×", () => this.#remove(source), {
                        class: "quiet",
                        "aria-label": `Do not use ${source.name}`,
                    }),
                ),
            ),
        );
        this.changed();
    }

    /** @param {SourceOfEdit} source */
    #maskButton(source) {
        const words = this.#mask ? "Mask ✓" : "Mask";
        return button(words, () => this.#paint(source), {
            class: "quiet",
            title: "Paint the part that is to be drawn anew",
        });
    }

    /** @param {SourceOfEdit} source */
    async #paint(source) {
        try {
            const mask = await load(import("./mask.js"));
            const painted = await mask?.paintMask(source, this.#mask !== null);
            if (painted !== undefined) this.#mask = painted;
            this.#show();
            this.element.querySelector("button")?.focus(); // that of the mask
        } catch {
            this.tell("The mask cannot be painted. Load the page again.");
        }
    }
}

/**
 * The bytes in a data: URL.
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
export function dataUrlOf(blob) {
    return new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(String(reader.result));
        reader.onerror = () => reject(reader.error);
        reader.readAsDataURL(blob);
    });
}
