// The place "Keys", for who may administer: everybody's budgets, all keys, and what can be done with them.

import { Problem, askJson } from "./api.js";
import { meterOf } from "./budgets.js";
import { button, byId, el, say } from "./dom.js";
import { changeBudgets, changeKey, makeKey, revokeKey, rotateKey } from "./key-forms.js";
import { COLUMNS, keyRow } from "./key-row.js";
import { isKnown, isOwnKey } from "./rights.js";

/** @typedef {import("./key-fields.js").Key} Key */
/** @typedef {import("./key-row.js").Action} Action */
/** @typedef {import("./budgets.js").Budget} Budget */

const TOGETHER = "All keys together";

class Keyring {
    /** @type {Key[]} */
    #keys = [];
    #everybody = el("div", { class: "everybody" });
    #rows = el("tbody", { role: "rowgroup" });
    #table;
    #revoked = el("input", { type: "checkbox", onchange: () => this.#showRows() });
    #revokedLabel = el("label", { hidden: true }, this.#revoked, el("span", {}));
    #words = el("p", { class: "end", hidden: true });
    #make = button("Make a key", () => makeKey((key) => this.#add(key)), { class: "main" });

    constructor() {
        const head = COLUMNS.map((name) => el("th", { scope: "col", role: "columnheader" }, name));
        this.#table = el(
            "table",
            { role: "table", "aria-label": "Keys" },
            el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)),
            this.#rows,
        );
        byId("keys").replaceChildren(
            el("div", { class: "head" }, el("h2", {}, "Keys"), this.#revokedLabel, this.#make),
            this.#everybody,
            this.#table,
            this.#words,
        );
        byId("keys").ariaBusy = "true";
    }

    /** Read everything. */
    async load() {
        try {
            const [keys, budgets] = await Promise.all([askJson("key"), askJson("budget")]);
            this.#keys = keys;
            this.#showRows();
            this.#showEverybody(budgets);
            this.#tell();
            const count = this.#rows.rows.length;
            say(`${count} ${count === 1 ? "key" : "keys"}`);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            if (error.status === 403) location.replace(location.pathname); // its scopes are others by now
            this.#tell(
                `${error.message} `,
                button("Try again", () => this.load()),
            );
        }
        byId("keys").ariaBusy = null;
    }

    /** @param {...(Node | string)} nodes */
    #tell(...nodes) {
        this.#words.replaceChildren(...nodes);
        this.#words.hidden = nodes.length === 0;
        this.#table.hidden = this.#keys.length === 0;
    }

    /** Show the budgets as they are now; if they cannot be read, none. */
    async #readEverybody() {
        try {
            this.#showEverybody(await askJson("budget"));
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            const again = button("Try again", () => this.#readEverybody());
            const words = el("p", { class: "facts" }, `They cannot be read. ${error.message}`);
            this.#everybody.replaceChildren(el("h3", {}, TOGETHER), words, again);
        }
        const shown = this.#everybody.querySelector("button") ?? this.#make;
        if (document.querySelector("dialog[open]")) this.#focusAfterwards(shown);
        else shown.focus();
    }

    /** @param {Budget[]} budgets */
    #showEverybody(budgets) {
        const words = budgets.length
            ? el("ul", { class: "meters" }, ...budgets.map(meterOf))
            : el("p", { class: "facts" }, "Nothing limits what all keys together may spend.");
        const change = button(budgets.length ? "Change" : "Set a limit", () =>
            changeBudgets(budgets, () => this.#readEverybody()),
        );
        change.ariaLabel = `${change.textContent} for all keys together`;
        this.#everybody.replaceChildren(el("h3", {}, TOGETHER), words, change);
    }

    #showRows() {
        const gone = this.#keys.filter(({ state }) => state === "revoked").length;
        this.#revokedLabel.hidden = gone === 0;
        this.#revokedLabel.lastElementChild?.replaceChildren(`Show ${gone} revoked`);
        const shown = this.#keys.filter(({ state }) => this.#revoked.checked || state !== "revoked");
        this.#rows.replaceChildren(...shown.map((key) => this.#rowOf(key)));
    }

    /** @param {Key} key */
    #rowOf(key) {
        return keyRow(key, isOwnKey(key.name), (action) => this.#act(key, action));
    }

    /**
     * @param {Key} key
     * @param {Action} action
     */
    #act(key, action) {
        const replace = (/** @type {Key} */ changed) => this.#replace(key, changed, action);
        if (action === "change") changeKey(key, replace);
        else if (action === "rotate") rotateKey(key, isOwnKey(key.name), replace);
        else revokeKey(key, isOwnKey(key.name), () => this.#forget(key));
    }

    /** @param {Key} key that was made */
    #add(key) {
        this.#keys.push(key);
        this.#tell();
        this.#rows.append(this.#rowOf(key));
    }

    /**
     * Show a key as it is now. The button that was pressed keeps the focus, which the dialog gives back to it.
     * @param {Key} before
     * @param {Key} key
     * @param {Action} action
     */
    #replace(before, key, action) {
        // The page of one's own key begins anew if it is another one. A new secret is not taken away by that.
        if (isOwnKey(before.name) && action === "change" && !isKnown({ caller: key.name, scopes: key.scopes })) {
            location.replace(location.pathname);
            return;
        }
        this.#keys = this.#keys.map((each) => (each.name === before.name ? key : each));
        const row = this.#rowOf(key);
        this.#row(before)?.replaceWith(row);
        const pressed = row.querySelector(`[data-action="${action}"]`);
        this.#focusAfterwards(pressed instanceof HTMLElement ? pressed : this.#make);
    }

    /** @param {Key} key that is revoked */
    #forget(key) {
        if (isOwnKey(key.name)) {
            location.replace(location.pathname);
            return;
        }
        const next = this.#row(key)?.nextElementSibling ?? this.#row(key)?.previousElementSibling;
        const name = next instanceof HTMLElement ? (next.dataset.name ?? "") : "";
        const now = new Date().toISOString();
        this.#keys = this.#keys.map((each) =>
            each.name === key.name ? { ...each, state: "revoked", revoked_at: now } : each,
        );
        this.#showRows();
        const focused = this.#rows.querySelector(`[data-name="${CSS.escape(name)}"] button`);
        this.#focusAfterwards(focused instanceof HTMLElement ? focused : this.#make);
    }

    /** @param {Key} key */
    #row({ name }) {
        return this.#rows.querySelector(`[data-name="${CSS.escape(name)}"]`);
    }

    /**
     * What has the focus when the dialog is closed: what opened it is gone.
     * @param {HTMLElement} element
     */
    #focusAfterwards(element) {
        document.querySelector("dialog[open]")?.addEventListener("close", () => element.focus(), { once: true });
    }
}

export function open() {
    return new Keyring();
}
