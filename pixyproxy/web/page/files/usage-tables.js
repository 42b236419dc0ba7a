// The usage in words, and as tables.

import { el } from "./dom.js";
import { number } from "./format.js";
import { costInWords, dollars } from "./money.js";
import { dayInWords, swatch } from "./usage-chart.js";
import { dayIn } from "./usage-sums.js";

/** @typedef {import("./usage-sums.js").Sums} Sums */
/** @typedef {import("./usage-sums.js").Series} Series */

/** Digits behind the point of an amount in a table. */
const FINE = 4;

/** @param {number} count @param {string} one @param {string} [many] */
function counted(count, one, many = `${one}s`) {
    return `${number(count)} ${count === 1 ? one : many}`;
}

/** What a cost is; nothing is known of one that only runs. @param {Sums} sums */
function costOf(sums) {
    return sums.generations === sums.running ? "–" : costInWords(sums, FINE);
}

/**
 * All of it, as sentences.
 * @param {Sums} total
 * @param {string} when
 * @param {boolean} everybody
 */
export function inWords(total, when, everybody) {
    const { generations, images, failed, running, unpriced, tokens, cost, estimated, reserved } = total;
    const more = cost && unpriced ? el("small", {}, ` + ${number(unpriced)} unpriced`) : null;
    const sentences = [
        `${counted(images, "picture")} ${when}, by ${everybody ? "all keys" : "your key"}.`,
        `${counted(generations, "generation")}, ${failed ? `${number(failed)} of them failed` : "none failed"}.`,
        `${counted(tokens, "token")}.`,
        estimated ? `${dollars(estimated)} of the cost (≈) is estimated: the upstream did not say what was used.` : "",
        unpriced
            ? `${counted(unpriced, "generation")} ${unpriced === 1 ? "is" : "are"} unpriced: the cost is unknown.`
            : "",
        running ? `${number(running)} ${running === 1 ? "runs" : "run"}: ${dollars(reserved)} reserved.` : "",
    ];
    return el(
        "div",
        { class: "words" },
        el("p", { class: "sum" }, costInWords(cost ? { ...total, unpriced: 0 } : total), more),
        ...sentences.filter(Boolean).map((words) => el("p", {}, words)),
    );
}

/**
 * @param {string} title
 * @param {(string | Node)[]} columns
 * @param {HTMLElement[]} rows
 * @param {HTMLElement[]} [last]
 */
function table(title, columns, rows, last = []) {
    const head = columns.map((name) => el("th", { scope: "col" }, name));
    return el(
        "table",
        {},
        el("caption", {}, title),
        el("thead", {}, el("tr", {}, ...head)),
        el("tbody", {}, ...rows),
        el("tfoot", {}, ...last),
    );
}

/**
 * @param {string | HTMLElement} name
 * @param {string[]} values
 * @param {Record<string, any>} [props]
 */
function row(name, values, props) {
    return el("tr", props, el("th", { scope: "row" }, name), ...values.map((value) => el("td", {}, value)));
}

/**
 * What each series adds up to. It is the legend of the picture too.
 * @param {Series[]} all
 * @param {Sums} total
 * @param {"key" | "model"} by
 * @param {(style: string) => void} point shows a series, or with nothing all of them
 */
export function seriesTable(all, total, by, point) {
    const name = by === "key" ? "Key" : "Model";
    const columns = [name, "Pictures", "Generations", "Failed", "Tokens", "Cost", "Estimated", "Unpriced"];
    const cells = (/** @type {Sums} */ sums) => [
        number(sums.images),
        number(sums.generations),
        number(sums.failed),
        number(sums.tokens),
        costOf({ ...sums, unpriced: sums.cost ? 0 : sums.unpriced, estimated: 0 }),
        dollars(sums.estimated, FINE),
        number(sums.unpriced),
    ];
    const rows = all.map((each) =>
        row(el("span", {}, swatch(each.style), each.name), cells(each.total), {
            onpointerenter: () => point(each.style),
            onpointerleave: () => point(""),
        }),
    );
    return table(`By ${name.toLowerCase()}`, columns, rows, all.length > 1 ? [row("All", cells(total))] : []);
}

/**
 * What the picture shows, for every day that has something.
 * @param {string[]} days
 * @param {Series[]} series
 * @param {import("./usage-sums.js").Measure} measure
 */
export function dayTable(days, series, measure) {
    const words = (/** @type {Sums | undefined} */ sums) =>
        sums ? (measure.title === "Cost" ? costOf(sums) : number(sums.images)) : "";
    const several = series.length > 1 ? series : [];
    const columns = ["Day (UTC)", ...several.map((each) => el("span", {}, swatch(each.style), each.name)), "All"];
    const rows = days.flatMap((day) => {
        const all = dayIn(series, day);
        const parts = several.map((each) => words(each.days.get(day)));
        return all ? [row(dayInWords(day), [...parts, words(all)])] : [];
    });
    return table(`${measure.title} by day`, columns, rows);
}
