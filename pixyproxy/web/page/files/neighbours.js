// The pictures before and after one: those under "Just now" that the gallery does not have yet, and the gallery's.

import { Problem } from "./api.js";

/** @typedef {import("./api.js").Image} Image */

const NEWER = "There are newer pictures: close this one, and go to the newest with the button above the gallery.";
const NOT_READ = "The next pictures did not come. Try again.";
const ENDS = { "-1": "This is the newest picture.", 1: "This is the oldest picture." };
const ELSEWHERE = "This picture is not in the list that is shown: others cannot be reached from here.";

export class Neighbours {
    /**
     * @param {import("./gallery.js").Gallery} gallery
     * @param {import("./now.js").Now} now
     */
    constructor(gallery, now) {
        this.gallery = gallery;
        this.now = now;
    }

    /** Newest first. @returns {Image[]} */
    get #all() {
        const fresh = this.now.images.filter((image) => !this.gallery.has(image.guid)).reverse();
        return [...fresh, ...this.gallery.images];
    }

    /** @param {string} guid */
    known(guid) {
        return [...this.gallery.images, ...this.now.images].find((image) => image.guid === guid);
    }

    /**
     * Whether there may be a neighbour.
     * @param {string} guid
     * @param {1 | -1} step
     */
    reaches(guid, step) {
        const { newer, older } = this.gallery;
        return this.#beside(guid, step) !== undefined || (this.gallery.has(guid) && (step === 1 ? older : newer));
    }

    /**
     * The neighbour; at the end the next page is read. A `Problem` says why there is none.
     * @param {string} guid
     * @param {1 | -1} step
     * @returns {Promise<Image>}
     */
    async of(guid, step) {
        if (this.#beside(guid, step) === undefined && this.reaches(guid, step)) {
            if (step === -1) throw new Problem({ detail: NEWER });
            if (!(await this.gallery.more())) throw new Problem({ detail: NOT_READ });
        }
        const neighbour = this.#beside(guid, step);
        if (neighbour) return neighbour;
        throw new Problem({ detail: this.known(guid) ? ENDS[step] : ELSEWHERE });
    }

    /**
     * The neighbour, if it is on the page.
     * @param {string} guid
     * @param {1 | -1} step
     */
    #beside(guid, step) {
        const [{ newer, images }, all] = [this.gallery, this.#all];
        const index = all.findIndex((image) => image.guid === guid);
        // Between what has just come and a list that begins in the middle there are others.
        if (index < 0 || (newer && step === -1 && images[0]?.guid === guid)) return undefined;
        return all[index + step];
    }
}
