// A key in the table: what it may do and spend, how it stands, and what can be done with it.

import { meterOf } from "./budgets.js";
import { button, el } from "./dom.js";
import { dayOf } from "./format.js";
import { SCOPES } from "./key-fields.js";

/** @typedef {import("./key-fields.js").Key} Key */
/** @typedef {"change" | "rotate" | "revoke"} Action */

export const COLUMNS = ["Name", "May", "Budget", "Limits", "State", "Actions"];
const STATES = { "in-force": "Valid", expired: "Expired", revoked: "Revoked" };
const MOMENT = new Intl.DateTimeFormat("en", {
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
});
const DAY_OF_YEAR = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
/** @type {[Action, string][]} */
const ACTIONS = [
    ["change", "Change"],
    ["rotate", "Rotate"],
    ["revoke", "Revoke…"],
];

/**
 * Tables that become lists in narrow windows say themselves what they are.
 * @param {Key} key
 * @param {boolean} own whether it is that of the session
 * @param {(action: Action) => unknown} act
 */
export function keyRow(key, own, act) {
    const cell = (/** @type {string} */ label, /** @type {(Node | string | null)[]} */ ...content) =>
        el("td", { role: "cell", "data-label": label }, ...content);
    const badge = own ? el("span", { class: "own" }, "yours") : null;
    const note = key.note ? el("p", { class: "facts", dir: "auto" }, key.note) : null;
    const limits = limitsOf(key);
    const actions = key.configured || key.state === "revoked" ? [] : ACTIONS;
    return el(
        "tr",
        { role: "row", class: `key ${key.state}`, "data-name": key.name },
        el("th", { scope: "row", role: "rowheader" }, el("span", { class: "name" }, key.name), badge, note),
        cell("May", el("ul", { class: "tags" }, ...key.scopes.map(tagOf))),
        cell(
            "Budget",
            key.budgets.length ? el("ul", { class: "meters" }, ...key.budgets.map(meterOf)) : nothing("no limit"),
        ),
        cell("Limits", limits.length ? el("ul", {}, ...limits.map((words) => el("li", {}, words))) : nothing("none")),
        cell("State", ...stateOf(key)),
        cell(
            "Actions",
            key.configured ? nothing("Set where the service is configured.") : null,
            ...actions
                .filter(([action]) => action !== "rotate" || key.state === "in-force")
                .map(([action, words]) =>
                    button(words, () => act(action), {
                        class: action === "revoke" ? "quiet danger" : "quiet",
                        "data-action": action,
                        "aria-label": `${words} ${key.name}`,
                    }),
                ),
        ),
    );
}

/** @param {string} scope */
function tagOf(scope) {
    return el("li", { title: SCOPES[/** @type {keyof typeof SCOPES} */ (scope)] ?? "" }, scope);
}

/** @param {string} words */
function nothing(words) {
    return el("span", { class: "facts" }, words);
}

/** @param {Key} key */
function limitsOf({ rate_per_minute: rate, running_limit: running, replica_share: share }) {
    return [rate && `${rate} a minute`, running && `${running} at once`, share && `${share} % of a replica`].filter(
        (words) => typeof words === "string",
    );
}

/** When something ends: to the minute in these months, or the day of a year. @param {string} moment */
function endAt(moment) {
    const date = new Date(moment);
    const near = Math.abs(date.getTime() - Date.now()) < 180 * 86_400_000;
    return (near ? MOMENT : DAY_OF_YEAR).format(date);
}

/** @param {Key} key */
function stateOf(key) {
    const word = el("span", { class: "state" }, STATES[key.state]);
    /** @param {string} words */
    const more = (words) => el("p", { class: "facts" }, words);
    if (key.state === "revoked") return [word, key.revoked_at ? more(dayOf(key.revoked_at)) : null];
    const ends = key.expires_at && more(`${key.state === "expired" ? "" : "until "}${endAt(key.expires_at)}`);
    const former = key.former_until && more(`former secret until ${endAt(key.former_until)}`);
    return [word, ends || null, former || null];
}
