// "Just now": what runs, what failed, and what has just come, whoever began it. A picture appears where its tile was.

import { Problem } from "./api.js";
import { byId, el, load, motionReduced, pause, randomName, say } from "./dom.js";
import { beginningOf, costOf } from "./format.js";
import { GenerationTile } from "./generation-tile.js";
import { Partials, purchase } from "./purchase.js";

/** @typedef {import("./api.js").Generation} Generation */
/** @typedef {import("./api.js").Image} Image */
/** @typedef {import("./generation-tile.js").Asked} Asked */

const DISMISSED = "dismissed";
const TICK = 1000;
/** Tiles: a page that is open for days keeps no more of those that have ended well. */
const MOST = 40;

export class Now {
    /** @type {GenerationTile[]} */
    #tiles = [];
    #row = el("ol", { class: "now", tabIndex: -1 });
    #partials;
    /** @type {Set<string>} */
    #dismissed = new Set(JSON.parse(sessionStorage.getItem(DISMISSED) ?? "[]"));
    #section = byId("now");

    /**
     * @param {string} caller
     * @param {import("./live.js").Live} live
     * @param {(prompt: string) => void} editPrompt
     */
    constructor(caller, live, editPrompt) {
        this.caller = caller;
        this.live = live;
        this.editPrompt = editPrompt;
        this.#partials = new Partials(live);
        this.#section.replaceChildren(el("h2", {}, "Just now"), this.#row);
        this.ticking = setInterval(() => this.#tiles.forEach((tile) => tile.tick()), TICK);
    }

    /** Show what runs and what failed; `opening`: even if nothing is shown yet. @param {boolean} opening */
    refresh(opening) {
        for (const tile of this.#tiles) {
            const known = tile.guid && this.live.get(tile.guid);
            if (known) this.#update(tile, known);
        }
        const replaced = this.#tiles.map((tile) => tile.replaced); // they are tried again
        for (const generation of [...this.live.failed, ...this.live.running]) {
            const shown = opening || !this.#section.hidden;
            if (this.#dismissed.has(generation.guid) || replaced.includes(generation.guid)) continue;
            if (shown || this.#tileOf(generation)) this.add(generation);
        }
        this.#toggle();
    }

    /**
     * Show a generation, on the tile that asked for it if there is one: its answer may have been lost.
     * @param {Generation} generation
     */
    add(generation) {
        const known = this.#tileOf(generation);
        const tile = known ?? new GenerationTile(this, null);
        if (!known) this.#append(tile);
        this.#update(tile, generation);
    }

    /** @param {Generation} generation */
    #tileOf({ guid, idempotency_key: key }) {
        return this.#tiles.find(
            (tile) => tile.guid === guid || (!tile.guid && key && tile.asked?.key === key && tile.replaced !== guid),
        );
    }

    /**
     * The link of a picture, if it is shown.
     * @param {string} guid
     * @returns {HTMLElement | null}
     */
    linkOf(guid) {
        return this.#row.querySelector(`a[href="#p=${guid}"]`);
    }

    /** The pictures that are shown here. @returns {Image[]} */
    get images() {
        return this.#tiles.flatMap((tile) => tile.generation?.images ?? []);
    }

    /** Take away what has ended well: the gallery has it. */
    clear() {
        for (const tile of this.#tiles.filter((each) => each.state === "succeeded")) this.#remove(tile);
    }

    /**
     * Have a picture made.
     * @param {Record<string, any>} body
     * @param {boolean} watched whether unfinished pictures are wanted: they are bought only if they can be shown
     */
    begin(body, watched) {
        const watching = this.#tiles.filter((tile) => tile.asked?.partialImages && tile.state !== "succeeded").length;
        const partialImages = watched && this.#partials.free && watching < 2 ? 1 : 0;
        const tile = new GenerationTile(this, { key: randomName(), body, partialImages });
        this.#append(tile);
        tile.element.scrollIntoView({
            block: "nearest",
            inline: "nearest",
            behavior: motionReduced() ? "auto" : "smooth",
        });
        return this.#send(tile);
    }

    /**
     * @param {GenerationTile} tile that failed
     * @param {Asked} asked
     */
    async repeat(tile, asked) {
        await pause(tile.askAgain(asked));
        tile.show();
        return this.#send(tile);
    }

    /** @param {GenerationTile} tile */
    dismiss(tile) {
        const next = tile.element.nextElementSibling ?? tile.element.previousElementSibling;
        if (tile.guid) this.#remember(tile.guid);
        this.#remove(tile);
        /** @type {HTMLElement | null} */ (
            next?.querySelector("a, button") ?? document.querySelector("#gallery a.tile") ?? byId("prompt")
        )?.focus();
    }

    /** @param {string} guid of a failure that is shown no more */
    #remember(guid) {
        this.#dismissed.add(guid);
        sessionStorage.setItem(DISMISSED, JSON.stringify([...this.#dismissed].slice(-200)));
    }

    /** @param {GenerationTile} tile */
    #append(tile) {
        tile.show();
        this.#tiles.push(tile);
        this.#row.append(tile.element);
        const ended = this.#tiles.filter((each) => each.state === "succeeded");
        if (this.#tiles.length > MOST && ended[0]) this.#remove(ended[0]);
        this.#toggle();
    }

    /** @param {GenerationTile} tile */
    #remove(tile) {
        tile.forgetPartial();
        tile.element.remove();
        this.#tiles = this.#tiles.filter((other) => other !== tile);
        this.#toggle();
    }

    #toggle() {
        this.#section.hidden = this.#tiles.length === 0;
    }

    /**
     * @param {GenerationTile} tile
     * @param {Generation} generation
     */
    #update(tile, generation) {
        const before = tile.state;
        tile.take(generation);
        if (tile.mine && tile.state === "running") this.#partials.watch(tile, generation.guid);
        if (tile.state === before || !tile.asked) return;
        if (tile.state === "succeeded") say(`Picture ready: ${beginningOf(tile.prompt, 100)}`);
        if (tile.state === "failed") say(`Failed: ${generation.error?.detail ?? ""} ${costOf(generation.error?.cost)}`);
    }

    /** @param {GenerationTile} tile */
    async #send(tile) {
        const { replaced } = tile;
        try {
            const { generation, requestId } = await purchase(/** @type {Asked} */ (tile.asked));
            tile.requestId = requestId;
            if (replaced) this.#remember(replaced);
            // Polling may have shown it already.
            const doubles = this.#tiles.filter((other) => other !== tile && other.guid === generation.guid);
            for (const double of doubles) this.#remove(double);
            this.#update(tile, generation);
            this.live.learn(generation);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            if (tile.generation) return; // polling has found it
            if ([402, 429].includes(error.status)) {
                const refusals = await load(import("./refusals.js"));
                error.message = refusals?.explain(error, this.caller) ?? error.message;
            }
            tile.fail(error);
            say(`Failed: ${error.message} ${costOf(error.cost)}`);
        }
        this.live.soon();
    }
}
