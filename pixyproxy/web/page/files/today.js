// What today's generations cost, in the header: asked after one has ended, every few seconds at most, not while hidden.

import { askJson, pathWith, serverNow } from "./api.js";
import { byId, el } from "./dom.js";
import { costInWords, dollars } from "./money.js";
import { may, seesEverybody } from "./rights.js";

/** Milliseconds from one question to the next; after one that failed. */
const PAUSE = 5_000;
const TROUBLE = 60_000;
/** Where others' generations are counted, and not seen. */
const UNSEEN = 30_000;
const DAY = 86_400_000;

/** The day of a moment, UTC, as "2026-11-30". @param {number} moment milliseconds since 1970 */
export function dayAt(moment) {
    return new Date(moment).toISOString().slice(0, 10);
}

/** Whether the service says what all keys have used. */
export function seesAllKeys() {
    return seesEverybody() || may("admin");
}

/** The sum in the header. The window hears "spent" when it may be another one. */
export class Today {
    #link = el("a", { id: "today", href: "#usage", hidden: true });
    /** The day and the ends that the sum is of. */
    #known = "";
    #next = 0;
    #waiting = false;

    /** @param {import("./live.js").Live} live */
    constructor(live) {
        this.live = live;
        byId("places").before(this.#link);
        live.addEventListener("change", () => this.#follow());
        this.#follow();
        if (!seesAllKeys() || seesEverybody()) return;
        setInterval(() => this.#askSoon(), UNSEEN);
        document.addEventListener("visibilitychange", () => this.#askSoon());
    }

    /** What the sum depends on. The clocks of replicas differ: what ends later may say that it ended earlier. */
    get #wanted() {
        const ended = this.live.all.filter(({ state }) => state !== "running").map((each) => each.updated_at);
        return `${dayAt(serverNow())} ${ended.length} ${ended.sort().at(-1) ?? ""}`;
    }

    #follow() {
        if (this.#wanted !== this.#known) this.#askSoon();
    }

    #askSoon() {
        if (this.#waiting || document.hidden) return;
        this.#waiting = true;
        setTimeout(() => this.#ask(), Math.max(0, this.#next - performance.now()));
    }

    async #ask() {
        try {
            if (document.hidden) return; // who comes back hears of a change
            const wanted = this.#wanted;
            this.#next = performance.now() + TROUBLE;
            const from = wanted.slice(0, 10);
            const { total } = await askJson(pathWith("usage", { from, to: dayAt(Date.parse(from) + DAY) }));
            this.#next = performance.now() + PAUSE;
            this.#show(total);
            if (this.#known) dispatchEvent(new Event("spent"));
            this.#known = wanted;
        } catch {
            // The sum stays as it is: it is asked for again after a change.
        } finally {
            this.#waiting = false;
        }
    }

    /** @param {{cost: string, estimated: string, unpriced: number}} total */
    #show(total) {
        const guessed = Number(total.estimated) ? `, ${dollars(total.estimated)} of it estimated` : "";
        this.#link.replaceChildren(
            costInWords(total),
            el("span", { class: "when" }, " today"),
            el("span", { class: "unseen" }, guessed),
        );
        this.#link.title = `What ${seesAllKeys() ? "all keys" : "your key"} spent today (UTC)${guessed}`;
        this.#link.hidden = false;
    }
}
