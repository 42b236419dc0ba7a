// Activity: every generation, newest first, for who runs the service.

import { Problem, askPage, pathWith } from "./api.js";
import { button, byId, el, say } from "./dom.js";
import { beginningOf, costOf, duration, momentOf, number, size, tokens } from "./format.js";

/** @typedef {import("./api.js").Generation} Generation */

const PAGE = 50;
const STATES = { "": "All", running: "Running", succeeded: "Succeeded", failed: "Failed" };
const COLUMNS = ["When", "State", "Key", "Prompt", "Model", "Size", "Duration", "Tokens", "Problem", "Request"];

export class Activity {
    #state = el(
        "select",
        { onchange: () => this.load() },
        ...Object.entries(STATES).map(([value, words]) => el("option", { value }, words)),
    );
    #key = el("input", {
        type: "text",
        placeholder: "All keys",
        autocomplete: "off",
        spellcheck: false,
        maxLength: 64,
        onchange: () => this.load(),
    });
    #keys = el("datalist", { id: "keys-seen" });
    #rows = el("tbody");
    #end = el("p", { class: "end", tabIndex: -1 });
    #asked = new AbortController();
    /** @type {Map<string, HTMLElement>} */
    #shown = new Map();
    #next = "";

    /** @param {import("./live.js").Live} live */
    constructor(live) {
        const head = el("tr", {}, ...COLUMNS.map((name) => el("th", { scope: "col" }, name)));
        this.#key.setAttribute("list", "keys-seen");
        byId("activity").replaceChildren(
            el(
                "div",
                { class: "head" },
                el("h2", {}, "Activity"),
                el("label", {}, "State ", this.#state),
                el("label", {}, "Key ", this.#key),
                this.#keys,
            ),
            el(
                "div",
                { class: "scrolls", tabIndex: 0, role: "region", "aria-label": "Generations" },
                el("table", {}, el("thead", {}, head), this.#rows),
            ),
            this.#end,
        );
        live.addEventListener("change", () => this.#update(live));
    }

    /** Read the newest. */
    load() {
        this.#asked.abort();
        this.#asked = new AbortController();
        this.#next = pathWith("generation", { state: this.#state.value, caller: this.#key.value.trim(), limit: PAGE });
        return this.#more(true);
    }

    async #more(first = false) {
        const { signal } = this.#asked;
        try {
            /** @type {{items: Generation[], next: string | null}} */
            const { items, next } = await askPage(this.#next, signal);
            if (first) this.#clear();
            this.#next = next ?? "";
            for (const generation of items) this.#show(generation);
            this.#showEnd(
                this.#shown.get(items[0]?.guid ?? ""),
                next
                    ? button("More", () => this.#more())
                    : items.length || !first
                      ? "That is all."
                      : "No generation is like that.",
            );
            say(`${number(this.#shown.size)} generations`);
        } catch (error) {
            if (signal.aborted) return;
            if (!(error instanceof Problem)) throw error;
            this.#showEnd(
                undefined,
                `${error.message} `,
                button("Try again", () => this.#more(first)),
            );
        }
    }

    /**
     * Who pressed the button there goes on with the first row that came, or with the next button.
     * @param {HTMLElement | undefined} row
     * @param {...(Node | string)} nodes
     */
    #showEnd(row, ...nodes) {
        const pressed = this.#end.contains(document.activeElement);
        this.#end.replaceChildren(...nodes);
        if (pressed) (row ?? this.#end.querySelector("button") ?? this.#end).focus();
    }

    #clear() {
        this.#shown.clear();
        this.#rows.replaceChildren();
    }

    /** @param {Generation} generation */
    #show(generation) {
        const row = rowOf(generation);
        this.#shown.get(generation.guid)?.replaceWith(row);
        if (!this.#shown.has(generation.guid)) this.#rows.append(row);
        this.#shown.set(generation.guid, row);
        if (![...this.#keys.options].some((option) => option.value === generation.caller))
            this.#keys.append(el("option", { value: generation.caller }));
    }

    /** What is shown and runs may have ended. @param {import("./live.js").Live} live */
    #update(live) {
        for (const [guid, row] of this.#shown) {
            const generation = live.get(guid);
            if (generation && row.dataset.state === "running" && generation.state !== "running") this.#show(generation);
        }
    }
}

/** @param {Generation} generation */
function rowOf(generation) {
    const {
        state,
        caller,
        request,
        images,
        usage,
        error,
        upstream_request_id: upstream,
        created_at: created,
    } = generation;
    const used = tokens(usage);
    const [image] = images;
    const prompt = beginningOf(String(request.prompt ?? ""), 80);
    const cells = [
        momentOf(created),
        el("span", { class: `state ${state}` }, STATES[state]),
        caller,
        image ? el("a", { href: `#p=${image.guid}` }, prompt) : prompt,
        String(request.model ?? "–"),
        size(String(generation.answer?.size ?? request.size ?? "–")),
        duration(generation.duration),
        used === null ? "–" : number(used),
        error ? `${error.detail || error.title} ${costOf(error.cost)}` : "",
        upstream ?? "–",
    ];
    return el("tr", { "data-state": state, tabIndex: -1 }, ...cells.map((cell) => el("td", {}, cell)));
}
