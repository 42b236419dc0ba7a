// Amounts of money in words. What is not known is never $0.

import { number } from "./format.js";

/**
 * An amount in dollars; less than a cent with two digits. Only 0 is "$0".
 * @param {number | string} amount
 * @param {number} [digits] behind the point
 */
export function dollars(amount, digits = 2) {
    const value = Number(amount);
    if (value === 0) return "$0";
    const precision = value < 0.01 ? { maximumSignificantDigits: 2 } : { minimumFractionDigits: digits };
    return new Intl.NumberFormat("en", { style: "currency", currency: "USD", ...precision }).format(value);
}

/**
 * What a generation cost; empty while it runs.
 * @param {import("./api.js").Generation} generation
 * @param {number} [digits] behind the point
 */
export function costOfOne({ state, cost }, digits) {
    if (state === "running") return "";
    return cost ? `${cost.basis === "estimate" ? "≈ " : ""}${dollars(cost.amount, digits)}` : "unknown";
}

/**
 * What is known of a cost, and what is not: "≈ $0.42 + 2 unpriced". An unknown cost is never $0.
 * @param {{cost: number | string, estimated: number | string, unpriced: number}} sums amounts in dollars
 * @param {number} [digits] behind the point
 */
export function costInWords({ cost, estimated, unpriced }, digits) {
    const unknown = unpriced ? `${number(unpriced)} unpriced` : "";
    if (unknown && !Number(cost)) return unknown;
    return `${Number(estimated) ? "≈ " : ""}${dollars(cost, digits)}${unknown && ` + ${unknown}`}`;
}
