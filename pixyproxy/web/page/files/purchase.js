// Buying a picture: once for each Idempotency-Key, whatever happens to the answers.

import { Problem, ask } from "./api.js";
import { pause } from "./dom.js";

/** @typedef {import("./api.js").Generation} Generation */
/** @typedef {import("./generation-tile.js").Asked} Asked */

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
            if (error instanceof Problem && error.status === 404) throw error;
        }
        await pause(milliseconds);
    }
}
