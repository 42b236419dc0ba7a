// A dialog with a form, whose errors stand beside the fields that they are about.

import { Problem } from "./api.js";
import { button, el, say } from "./dom.js";

/**
 * A field with its label, what is to be known of it, and room for what is wrong with it.
 * @param {string} name as pointers of the service have it, such as "budgets/day"
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} input
 * @param {string} [hint]
 */
export function field(name, label, input, hint = "") {
    const id = `field-${name.replace("/", "-")}`;
    input.id = id;
    input.name = name;
    const wrong = el("p", { class: "wrong", id: `${id}-wrong` });
    const words = hint ? el("p", { class: "facts", id: `${id}-hint` }, hint) : null;
    input.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-wrong` : `${id}-wrong`);
    return el("div", { class: "field", "data-field": name }, el("label", { for: id }, label), input, words, wrong);
}

/**
 * Fields that belong together. What is wrong with them as a whole stands below them.
 * @param {string} name
 * @param {string} legend
 * @param {...Node} content
 */
export function group(name, legend, ...content) {
    const wrong = el("p", { class: "wrong", id: `group-${name}-wrong` });
    const described = { "aria-describedby": wrong.id };
    return el("fieldset", { "data-field": name, ...described }, el("legend", {}, legend), ...content, wrong);
}

/** What the service says of types and lengths. */
const FOR_PROGRAMMERS = /^(Input|String|Tuple|Dictionary) should|^must be one word/;

/** @param {string} words */
function sentence(words) {
    return `${words.charAt(0).toUpperCase()}${words.slice(1)}`.replace(/([^.!?])$/, "$1.");
}

export class FormDialog {
    #wrong = el("p", { class: "wrong", tabIndex: -1 });
    /** A request is on its way, whose answer may be a secret: nothing closes it until then. */
    #busy = false;
    #main;
    #form;
    /** Whether closing it loses nothing. */
    #mayClose = true;
    #cancel = button("Cancel", () => this.#busy || this.close());
    #title;
    element;

    /**
     * @param {string} title
     * @param {string} action the words of the button
     * @param {(Node | null)[]} content
     * @param {() => Promise<string | void>} send `Problem` if the service refuses, whose member `partly` says what was
     *     done nevertheless; afterwards the dialog is closed,
     *     unless it shows something else by then, and the words are said
     */
    constructor(title, action, content, send) {
        this.send = send;
        this.#title = el("h2", { id: "form-title", tabIndex: -1 }, title);
        this.#main = el("button", { type: "submit", class: "main" }, action);
        const buttons = el("div", { class: "buttons" }, this.#cancel, this.#main);
        const onsubmit = (/** @type {Event} */ event) => this.#onSubmit(event);
        const form = { onsubmit, noValidate: true, autocomplete: "off" };
        this.#form = el("form", form, this.#title, ...content, this.#wrong, buttons);
        const oncancel = (/** @type {Event} */ event) => this.#onCancel(event);
        const onclose = () => {
            document.body.append(...this.element.querySelectorAll("#said")); // it is where a dialog is open
            this.element.remove();
        };
        this.element = el("dialog", { class: "form", "aria-labelledby": "form-title", oncancel, onclose }, this.#form);
    }

    open() {
        document.body.append(this.element);
        this.element.showModal();
        const first = this.#form.querySelector("input, select, textarea");
        (first instanceof HTMLElement ? first : this.#cancel).focus();
    }

    close() {
        this.element.close();
    }

    /** It ends something: the button says so. */
    get dangerous() {
        this.#main.className = "danger";
        return this;
    }

    /**
     * Show a secret, which exists nowhere else.
     * @param {string} title
     * @param {Node[]} content
     */
    keep(title, content) {
        this.#mayClose = false;
        this.element.classList.add("secret");
        if (!this.element.open) this.open(); // a browser lets nobody keep a dialog open for ever
        this.#title.textContent = title;
        const done = button("Done", () => this.close(), { class: "main" });
        this.#form.replaceChildren(this.#title, ...content, this.#wrong, el("div", { class: "buttons" }, done));
        this.#title.focus();
    }

    /** What was shown is kept by the person. */
    release() {
        this.#mayClose = true;
        this.#wrong.textContent = "";
    }

    /** @param {Event} event */
    #onCancel(event) {
        if (event.target !== this.element || (this.#mayClose && !this.#busy)) return;
        event.preventDefault();
        if (this.#busy) return;
        this.#mayClose = true; // the second Esc closes it
        this.#wrong.textContent = "It was not copied yet. Press Esc again to close this without it.";
        say(this.#wrong.textContent);
    }

    /** @param {Event} event */
    async #onSubmit(event) {
        event.preventDefault();
        if (this.#busy || !this.#main.isConnected) return;
        this.#setBusy(true);
        this.#clear();
        try {
            this.#requireComplete();
            const words = await this.send();
            if (this.#main.isConnected) this.close();
            if (words) say(words);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            this.#show(error);
        } finally {
            this.#setBusy(false);
        }
    }

    /** @param {boolean} busy */
    #setBusy(busy) {
        this.#busy = busy;
        this.element.ariaBusy = busy ? "true" : null;
        for (const each of [this.#main, this.#cancel]) each.ariaDisabled = busy ? "true" : null;
    }

    /** `Problem` for what is typed by half: its value would be that of an empty field. */
    #requireComplete() {
        const isBad = (/** @type {Element} */ each) => each instanceof HTMLInputElement && each.validity.badInput;
        const errors = [...this.#form.elements]
            .filter(isBad)
            .map((each) => ({ pointer: `#/${each.getAttribute("name")}`, detail: "The date is not complete." }));
        if (errors.length) throw new Problem({ errors });
    }

    #clear() {
        for (const each of this.#form.querySelectorAll(".wrong")) each.textContent = "";
        for (const each of this.#form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
    }

    /** @param {Problem} problem */
    #show(problem) {
        const rules = problem.errors.length ? problem.errors : [{ pointer: "#", detail: problem.message }];
        for (const { pointer, detail } of rules) {
            const place = this.#fieldOf(pointer.replace(/^#\/?/, ""));
            const wrong = place?.querySelector(":scope > .wrong") ?? this.#wrong;
            const rule = place instanceof HTMLElement && FOR_PROGRAMMERS.test(detail) ? place.dataset.rule : "";
            wrong.textContent = rule || sentence(detail);
            if (place?.matches(".field"))
                place.querySelector("input, select, textarea")?.setAttribute("aria-invalid", "true");
        }
        const { partly = "" } = problem.members;
        if (partly) this.#wrong.textContent = `${this.#wrong.textContent} ${partly}`.trim();
        const first = this.#form.querySelector('[aria-invalid="true"], fieldset:has(> .wrong:not(:empty)) input');
        (first instanceof HTMLElement ? first : this.#wrong).focus();
        const words = [...this.#form.querySelectorAll(".wrong:not(:empty)")].map((each) => each.textContent);
        say(`${partly ? "" : "Not saved. "}${words.join(" ")}`);
    }

    /**
     * The innermost field that a pointer is about.
     * @param {string} path
     * @returns {Element | null}
     */
    #fieldOf(path) {
        if (!path) return null;
        const found = this.#form.querySelector(`[data-field="${CSS.escape(path)}"]`);
        return found ?? this.#fieldOf(path.includes("/") ? path.replace(/\/[^/]*$/, "") : "");
    }
}
