// The body of a request like a recorded one.

/** @typedef {{role: string, guid?: string | null}} Input */

const OF_BODY = [
    "model",
    "size",
    "quality",
    "background",
    "output_format",
    "output_compression",
    "moderation",
    "complexity",
    "input_fidelity",
    "user",
    "safety_identifier",
];

/**
 * The body of a request like a recorded one; null if it edits an upload, which is not kept.
 * @param {string} prompt
 * @param {Record<string, any>} parameters
 * @param {Input[]} inputs
 * @returns {Record<string, any> | null}
 */
export function bodyLike(prompt, parameters, inputs) {
    if (inputs.some((input) => !input.guid)) return null;
    /** @type {Record<string, any>} */
    const body = { prompt };
    for (const name of OF_BODY)
        if (parameters[name] !== undefined && parameters[name] !== null) body[name] = parameters[name];
    const sources = inputs.filter((input) => input.role === "image").map((input) => input.guid);
    if (sources.length) body.sources = sources;
    for (const { role, guid } of inputs) if (role !== "image") body[role] = guid;
    return body;
}
