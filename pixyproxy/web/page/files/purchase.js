// Buying a picture: once for each Idempotency-Key, whatever happens to the answers. And watching it come.

import { Problem, ask, eventsOf } from "./api.js";
import { pause } from "./dom.js";

/** @typedef {import("./api.js").Generation} Generation */
/** @typedef {import("./generation-tile.js").Asked} Asked */
/** @typedef {{role: string, guid?: string | null}} Input */

/** Of unfinished pictures: a browser has few connections. */
const STREAMS = 2;
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;

/**
 * Send the request. `Problem` if nothing is known to have begun; asking again with the same key is safe then.
 * @param {Asked} asked
 * @returns {Promise<{generation: Generation, requestId: string | null}>}
 */
export async function purchase({ key, body, partialImages }) {
    const headers = { "Idempotency-Key": key, Prefer: "respond-async" };
    const json = partialImages ? { ...body, partial_images: partialImages } : body;
    let guid;
    /** @type {string | null} */
    let requestId = null;
    try {
        const response = await ask("image", { method: "POST", json, headers });
        requestId = response.headers.get("X-Request-ID");
        const answer = await response.json();
        if (response.status === 202) return { generation: answer, requestId };
        guid = answer.generation;
    } catch (error) {
        if (!(error instanceof Problem)) throw new Problem({ type: "offline", detail: "The answer broke off." });
        if (error.name !== "generation-running" || !error.generation) throw error;
        guid = error.generation;
    }
    return { generation: await askPatiently(guid), requestId };
}

/**
 * A generation that was begun: it is asked for until it is there.
 * @param {string} guid
 * @returns {Promise<Generation>}
 */
async function askPatiently(guid) {
    for (let milliseconds = FIRST_PAUSE; ; milliseconds = Math.min(LONGEST_PAUSE, 2 * milliseconds)) {
        try {
            const response = await ask(`generation/${guid}`);
            return await response.json();
        } catch (error) {
            if (error instanceof Problem && [403, 404].includes(error.status)) throw error;
        }
        await pause(milliseconds);
    }
}

/**
 * The body of a request like a recorded one; null if it edits an upload, which is not kept.
 * @param {string} prompt
 * @param {Record<string, any>} parameters
 * @param {Input[]} inputs
 * @returns {Record<string, any> | null}
 */
export function bodyLike(prompt, parameters, inputs) {
    if (inputs.some((input) => !input.guid)) return null;
    // POST /image draws one picture: `n` is no parameter of it.
    const others = Object.fromEntries(Object.entries(parameters).filter(([name]) => name !== "n"));
    const sources = inputs.filter((input) => input.role === "image").map((input) => input.guid);
    const rest = inputs.filter((input) => input.role !== "image").map(({ role, guid }) => [role, guid]);
    return { prompt, ...others, ...(sources.length ? { sources } : {}), ...Object.fromEntries(rest) };
}

/** Streams of one's own generations. */
export class Partials {
    #streams = 0;

    /** @param {import("./live.js").Live} live */
    constructor(live) {
        this.live = live;
    }

    /** Whether another generation can be watched. */
    get free() {
        return this.#streams < STREAMS;
    }

    /**
     * Show unfinished pictures on a tile. If the stream breaks off, polling goes on.
     * @param {import("./generation-tile.js").GenerationTile} tile
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
