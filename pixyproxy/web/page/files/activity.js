// Activity: every generation, newest first, for who runs the service.

import { Problem, askPage, pathWith } from "./api.js";
import { button, byId, el, say } from "./dom.js";
import { Fresh } from "./head.js";
import { seesEverybody } from "./rights.js";
import { beginningOf, costOf, number, size } from "./format.js";
import { duration, momentOf, tokens } from "./measures.js";
import { costOfOne } from "./money.js";

/** @typedef {import("./api.js").Generation} Generation */

const PAGE = 50;
const STATES = { "": "All", running: "Running", succeeded: "Succeeded", failed: "Failed" };
const COLUMNS = ["When", "State", "Key", "Prompt", "Model", "Size", "Duration", "Tokens", "Cost", "Problem", "Request"];

class Activity {
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
    #table = el("table");
    #fresh = new Fresh(() => this.#showNewest());
    #below = el("p", { class: "end", tabIndex: -1 });
    #asked = new AbortController();
    /** @type {Map<string, HTMLElement>} */
    #shown = new Map();
    #next = "";
    /** When the last of the rows was begun; empty if there are no older ones. */
    #oldest = "";

    /** @param {import("./live.js").Live} live */
    constructor(live) {
        this.live = live;
        const head = el("tr", {}, ...COLUMNS.map((name) => el("th", { scope: "col" }, name)));
        this.#key.setAttribute("list", "keys-seen");
        this.#table.append(el("thead", {}, head), this.#rows);
        byId("activity").replaceChildren(
            this.#fresh.element,
            el(
                "div",
                { class: "head" },
                el("h2", {}, "Activity"),
                el("label", {}, "State ", this.#state),
                el("label", { hidden: !seesEverybody() }, "Key ", this.#key),
                this.#keys,
            ),
            el("div", { class: "scrolls", tabIndex: 0, role: "region", "aria-label": "Generations" }, this.#table),
            this.#below,
        );
        live.addEventListener("change", () => this.#update());
    }

    /** Read the newest. */
    load() {
        this.#asked.abort();
        this.#table.ariaBusy = "true";
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
            this.#table.ariaBusy = null;
            this.#next = next ?? "";
            this.#oldest = next ? (items.at(-1)?.created_at ?? "") : "";
            this.#letColumnsFit();
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
        const pressed = this.#below.contains(document.activeElement);
        this.#below.replaceChildren(...nodes);
        if (pressed) (row ?? this.#below.querySelector("button") ?? this.#below).focus();
    }

    async #showNewest() {
        scrollTo({ top: 0 });
        await this.load();
        this.#rows.querySelector("tr")?.focus({ preventScroll: true });
    }

    #clear() {
        this.#fresh.show([]);
        this.#shown.clear();
        this.#rows.replaceChildren();
    }

    /** @param {Generation} generation */
    #show(generation) {
        const row = rowOf(generation, el("td", {}, problemOf(generation)));
        if (!this.#shown.has(generation.guid)) this.#rows.append(row);
        this.#shown.set(generation.guid, row);
        if (![...this.#keys.options].some((option) => option.value === generation.caller))
            this.#keys.append(el("option", { value: generation.caller }));
    }

    /** What is shown and runs may have ended; what is new waits. */
    #update() {
        for (const [guid, row] of this.#shown) {
            const generation = this.live.get(guid);
            if (row.dataset.state === "running" && generation?.state !== "running" && generation)
                this.#end(row, generation);
        }
        if (this.#table.ariaBusy) return;
        const [state, caller] = [this.#state.value, this.#key.value.trim()];
        const fresh = this.live.all.filter(
            (each) =>
                !this.#shown.has(each.guid) &&
                each.created_at > this.#oldest &&
                (!state || each.state === state) &&
                (!caller || each.caller === caller),
        );
        this.#fresh.show(fresh.map(({ guid }) => guid));
    }

    /**
     * A row says how it ended, and nothing moves: the columns stay as they are, and a problem is opened by the person.
     * @param {HTMLElement} row
     * @param {Generation} generation
     */
    #end(row, generation) {
        if (!this.#table.style.tableLayout) {
            const columns = /** @type {NodeListOf<HTMLElement>} */ (this.#table.querySelectorAll("th"));
            const widths = Array.from(columns, (column) => column.getBoundingClientRect().width);
            for (const [index, column] of columns.entries()) column.style.width = `${widths[index]}px`;
            this.#table.style.tableLayout = "fixed";
        }
        const problem = problemOf(generation);
        const ontoggle = () => this.#letColumnsFit();
        const words = problem && el("details", { ontoggle }, el("summary", {}, "Why?"), problem);
        const ended = rowOf(generation, el("td", {}, words));
        const focused = row.contains(document.activeElement);
        row.replaceWith(ended);
        this.#shown.set(generation.guid, ended);
        if (focused) (ended.querySelector("a") ?? ended).focus({ preventScroll: true });
    }

    #letColumnsFit() {
        this.#table.style.tableLayout = "";
        for (const column of this.#table.querySelectorAll("th")) column.style.width = "";
    }
}

/** @param {import("./live.js").Live} live */
export function open(live) {
    return new Activity(live);
}

/** @param {Generation} generation */
function problemOf({ error }) {
    return error ? `${error.detail || error.title} ${costOf(error.cost)}` : "";
}

/**
 * @param {Generation} generation
 * @param {HTMLElement} problem its cell
 */
function rowOf(generation, problem) {
    const { state, caller, request, images, usage, upstream_request_id: upstream, created_at: created } = generation;
    const used = tokens(usage);
    const [image] = images;
    const prompt = beginningOf(String(request.prompt ?? ""), 80);
    const texts = [
        momentOf(created),
        el("span", { class: `state ${state}` }, STATES[state]),
        caller,
        image ? el("a", { href: `#p=${image.guid}` }, prompt) : prompt,
        String(request.model ?? "–"),
        size(String(generation.answer?.size ?? request.size ?? "–")),
        duration(generation.duration),
        used === null ? "–" : number(used),
        costOfOne(generation, 4) || "–",
    ];
    const cells = [...texts.map((text) => el("td", {}, text)), problem, el("td", {}, upstream ?? "–")];
    return el("tr", { "data-state": state, tabIndex: -1 }, ...cells);
}
