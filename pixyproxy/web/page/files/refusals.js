// Why a budget or a limit refuses a picture, in words for the person who asked for it.

import { dollars, momentOfReset } from "./budgets.js";

/** @typedef {import("./api.js").Problem} Problem */

const PERIODS = { day: "for today", month: "for this month", total: "in total" };

/** @type {Record<string, (members: Record<string, any>, detail: string, caller: string) => string>} */
const WORDS = {
    "budget-exhausted": ({ period, limit, used, estimate, everybody, resets_at: resets }, _, caller) => {
        const whose = everybody ? "all keys together" : `the key ${caller}`;
        const span = PERIODS[/** @type {"day" | "month" | "total"} */ (period)] ?? "";
        const left = Number(limit) - Number(used);
        const state =
            limit === null
                ? `has less left than this picture is expected to cost, ${dollars(estimate)}`
                : left > 0
                  ? `has ${dollars(left.toFixed(9))} of ${dollars(limit)} left, and this picture is expected to cost ` +
                    `${dollars(estimate)}`
                  : `is spent: ${dollars(used)} of ${dollars(limit)}`;
        const anew = resets ? ` It begins anew on ${momentOfReset(resets)}.` : "";
        return `The budget of ${whose} ${span} ${state}.${anew}`;
    },
    "price-unknown": ({ model }) =>
        `Nobody has told this service what “${model}” costs, and a budget applies to your key: so nobody could say ` +
        "what would be left of it. Choose another model, or have its price set.",
    "rate-limited": (_, detail) => `${detail} “Try again” waits until then.`,
};

/**
 * The problem in words; those of the service, if it is of another kind.
 * @param {Problem} problem
 * @param {string} caller the name of the key
 */
export function explain(problem, caller) {
    return WORDS[problem.name]?.(problem.members, problem.message, caller) ?? problem.message;
}
