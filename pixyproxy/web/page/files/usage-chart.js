// The picture of the usage: a bar for each day, in which the series lie on each other. Tables say the same in words.

import { el } from "./dom.js";
import { dayIn } from "./usage-sums.js";

/** @typedef {import("./usage-sums.js").Series} Series */
/** @typedef {import("./usage-sums.js").Measure} Measure */

const [HEIGHT, TOP, BOTTOM] = [240, 10, 26];
/** CSS pixels, at most: of a day, and of its bar. */
const [BAND, BAR] = [64, 36];
const DAY = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", timeZone: "UTC" });
/** What tells series apart where the colours are the person's own: lines in squares of six pixels. */
const HATCHES = {
    s2: "M-1 1l2-2M0 6l6-6M5 7l2-2",
    s3: "M0 3h6",
    s4: "M3 0v6",
    s5: "M-1 5l2 2M0 0l6 6M5-1l2 2",
    s6: "M2 3h2",
};

/** "Nov 30". @param {string} day */
export function dayInWords(day) {
    return DAY.format(Date.parse(day));
}

/**
 * An element of SVG with these attributes.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 */
function svg(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    element.append(...children);
    return element;
}

/** The look of a series, beside its name. @param {string} style */
export function swatch(style) {
    const box = { class: "swatch", width: 12, height: 12, "aria-hidden": "true" };
    return svg("svg", box, svg("rect", { class: style, x: 0.5, y: 0.5, width: 11, height: 11, rx: 2 }));
}

/** Steps that are 1, 2 or 5 times a power of ten. @param {number} most @param {boolean} whole */
function stepsTo(most, whole) {
    const rough = most / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5].find((each) => each * power >= rough) ?? 10);
    const size = whole ? Math.max(1, step) : step;
    return Array.from({ length: Math.ceil(most / size - 1e-9) + 1 }, (_, index) =>
        Number((index * size).toPrecision(6)),
    );
}

export class Chart {
    element = el("div", { class: "chart", "aria-hidden": "true" });
    /** @type {[string[], Series[], import("./usage-sums.js").Measure] | null} */
    #shown = null;
    #width = 0;

    constructor() {
        new ResizeObserver(() => {
            if (this.element.clientWidth !== this.#width) this.#draw();
        }).observe(this.element);
    }

    /**
     * @param {string[]} days
     * @param {Series[]} series the largest first: it lies at the bottom
     * @param {Measure} measure
     */
    show(days, series, measure) {
        this.#shown = [days, series, measure];
        this.#draw();
    }

    /** Put the others of the series into the background. @param {string} style of the series; empty: none */
    point(style) {
        for (const bar of this.element.querySelectorAll("rect[class^=s]"))
            bar.classList.toggle("back", style !== "" && !bar.classList.contains(style));
    }

    #draw() {
        const width = this.element.clientWidth;
        if (!this.#shown || !width) return;
        this.#width = width;
        const [days, series, measure] = this.#shown;
        const totals = days.map((day) => dayIn(series, day)).map((sums) => (sums ? measure.of(sums) : 0));
        const steps = stepsTo(Math.max(...totals) || 1, measure.title === "Pictures");
        const most = steps.at(-1) ?? 1;
        const digits = Math.max(2, -Math.floor(Math.log10(steps[1] ?? 1)));
        const labels = steps.map((step) => measure.words(step, digits));
        const left = Math.max(...labels.map((label) => label.length)) * 7 + 10;
        const band = Math.min(BAND, (width - left) / days.length);
        const right = left + band * days.length;
        const heightOf = (/** @type {number} */ value) => ((HEIGHT - TOP - BOTTOM) * value) / most;
        const lines = steps.map((step, index) => {
            const y = Math.round(HEIGHT - BOTTOM - heightOf(step)) + 0.5;
            const words = svg("text", { x: left - 10, y: y + 4, "text-anchor": "end" }, labels[index] ?? "");
            return svg("g", {}, svg("line", { x1: left, x2: right, y1: y, y2: y }), words);
        });
        const every = [1, 2, 5, 7, 10, 15].find((each) => each * band >= 52) ?? 15;
        const columns = days.map((day, index) => {
            const middle = left + band * (index + 0.5);
            const words = svg("text", { x: middle, y: HEIGHT - 6, "text-anchor": "middle" }, dayInWords(day));
            const column = columnOf(day, { middle, band, heightOf }, series, measure);
            return svg("g", {}, column, ...(index % every === 0 && middle + 20 < width ? [words] : []));
        });
        this.element.replaceChildren(svg("svg", { width, height: HEIGHT }, hatches(), ...lines, ...columns));
    }
}

/**
 * @param {string} day
 * @param {{middle: number, band: number, heightOf: (value: number) => number}} place
 * @param {Series[]} series
 * @param {Measure} measure
 */
function columnOf(day, { middle, band, heightOf }, series, measure) {
    const width = Math.max(2, Math.min(BAR, band * 0.7));
    const words = [dayInWords(day)];
    const bars = [];
    let y = HEIGHT - BOTTOM;
    for (const { name, style, days } of series) {
        const sums = days.get(day);
        const value = sums ? measure.of(sums) : 0;
        if (!value) continue;
        const height = heightOf(value);
        y -= height;
        // What lies on it leaves a gap: neighbours are told apart by more than colours.
        const seen = Math.max(0.5, height - (height > 3 ? 1 : 0));
        bars.push(svg("rect", { class: style, x: middle - width / 2, y: y + height - seen, width, height: seen }));
        words.push(`${name}: ${measure.words(value)}`);
    }
    const whole = svg("rect", { class: "day", x: middle - band / 2, y: 0, width: band, height: HEIGHT - BOTTOM });
    return svg("g", {}, svg("title", {}, words.join("\n")), whole, ...bars);
}

function hatches() {
    const patterns = Object.entries(HATCHES).map(([id, d]) =>
        svg(
            "pattern",
            { id: `hatch-${id}`, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
            svg("path", { class: "hatch", d }),
        ),
    );
    return svg("defs", {}, ...patterns);
}
