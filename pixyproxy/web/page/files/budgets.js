// Budgets in words and as bars: what may be spent, what is left, and when it begins anew.

import { el } from "./dom.js";
import { dollars as exact } from "./money.js";

/**
 * @typedef {{period: "day" | "month" | "total", limit: string, used: string, left: string, resets_at: string | null}}
 *     Budget
 */

/** Of a budget, as it ends a sentence. */
export const SPANS = { day: "today", month: "this month", total: "in total" };
const DAY = new Intl.DateTimeFormat("en", { month: "long", day: "numeric", timeZone: "UTC" });
const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const LOCAL_DAY = new Intl.DateTimeFormat("en", { month: "long", day: "numeric" });

/**
 * An amount of dollars with up to four digits behind the point, without cents if it is whole: what is left of a limit
 * is told apart from the limit.
 * @param {string} amount as a decimal number
 */
export function dollars(amount) {
    return exact(amount, 4)
        .replace(/(\.\d\d\d?)0+$/, "$1")
        .replace(/(\.\d\d)0$/, "$1")
        .replace(/\.00$/, "");
}

/**
 * The moment at which a period begins anew, in UTC, and for the person if their clock says something else.
 * @param {string} moment
 */
export function momentOfReset(moment) {
    const date = new Date(moment);
    const day = DAY.format(date);
    if (date.getTimezoneOffset() === 0) return `${day}, 00:00 UTC`;
    const here = LOCAL_DAY.format(date);
    return `${day}, 00:00 UTC (${here === day ? "" : `${here}, `}${CLOCK.format(date)} here)`;
}

/**
 * What is left, for the person whose budget it is.
 * @param {Budget} budget
 */
export function leftOf({ period, limit, left, resets_at: resets }) {
    if (Number(left) > 0) return `${dollars(left)} of ${dollars(limit)} left ${SPANS[period]}.`;
    const anew = resets ? ` More from ${momentOfReset(resets)}.` : "";
    return `The ${dollars(limit)} of ${period === "total" ? "your key" : SPANS[period]} are spent.${anew}`;
}

/**
 * What is used of a limit, in words before a bar.
 * @param {Budget} budget
 */
export function meterOf({ period, limit, used, left, resets_at: resets }) {
    const share = Number(limit) > 0 ? Math.min(1, Math.max(0, Number(used) / Number(limit))) : 1;
    const bar = el("span", { class: "bar-of-budget", "aria-hidden": "true" });
    bar.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
    const spent = Number(left) <= 0;
    const words = el("span", {}, el("b", {}, dollars(used)), ` of ${dollars(limit)} ${SPANS[period]}`);
    const title = resets ? `It begins anew on ${momentOfReset(resets)}.` : "It does not begin anew.";
    return el(
        "li",
        { class: `meter${spent ? " over" : share > 0.8 ? " low" : ""}`, title },
        words,
        spent ? el("span", { class: "said" }, "spent") : null,
        bar,
    );
}

/**
 * The budget that has the least left.
 * @param {Budget[]} budgets
 * @returns {Budget | undefined}
 */
export function tightest(budgets) {
    return [...budgets].sort((one, other) => Number(one.left) - Number(other.left))[0];
}
