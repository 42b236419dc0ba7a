// Pictures that came since the page was opened: each arrives once, whatever is shown or deleted later.

/** @typedef {import("./api.js").Generation} Generation */
/** @typedef {import("./api.js").Image} Image */

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
