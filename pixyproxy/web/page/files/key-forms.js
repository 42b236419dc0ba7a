// The dialogs about keys: make, change, rotate, revoke; and everybody's budgets. A secret is shown once.

import { Problem, ask, askJson } from "./api.js";
import { button, copy, el, say } from "./dom.js";
import { FormDialog, field } from "./form-dialog.js";
import { BudgetFields, KeyFields } from "./key-fields.js";
import { momentOf } from "./measures.js";

/** @typedef {import("./key-fields.js").Key} Key */
/** @typedef {import("./budgets.js").Budget} Budget */

/** Seconds for which a former secret stays valid. */
const OVERLAPS = {
    86400: "for a day, so that it can be replaced without a gap",
    3600: "for an hour",
    604800: "for a week",
    2592000: "for 30 days",
    0: "no longer: it may have leaked",
};

/** The address of a key. @param {string} name */
function pathOf(name) {
    return `key/${encodeURIComponent(name)}`;
}

/**
 * Send what a form says about a key. That its name is taken is an error of the name.
 * @param {string} path
 * @param {string} method
 * @param {unknown} json
 */
async function sendKey(path, method, json) {
    try {
        return await askJson(path, { method, json });
    } catch (error) {
        if (error instanceof Problem && /has the name/.test(error.message)) {
            error.errors = [{ pointer: "#/name", detail: error.message }];
        }
        throw error;
    }
}

/** @param {(key: Key) => unknown} made */
export function makeKey(made) {
    const fields = new KeyFields(null);
    const dialog = new FormDialog("Make a key", "Make the key", fields.elements, async () => {
        const { key: secret, ...key } = await sendKey("key", "POST", fields.values);
        made(key);
        showSecret(dialog, secret, `The key “${key.name}” is made`, "");
    });
    dialog.open();
}

/**
 * @param {Key} key
 * @param {(key: Key) => unknown} changed
 */
export function changeKey(key, changed) {
    const fields = new KeyFields(key);
    new FormDialog(`Change “${key.name}”`, "Save", fields.elements, async () => {
        const { changes } = fields;
        if (Object.keys(changes).length === 0) return "Nothing is different.";
        changed(await sendKey(pathOf(key.name), "PATCH", changes));
        return "Saved. Every replica follows within a second or so.";
    }).open();
}

/**
 * @param {Key} key
 * @param {boolean} own whether it is that of the session
 * @param {(key: Key) => unknown} rotated
 */
export function rotateKey(key, own, rotated) {
    const options = Object.entries(OVERLAPS).map(([value, words]) => el("option", { value }, words));
    const overlap = el("select", {}, ...options);
    overlap.value = "86400";
    const warning = "It is your own key: if you typed it to log in, you are logged out when its former secret ends.";
    const content = [
        el("p", {}, "The key gets a new secret. Its name, its pictures, its budgets and its limits stay."),
        field("overlap", "The former secret works", overlap),
        own ? el("p", { class: "warning" }, warning) : null,
    ];
    const dialog = new FormDialog(`Rotate “${key.name}”`, "Rotate", content, async () => {
        const json = { overlap: Number(overlap.value) };
        const { key: secret, ...made } = await askJson(`${pathOf(key.name)}/rotate`, { method: "POST", json });
        rotated(made);
        const until = made.former_until ? `The former one works until ${momentOf(made.former_until)}.` : "";
        showSecret(dialog, secret, `“${key.name}” has a new secret`, until);
    });
    dialog.open();
}

/**
 * @param {Key} key
 * @param {boolean} own whether it is that of the session
 * @param {() => unknown} revoked
 */
export function revokeKey(key, own, revoked) {
    const content = [
        el("p", {}, "Whatever uses this key is refused from now on, for ever. What it has drawn stays."),
        own ? el("p", { class: "warning" }, "It is your own key: you will be logged out.") : null,
    ];
    const dialog = new FormDialog(`Revoke “${key.name}”?`, "Revoke for good", content, async () => {
        await ask(pathOf(key.name), { method: "DELETE" });
        revoked();
        return `${key.name} is revoked.`;
    });
    dialog.dangerous.open();
}

/**
 * @param {Budget[]} budgets that there are
 * @param {() => unknown} changed some of them may be others
 */
export function changeBudgets(budgets, changed) {
    const fields = new BudgetFields(budgets, "");
    fields.element.classList.add("only");
    new FormDialog("What all keys together may spend", "Save", [fields.element], async () => {
        const [asked, saved] = [Object.entries(fields.changes), /** @type {string[]} */ ([])];
        try {
            for (const [period, limit] of asked) {
                await sendBudget(period, limit);
                fields.keep(period, limit);
                saved.push(period);
            }
        } catch (error) {
            const others = asked.map(([period]) => period).filter((period) => !saved.includes(period));
            const partly = saved.length ? `Saved: ${saved.join(", ")}. Not saved: ${others.join(", ")}.` : "";
            if (error instanceof Problem) error.members = { ...error.members, partly };
            throw error;
        } finally {
            await changed();
        }
        return "Saved. It holds at once, everywhere.";
    }).open();
}

/**
 * @param {string} period
 * @param {string | null} limit null: none
 */
async function sendBudget(period, limit) {
    try {
        if (limit !== null) await ask(`budget/${period}`, { method: "PUT", json: { limit } });
        else await ask(`budget/${period}`, { method: "DELETE" });
    } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (limit === null && error.name === "not-found") return; // somebody else was faster
        error.errors = error.errors.map(({ detail }) => ({ pointer: `#/${period}`, detail }));
        throw error;
    }
}

/**
 * The secret, once.
 * @param {FormDialog} dialog
 * @param {string} key
 * @param {string} title
 * @param {string} words
 */
function showSecret(dialog, key, title, words) {
    const secret = el("input", {
        type: "text",
        class: "secret",
        readOnly: true,
        value: key,
        "aria-label": "The key",
    });
    secret.addEventListener("focus", () => secret.select());
    secret.addEventListener("copy", () => dialog.release());
    const told = el("p", { class: "told" });
    const copying = button("Copy", async () => {
        const copied = await copy(key).then(
            () => true,
            () => false,
        );
        if (copied) dialog.release();
        else secret.focus();
        told.textContent = copied
            ? "Copied."
            : "The browser does not let this page copy: it is selected, copy it yourself.";
        say(told.textContent);
    });
    dialog.keep(title, [
        el("p", { class: "once" }, "This is the only time that it is shown. Nobody can show it again: keep it now."),
        el("div", { class: "row secret-row" }, secret, copying),
        told,
        el("p", { class: "facts" }, `It works everywhere within a second or so. ${words}`.trim()),
    ]);
    say(`${title}. This is the only time that it is shown.`);
}
