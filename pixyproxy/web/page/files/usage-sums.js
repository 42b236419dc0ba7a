// What the usage adds up to: spans of days, sums, and the series that a picture is made of.

import { number } from "./format.js";
import { dollars } from "./money.js";
import { dayAt } from "./today.js";

/**
 * @typedef {{generations: number, images: number, failed: number, running: number, unpriced: number, tokens: number,
 *     cost: number, estimated: number, reserved: number}} Sums amounts in dollars
 * @typedef {{name: string, style: string, total: Sums, days: Map<string, Sums>}} Series
 * @typedef {{from: string, to: string, words: string}} Span `to`: the day after the last one
 * @typedef {{title: string, of: (sums: Sums) => number, words: (value: number, digits?: number) => string}} Measure
 */

export const RANGES = { month: "This month", days: "Last 30 days", before: "Last month", today: "Today" };
/** @type {Record<"cost" | "images", Measure>} */
export const MEASURES = {
    cost: { title: "Cost", of: ({ cost }) => cost, words: dollars },
    images: { title: "Pictures", of: ({ images }) => images, words: number },
};
/** Series with a look of their own; the others share one. */
const MOST = 6;
const NANO = 1e9;
const DAY = 86_400_000;
const MONTH = new Intl.DateTimeFormat("en", { month: "long", year: "numeric", timeZone: "UTC" });

/**
 * The days of a range, in UTC.
 * @param {string} range of `RANGES`
 * @param {number} now milliseconds since 1970
 * @returns {Span}
 */
export function spanOf(range, now) {
    const today = dayAt(now);
    if (range === "today") return { from: today, to: dayAt(now + DAY), words: "today" };
    if (range === "days") return { from: dayAt(now - 29 * DAY), to: dayAt(now + DAY), words: "in the last 30 days" };
    const [year, month] = [Number(today.slice(0, 4)), Number(today.slice(5, 7)) - (range === "before" ? 2 : 1)];
    const first = Date.UTC(year, month, 1);
    return { from: dayAt(first), to: dayAt(Date.UTC(year, month + 1, 1)), words: `in ${MONTH.format(first)}` };
}

/** Every day of a span. @param {Span} span */
export function daysOf({ from, to }) {
    const [begin, end] = [Date.parse(from), Date.parse(to)];
    return Array.from({ length: Math.round((end - begin) / DAY) }, (_, index) => dayAt(begin + index * DAY));
}

/** @param {Record<string, any>} sums as the service says them @returns {Sums} */
export function sumsOf({ generations, images, failed, running, unpriced, tokens, cost, estimated, reserved }) {
    return {
        ...{ generations, images, failed, running, unpriced },
        tokens: tokens.input_text + tokens.input_images + tokens.output,
        ...{ cost: Number(cost), estimated: Number(estimated), reserved: Number(reserved) },
    };
}

/** Amounts are added in whole nano-dollars, as the service counts them. @param {Sums[]} all @returns {Sums} */
function added(all) {
    const sum = (/** @type {keyof Sums} */ name) => all.reduce((total, each) => total + each[name], 0);
    const amount = (/** @type {keyof Sums} */ name) =>
        all.reduce((total, each) => total + Math.round(each[name] * NANO), 0) / NANO;
    return {
        generations: sum("generations"),
        images: sum("images"),
        failed: sum("failed"),
        running: sum("running"),
        unpriced: sum("unpriced"),
        tokens: sum("tokens"),
        cost: amount("cost"),
        estimated: amount("estimated"),
        reserved: amount("reserved"),
    };
}

/**
 * The series of these groups, the one with most of the measure first.
 * @param {Record<string, any>[]} groups by day and another dimension
 * @param {"key" | "model"} by
 * @param {Measure} measure
 * @returns {Series[]}
 */
export function seriesOf(groups, by, measure) {
    /** @type {Map<string, Map<string, Sums>>} */
    const named = new Map();
    for (const group of groups) {
        const name = group[by] || (by === "key" ? "A removed key" : "No model");
        if (!named.has(name)) named.set(name, new Map());
        const days = named.get(name);
        const known = days?.get(group.day); // each removed key has a group of its own, without a name
        days?.set(group.day, known ? added([known, sumsOf(group)]) : sumsOf(group));
    }
    return [...named]
        .map(([name, days]) => ({ name, style: "", total: added([...days.values()]), days }))
        .sort((one, other) => measure.of(other.total) - measure.of(one.total) || (one.name < other.name ? -1 : 1))
        .map((each, index) => ({ ...each, style: `s${index < MOST ? index + 1 : 0}` }));
}

/**
 * Those that are told apart: all beyond some are one.
 * @param {Series[]} all
 * @returns {Series[]}
 */
export function toldApart(all) {
    if (all.length <= MOST + 1) return all;
    const others = all.slice(MOST);
    const days = new Set(others.flatMap((each) => [...each.days.keys()]));
    /** @type {[string, Sums][]} */
    const sums = [...days].map((day) => [day, added(others.flatMap((each) => each.days.get(day) ?? []))]);
    const total = added(others.map((each) => each.total));
    return [...all.slice(0, MOST), { name: `${others.length} others`, style: "s0", total, days: new Map(sums) }];
}

/**
 * All series of a day together; undefined if it has nothing.
 * @param {Series[]} series
 * @param {string} day
 */
export function dayIn(series, day) {
    const sums = series.flatMap((each) => each.days.get(day) ?? []);
    return sums.length ? added(sums) : undefined;
}
