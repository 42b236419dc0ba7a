// The prompt box: what is to be drawn, or edited. Only the draft lives in this tab.

import { button, byId, el } from "./dom.js";
import { size } from "./format.js";
import { whyNotMake } from "./rights.js";
import { Sources } from "./sources.js";

/** @typedef {import("./api.js").Session} Session */
/** @typedef {import("./sources.js").SourceOfEdit} SourceOfEdit */

const PROMISE = "Every picture is kept in your storage and gets an address that does not expire.";
const DRAFT = "draft";
const FIRST_PROMPT = "a lighthouse at dawn, woodcut";
const MOST_AT_ONCE = 8;
const DOUBLE_CLICK = 600; // milliseconds

export class Make {
    #sources;
    /** The usual hint. */
    promise = PROMISE;
    #last = { asked: "", moment: 0 };
    #options = el("div", { class: "options" });
    #hint = el("p", { class: "hint" });
    #submit = el("button", { type: "submit", class: "main" }, "Make");
    #prompt = el("textarea", {
        id: "prompt",
        rows: 2,
        dir: "auto",
        placeholder: "Describe a picture…",
        "aria-label": "Prompt",
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event),
        oninput: () => this.#keepDraft(),
    });
    #file = el("input", {
        type: "file",
        accept: "image/png,image/webp,image/jpeg",
        multiple: true,
        hidden: true,
        onchange: () => this.#addFiles(),
    });

    /**
     * @param {Session} session
     * @param {(body: Record<string, any>, watched: boolean) => unknown} begin
     */
    constructor(session, begin) {
        this.session = session;
        this.begin = begin;
        this.#prompt.maxLength = 2 * session.max_prompt; // it counts halves of characters; see #onSubmit
        if (session.demo) this.promise += " This is the demo upstream: it costs nothing.";
        this.#sources = new Sources(
            session.max_sources,
            () => this.#onSources(),
            (words) => this.hint(words),
        );
        this.#addOptions();
        const onsubmit = (/** @type {Event} */ event) => this.#onSubmit(event);
        const file = button("Add picture", () => this.#file.click(), {
            class: "quiet",
            title: "Edit a picture from this device",
        });
        const bar = el("div", { class: "bar" }, this.#options, el("div", { class: "ends" }, file, this.#submit));
        const box = el(
            "form",
            { class: "box", onsubmit, onkeydown: ignoreRepeats },
            this.#prompt,
            this.#sources.element,
            bar,
            this.#file,
        );
        box.inert = whyNotMake() !== "";
        byId("make").replaceChildren(box, this.#hint);
        this.#restoreDraft();
        this.hint();
    }

    /**
     * Say something under the box; without words, what it is about.
     * @param {string} [words]
     */
    hint(words) {
        this.#hint.textContent = words || whyNotMake() || this.promise;
    }

    /** A prompt for who sees the page for the first time. */
    suggest() {
        if (this.#prompt.value || this.#sources.count || whyNotMake()) return;
        this.#prompt.value = FIRST_PROMPT;
    }

    /** @param {FocusOptions} [options] */
    focus(options) {
        this.#prompt.focus(options);
    }

    /**
     * Put a prompt into the box, to be changed.
     * @param {string} prompt
     * @param {string} [words] what is to be known of it
     */
    edit(prompt, words = "") {
        this.#prompt.value = prompt;
        this.hint(words);
        this.#keepDraft();
        this.focus();
    }

    /**
     * Use a picture as the input of an edit.
     * @param {SourceOfEdit} source
     */
    addSource(source) {
        this.#sources.add(source);
        const [same] = this.#options.querySelectorAll(`option[value="${source.width}x${source.height}"]`);
        if (same instanceof HTMLOptionElement) same.selected = true;
        this.focus();
    }

    #addOptions() {
        const { sizes, qualities, formats, backgrounds, models, model, quality } = this.session;
        this.#addSelect("size", "Size", sizes, sizes.includes("1024x1024") ? "1024x1024" : "auto", size);
        this.#addSelect("quality", "Quality", qualities, quality ?? "auto");
        this.#addSelect("output_format", "Format", formats, "png");
        this.#addSelect("background", "Background", backgrounds, "auto");
        if (models.length > 1) this.#addSelect("model", "Model", models, model);
        const most = Math.min(MOST_AT_ONCE, this.session.max_generations); // more than run at once would be refused
        const counts = Array.from({ length: most }, (_, index) => String(index + 1));
        if (most > 1) this.#addSelect("count", "Pictures", counts, "1");
        if (!this.session.partial_images) return;
        const shown = el("input", { type: "checkbox", name: "partials", onchange: () => this.#keepDraft() });
        const title = "Show unfinished pictures while it is drawn. They cost more tokens.";
        this.#options.append(el("label", { title }, shown, "Watch it come"));
    }

    /**
     * @param {string} name
     * @param {string} label
     * @param {string[]} values
     * @param {string} chosen
     * @param {(value: string) => string} words
     */
    #addSelect(name, label, values, chosen, words = (value) => value) {
        const known = values.includes(chosen) ? values : [chosen, ...values];
        const options = known.map((value) => el("option", { value, selected: value === chosen }, words(value)));
        const select = el("select", { name, onchange: () => this.#keepDraft() }, ...options);
        this.#options.append(el("label", {}, el("span", {}, label), select));
    }

    /** @returns {Record<string, string | boolean>} */
    #chosen() {
        /** @type {Record<string, string | boolean>} */
        const chosen = {};
        for (const field of this.#options.querySelectorAll("select")) chosen[field.name] = field.value;
        for (const field of this.#options.querySelectorAll("input")) chosen[field.name] = field.checked;
        return chosen;
    }

    /** @param {Event} event */
    #onSubmit(event) {
        event.preventDefault();
        const prompt = this.#prompt.value.trim();
        if (!prompt) {
            this.hint("Write what is to be drawn.");
            this.focus();
            return;
        }
        const length = [...prompt].length;
        if (length > this.session.max_prompt) {
            this.hint(`The prompt has ${length} characters; at most ${this.session.max_prompt} are drawn.`);
            return;
        }
        const { count = "1", partials, ...parameters } = this.#chosen();
        const body = { prompt, model: this.session.model, ...parameters, ...this.#sources.parameters };
        if (this.#isDoubleClick(JSON.stringify([count, body]))) return;
        this.hint();
        for (let index = 0; index < Number(count); index++) this.begin(body, partials === true);
    }

    /** Whether the very same was asked for a moment ago. @param {string} asked */
    #isDoubleClick(asked) {
        const [before, moment] = [this.#last, Date.now()];
        this.#last = { asked, moment };
        return before.asked === asked && moment - before.moment < DOUBLE_CLICK;
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            if (!event.repeat) this.#prompt.form?.requestSubmit();
        } else if (event.key === "Escape") {
            this.#prompt.blur();
        }
    }

    #onSources() {
        this.#submit.textContent = this.#sources.count ? "Edit" : "Make";
        this.#keepDraft();
    }

    async #addFiles() {
        this.hint();
        await this.#sources.addFiles(this.#file.files ?? []);
        this.#file.value = "";
        this.focus();
    }

    #keepDraft() {
        this.#fit();
        const draft = { prompt: this.#prompt.value, chosen: this.#chosen(), sources: this.#sources.kept };
        sessionStorage.setItem(DRAFT, JSON.stringify(draft));
    }

    #restoreDraft() {
        /** @type {{prompt?: string, chosen?: Record<string, any>, sources?: SourceOfEdit[]}} */
        const { prompt = "", chosen = {}, sources = [] } = JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}");
        this.#prompt.value = prompt;
        for (const field of this.#options.querySelectorAll("select")) {
            const known = [...field.options].some((option) => option.value === chosen[field.name]);
            if (known) field.value = chosen[field.name];
        }
        for (const field of this.#options.querySelectorAll("input")) field.checked = chosen[field.name] === true;
        for (const source of sources) this.#sources.add(source);
        this.#fit();
    }

    /** Grow with the prompt, where `field-sizing` does not do it. */
    #fit() {
        if (CSS.supports("field-sizing", "content")) return;
        this.#prompt.style.height = "auto";
        this.#prompt.style.height = `${Math.min(this.#prompt.scrollHeight, 320)}px`;
    }
}

/**
 * A key that is held down buys one picture.
 * @param {KeyboardEvent} event
 */
function ignoreRepeats(event) {
    const writing = event.target instanceof HTMLTextAreaElement;
    if (event.repeat && event.key === "Enter" && !writing) event.preventDefault();
}
