// The fields of a key, and what a request makes of them.

import { el } from "./dom.js";
import { field, group } from "./form-dialog.js";

/** @typedef {import("./budgets.js").Budget} Budget */
/**
 * @typedef {{name: string, prefix: string, scopes: string[], state: "in-force" | "expired" | "revoked",
 *     configured: boolean, note: string | null, rate_per_minute: number | null, running_limit: number | null,
 *     replica_share: number | null, created_at: string, expires_at: string | null, revoked_at: string | null,
 *     former_until: string | null, budgets: Budget[]}} Key
 * @typedef {Record<string, any>} Values what a request has
 */

/** What each scope allows. */
export const SCOPES = {
    draw: "make and edit pictures",
    read: "see its own pictures, and what they cost",
    "read-all": "see everybody’s",
    delete: "delete its own pictures",
    "delete-all": "delete anybody’s",
    admin: "manage keys and budgets; it can give itself everything else",
};
const OF_A_NEW_KEY = ["draw", "read", "delete"];
const PERIODS = { day: "a day", month: "a month", total: "in total" };
const NUMBER = "A whole number from 1 on, or nothing.";
/** What is wrong with a field, for people. @type {Record<string, string>} */
const RULES = {
    name: "1 to 64 letters, digits and . _ @ - without spaces.",
    scopes: "Choose at least one. A key that may do nothing is to be revoked.",
    rate_per_minute: NUMBER,
    running_limit: NUMBER,
    replica_share: "A whole number from 1 to 100, or nothing.",
};
/** Whole numbers, and what they limit. */
const LIMITS = {
    rate_per_minute: ["Pictures a minute", ""],
    running_limit: ["Pictures at the same time", ""],
    replica_share: ["Percent of a replica", ""],
};

/** Fields for what may be spent. */
export class BudgetFields {
    /** @type {Record<string, string>} */
    #before = {};
    #inputs;
    element;

    /**
     * @param {Budget[]} budgets
     * @param {string} prefix of the pointers of the service
     */
    constructor(budgets, prefix) {
        for (const { period, limit } of budgets) this.#before[period] = limit;
        this.#inputs = Object.keys(PERIODS).map((period) =>
            el("input", {
                type: "text",
                inputMode: "decimal",
                placeholder: "no limit",
                value: this.#before[period] ?? "",
            }),
        );
        const fields = Object.entries(PERIODS).map(([period, words], index) =>
            field(`${prefix}${period}`, `Dollars ${words}`, /** @type {HTMLInputElement} */ (this.#inputs[index])),
        );
        const hint = "Days and months are UTC. What was spent before counts too.";
        this.element = group(
            "budgets",
            prefix ? "May spend" : "Dollars",
            el("div", { class: "row" }, ...fields),
            el("p", { class: "facts" }, hint),
        );
    }

    /** What is different now, by period; null: no limit. @returns {Record<string, string | null>} */
    get changes() {
        const values = Object.keys(PERIODS).map((period, index) => [period, cleaned(this.#inputs[index]?.value ?? "")]);
        const changed = values.filter(([period = "", value]) => value !== (this.#before[period] ?? ""));
        return Object.fromEntries(changed.map(([period, value]) => [period, value || null]));
    }

    /**
     * The service has taken a change.
     * @param {string} period
     * @param {string | null} limit
     */
    keep(period, limit) {
        this.#before[period] = limit ?? "";
    }
}

/** An amount as the service takes it. @param {string} typed */
function cleaned(typed) {
    return typed.trim().replace(/^\$\s*/, "");
}

/** Fields for everything that a key may be. */
export class KeyFields {
    #name;
    #scopes;
    #budgets;
    #limits;
    #expires;
    #note;
    #before;
    /** @type {HTMLElement[]} */
    elements;

    /** @param {Key | null} key null: a new one */
    constructor(key) {
        const has = new Set(key?.scopes ?? OF_A_NEW_KEY);
        this.#name = el("input", { type: "text", maxLength: 64, spellcheck: false, value: key?.name ?? "" });
        this.#name.autocapitalize = "none";
        this.#scopes = Object.keys(SCOPES).map((scope) =>
            el("input", { type: "checkbox", value: scope, checked: has.has(scope) }),
        );
        this.#budgets = new BudgetFields(key?.budgets ?? [], "budgets/");
        this.#limits = Object.keys(LIMITS).map((name) => {
            const value = key?.[/** @type {keyof typeof LIMITS} */ (name)] ?? "";
            return el("input", { type: "text", inputMode: "numeric", placeholder: "no limit", value: String(value) });
        });
        this.#expires = el("input", { type: "datetime-local", value: localOf(key?.expires_at ?? null) });
        this.#note = el("textarea", { rows: 2, maxLength: 500, value: key?.note ?? "" });
        this.elements = [
            field("name", "Name", this.#name, "Letters, digits and . _ @ - without spaces; used once, for ever."),
            group("scopes", "May", el("ul", { class: "scopes" }, ...this.#scopes.map(scopeRow))),
            this.#budgets.element,
            group("limits", "Limits", el("div", { class: "row" }, ...this.#limits.map(limitField))),
            field("expires_at", "Valid until", this.#expires, "By your clock. Empty: it does not expire."),
            field("note", "Note", this.#note),
        ];
        this.#before = this.#all;
        for (const [name, words] of Object.entries(RULES)) this.#fieldOf(name).dataset.rule = words;
    }

    /** @param {string} name @returns {HTMLElement} */
    #fieldOf(name) {
        const where = `[data-field="${name}"]`;
        const found = this.elements.map((each) => (each.matches(where) ? each : each.querySelector(where)));
        return /** @type {HTMLElement} */ (found.find((each) => each !== null));
    }

    /** What all fields say. @returns {Values} */
    get #all() {
        const limits = Object.keys(LIMITS).map((name, index) => [name, wholeNumber(this.#limits[index]?.value ?? "")]);
        return {
            name: this.#name.value.trim(),
            scopes: this.#scopes.filter((box) => box.checked).map((box) => box.value),
            expires_at: momentOfLocal(this.#expires.value),
            note: this.#note.value.trim() || null,
            ...Object.fromEntries(limits),
        };
    }

    /** What a new key is to be. @returns {Values} */
    get values() {
        return { ...this.#all, budgets: this.#budgets.changes };
    }

    /** What is different now. @returns {Values} */
    get changes() {
        const isNew = (/** @type {[string, unknown]} */ [name, value]) =>
            JSON.stringify(value) !== JSON.stringify(this.#before[name]);
        const budgets = this.#budgets.changes;
        return {
            ...Object.fromEntries(Object.entries(this.#all).filter(isNew)),
            ...(Object.keys(budgets).length ? { budgets } : {}),
        };
    }
}

/** @param {HTMLInputElement} box */
function scopeRow(box) {
    const words = SCOPES[/** @type {keyof typeof SCOPES} */ (box.value)];
    return el("li", {}, el("label", {}, box, el("code", {}, box.value), el("span", {}, words)));
}

/**
 * @param {HTMLInputElement} input
 * @param {number} index
 */
function limitField(input, index) {
    const [name = "", [words = "", hint = ""] = []] = Object.entries(LIMITS)[index] ?? [];
    return field(name, words, input, hint);
}

/** A number; what is none is left to the service, which says so. @param {string} typed */
function wholeNumber(typed) {
    const text = typed.trim();
    return /^\d{1,15}$/.test(text) ? Number(text) : text || null;
}

/** A moment as a field for local times has it. @param {string | null} moment */
function localOf(moment) {
    if (!moment) return "";
    const date = new Date(moment);
    return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** @param {string} local */
function momentOfLocal(local) {
    return local ? new Date(local).toISOString() : null;
}
