// Usage: what generations cost, and how many there were, by day and by key or model.

import { Problem, ask, askJson, pathWith, serverNow } from "./api.js";
import { button, byId, el, say, tell } from "./dom.js";
import { seesAllKeys } from "./today.js";
import { costInWords } from "./money.js";
import { Chart } from "./usage-chart.js";
import { MEASURES, RANGES, daysOf, seriesOf, spanOf, sumsOf, toldApart } from "./usage-sums.js";
import { dayTable, inWords, seriesTable } from "./usage-tables.js";

/** @typedef {keyof typeof MEASURES} MeasureName */
/** @typedef {import("./usage-sums.js").Span} Span */

class Usage {
    #section = byId("usage");
    #range = el(
        "select",
        { onchange: () => this.load() },
        ...Object.entries(RANGES).map(([value, words]) => el("option", { value }, words)),
    );
    /** What was chosen; nothing: the cost, if there is one. @type {MeasureName | null} */
    #measure = null;
    /** @type {"key" | "model"} */
    #by = seesAllKeys() ? "key" : "model";
    #measures = choice("What the bars show", { cost: "Cost", images: "Pictures" }, (name) => {
        this.#measure = /** @type {MeasureName} */ (name);
        this.#show();
    });
    #series = choice("What a bar is made of", { key: "By key", model: "By model" }, (name) => {
        this.#by = name === "key" ? "key" : "model";
        press(this.#series, name);
        return this.load();
    });
    #csv = el("a", { onclick: (/** @type {Event} */ event) => this.#download(event) }, "Download CSV");
    #chart = new Chart();
    #spent = el("div", { class: "spent" });
    /** They stay, and what is in them is replaced: who is there is not sent away. */
    #regions = [0, 1].map(() => el("div", { class: "scrolls", tabIndex: 0, role: "region" }));
    #tables = el("div", { class: "tables" }, ...this.#regions);
    #below = el("p", { class: "end", tabIndex: -1 });
    #asked = new AbortController();
    /** Whether an answer is on its way that somebody asked for. */
    #awaited = false;
    /** An answer, and what it answers. @type {{report: Record<string, any>, by: "key" | "model", span: Span} | null} */
    #shown = null;

    constructor() {
        this.#series.hidden = !seesAllKeys();
        const head = el(
            "div",
            { class: "head" },
            el("h2", {}, "Usage"),
            el("label", {}, el("span", {}, "Days"), this.#range),
            this.#measures,
            this.#series,
            this.#csv,
        );
        this.#section.replaceChildren(head, this.#spent, this.#tables, this.#below);
        addEventListener("spent", () => this.#follow());
    }

    /** Read what the range has. */
    async load() {
        this.#awaited = true;
        try {
            const shown = await this.#read();
            if (!shown) return;
            const { total } = shown.report;
            say(total.generations ? `${costInWords(total)} ${shown.span.words}` : nothingIn(shown.span));
        } catch (error) {
            this.#awaited = false;
            if (!(error instanceof Problem)) throw error;
            const named = error.requestId ? ` Request ${error.requestId}.` : "";
            this.#shown = null;
            this.#show();
            this.#showEnd(
                `${error.message}${named} `,
                button("Try again", () => this.load()),
            );
            say(error.message);
        }
    }

    /** Something has ended, or a day has: the numbers follow, and say nothing. */
    async #follow() {
        if (this.#section.hidden) return;
        if (this.#awaited) {
            await this.load(); // that answer may be of a moment before
            return;
        }
        const { span } = this.#shown ?? {};
        const over = this.#range.value === "before" && spanOf("before", serverNow()).from === span?.from;
        if (span && !over) await this.#read().catch(() => undefined); // what is shown was true
    }

    /** What is shown now. An error if the service has one; nothing if another question has come between. */
    async #read() {
        this.#asked.abort();
        this.#asked = new AbortController();
        const { signal } = this.#asked;
        const [by, span] = [this.#by, spanOf(this.#range.value, serverNow())];
        this.#spent.ariaBusy = "true";
        try {
            const report = await askJson(pathOf(span, by), { signal });
            signal.throwIfAborted();
            this.#shown = { report, by, span };
            this.#awaited = false;
            this.#show();
            return this.#shown;
        } catch (error) {
            if (!signal.aborted) throw error;
            return null;
        } finally {
            if (!signal.aborted) this.#spent.ariaBusy = null;
        }
    }

    #show() {
        const { report, by, span } = this.#shown ?? {};
        const total = report && sumsOf(report.total);
        const chosen = this.#measure ?? (total?.cost ? "cost" : "images");
        const measure = MEASURES[chosen];
        press(this.#measures, chosen);
        press(this.#series, this.#by);
        const drawn = Boolean(report?.groups.length);
        for (const part of [this.#spent, this.#tables, this.#csv]) part.hidden = !drawn;
        if (!report || !by || !span || !total || !drawn) {
            if (span) this.#showEnd(nothingIn(span));
            return;
        }
        const [days, all] = [daysOf(span), seriesOf(report.groups, by, measure)];
        const several = toldApart(all);
        this.#csv.href = pathOf(span, by);
        this.#spent.replaceChildren(inWords(total, span.words, seesAllKeys()), this.#chart.element);
        this.#chart.show(days, several, measure);
        const tables = [
            seriesTable(all, total, by, (style) => this.#chart.point(style)),
            dayTable(days, several, measure),
        ];
        for (const [index, region] of this.#regions.entries()) {
            const table = /** @type {HTMLTableElement} */ (tables[index]);
            region.ariaLabel = table.caption?.textContent ?? "";
            region.replaceChildren(table);
        }
        this.#showEnd("Days are those of UTC. The CSV has every amount in full.");
    }

    /** Who pressed the button there keeps the focus. @param {...(Node | string)} nodes */
    #showEnd(...nodes) {
        const pressed = this.#below.contains(document.activeElement);
        this.#below.replaceChildren(...nodes);
        if (pressed) (this.#below.querySelector("button") ?? this.#below).focus();
    }

    /** The service answers with CSV to whoever asks for it, which a link cannot. @param {Event} event */
    async #download(event) {
        event.preventDefault();
        if (!this.#shown) return;
        const { span, by } = this.#shown;
        try {
            const answer = await ask(pathOf(span, by), { headers: { Accept: "text/csv" } });
            const href = URL.createObjectURL(await answer.blob());
            el("a", { href, download: `usage-${span.from}-by-day-and-${by}.csv` }).click();
            setTimeout(() => URL.revokeObjectURL(href), 60_000);
        } catch (error) {
            tell(error instanceof Problem ? error.message : "The answer was cut off. Try again.");
        }
    }
}

/** @param {Span} span @param {string} by */
function pathOf({ from, to }, by) {
    return pathWith("usage", { from, to, by: `day,${by}` });
}

/** @param {Span} span */
function nothingIn({ words }) {
    return `Nothing was drawn ${words}.`;
}

/**
 * A choice of one.
 * @param {string} label
 * @param {Record<string, string>} words by name
 * @param {(name: string) => unknown} choose
 */
function choice(label, words, choose) {
    const buttons = Object.entries(words).map(([name, word]) =>
        button(word, () => choose(name), { "data-name": name }),
    );
    return el("div", { class: "switch", role: "group", "aria-label": label }, ...buttons);
}

/** @param {HTMLElement} buttons @param {string} name of the one that is chosen */
function press(buttons, name) {
    for (const each of buttons.querySelectorAll("button")) each.ariaPressed = String(each.dataset.name === name);
}

export function open() {
    return new Usage();
}
