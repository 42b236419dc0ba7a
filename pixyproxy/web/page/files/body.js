// The body of a request like a recorded one.

/** @typedef {{role: string, guid?: string | null}} Input */

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
