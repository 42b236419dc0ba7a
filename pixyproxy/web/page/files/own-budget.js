// What is left of the budget of one's own key: said under the prompt, if there is one.

import { askJson } from "./api.js";
import { leftOf, tightest } from "./budgets.js";
import { byId } from "./dom.js";

/** Milliseconds: what is asked for more often is the same. */
const PAUSE = 2_000;

/**
 * Ask once; if the key has a budget, show what is left of it, and again whenever something was drawn.
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
    const ask = async () => {
        // Without an answer the words stay as they are.
        const { budgets } = await askJson("key/self").catch(() => ({ budgets: null }));
        const budget = tightest(budgets ?? []);
        if (budgets) show(budget ? leftOf(budget) : "");
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
}
