// Unfinished pictures: streams of one's own generations. A browser has few connections, so only some are watched.

import { ask, eventsOf } from "./api.js";

/** @typedef {import("./generation-tile.js").GenerationTile} GenerationTile */
/** @typedef {import("./live.js").Live} Live */

const STREAMS = 2;

export class Partials {
    #streams = 0;

    /** @param {Live} live */
    constructor(live) {
        this.live = live;
    }

    /** Whether another generation can be watched. */
    get free() {
        return this.#streams < STREAMS;
    }

    /**
     * Show unfinished pictures on a tile. If the stream breaks off, polling goes on.
     * @param {GenerationTile} tile
     * @param {string} guid
     */
    async watch(tile, guid) {
        if (!this.free || tile.watched) return;
        tile.watched = true;
        this.#streams++;
        try {
            const response = await ask(`generation/${guid}`, { headers: { Accept: "text/event-stream" } });
            for await (const { event, data } of eventsOf(response)) {
                if (event === "partial") tile.showPartial(pictureOf(JSON.parse(data)));
                if (event === "end") this.live.learn(JSON.parse(data));
            }
        } catch {
            // Polling goes on, whatever broke.
        } finally {
            this.#streams--;
            this.live.soon();
        }
    }
}

/** @param {{content_type: string, b64_json: string}} partial */
function pictureOf({ content_type: type, b64_json: base64 }) {
    return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type });
}
