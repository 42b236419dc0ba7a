// What the person's key may do. What it may not do is not offered, or says why not.

/** @typedef {import("./api.js").Image} Image */
/** @typedef {import("./api.js").Session} Session */

/** @type {Pick<Session, "caller" | "scopes">} */
let known = { caller: "", scopes: [] };

/** @param {Session} session */
export function learnRights(session) {
    known = session;
}

/**
 * Whether this is what the page was built for: it offers what the key may do, and names it.
 * @param {Pick<Session, "caller" | "scopes">} session
 */
export function isKnown({ caller, scopes }) {
    return caller === known.caller && String(scopes) === String(known.scopes); // scopes have one order
}

/** @param {string} scope */
export function may(scope) {
    return known.scopes.includes(scope) || known.scopes.includes(`${scope}-all`);
}

/** Whether this is the name of the person's key. @param {string} name */
export function isOwnKey(name) {
    return name === known.caller;
}

/** Whether the key may read what others have drawn. */
export function seesEverybody() {
    return known.scopes.includes("read-all");
}

/** Whether the page has anything of what was spent. */
export function seesUsage() {
    return may("read") || may("admin");
}

/** @param {{caller?: string}} image */
export function mayDelete(image) {
    return known.scopes.includes("delete-all") || (may("delete") && image.caller === known.caller);
}

/** Why no picture can be made here; empty if one can. */
export function whyNotMake() {
    if (!may("draw")) return "Your key may look at pictures, not make them: it lacks the scope “draw”.";
    if (!may("read")) return "Your key may not see what it has made: it lacks the scope “read”. Programs can use it.";
    return "";
}
