// What is left of the budget of one's own key: said under the prompt, if there is one.

import { askJson, serverNow } from "./api.js";
import { leftOf, tightest } from "./budgets.js";
import { byId } from "./dom.js";

/** Milliseconds: what is asked for more often is the same. */
const PAUSE = 2_000;
/** A timer cannot wait for a month. */
const DAY = 86_400_000;

/**
 * Ask once; if the key has a budget, show what is left of it, and again whenever something was drawn, a period begins
 * anew, or the person comes back to the page.
 * @param {import("./live.js").Live} live
 * @param {import("./make.js").Make} make
 */
export async function showOwnBudget(live, make) {
    const hint = /** @type {HTMLElement} */ (byId("make").querySelector(".hint"));
    const { promise } = make;
    const show = (/** @type {string} */ words) => {
        hint.style.minHeight = `${hint.offsetHeight}px`; // nothing moves
        const isShown = hint.textContent?.trim() === make.promise;
        make.promise = words || promise;
        if (isShown) make.hint();
    };
    let waiting = false;
    /** Of the generations that were known. */
    let seen = "";
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    /** Whether there may be a budget. @returns {Promise<boolean>} */
    const ask = async () => {
        /** @type {{budgets: import("./budgets.js").Budget[]} | null} */
        const answer = await askJson("key/self").catch(() => null);
        if (!answer) {
            seen = "unanswered"; // the words stay as they are until the next change
            return true;
        }
        const budget = tightest(answer.budgets);
        show(budget ? leftOf(budget) : "");
        const resets = answer.budgets.flatMap(({ resets_at: at }) => (at ? [Date.parse(at) - serverNow()] : []));
        clearTimeout(timer);
        if (resets.length) timer = setTimeout(ask, Math.min(DAY, Math.max(0, Math.min(...resets)) + PAUSE));
        return budget !== undefined;
    };
    const again = () => {
        const known = live.all.map(({ guid, state }) => `${guid} ${state}`).join();
        if (waiting || known === seen) return;
        seen = known;
        waiting = true;
        setTimeout(() => {
            waiting = false;
            ask();
        }, PAUSE);
    };
    if (!(await ask())) return;
    live.addEventListener("change", again);
    document.addEventListener("visibilitychange", () => document.hidden || ask());
}
