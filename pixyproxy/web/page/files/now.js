// "Just now": what runs, what failed, and what has just come, whoever began it. A picture appears where its tile was.

import { Problem, ask, eventsOf } from "./api.js";
import { byId, el, motionReduced, randomName, say } from "./dom.js";
import { beginningOf, costOf } from "./format.js";
import { GenerationTile } from "./generation-tile.js";

/** @typedef {import("./api.js").Generation} Generation */
/** @typedef {import("./api.js").Image} Image */
/** @typedef {import("./generation-tile.js").Asked} Asked */

const DISMISSED = "dismissed";
const STREAMS = 2;
const TICK = 1000;

export class Now {
    /** @type {GenerationTile[]} */
    #tiles = [];
    #row = el("ol", { class: "now", tabIndex: -1 });
    #streams = 0;
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
        this.#section.replaceChildren(el("h2", {}, "Just now"), this.#row);
        this.ticking = setInterval(() => this.#tiles.forEach((tile) => tile.tick()), TICK);
    }

    /** Show what runs and what failed; `opening`: even if nothing is shown yet. @param {boolean} opening */
    refresh(opening) {
        for (const tile of this.#tiles) {
            const known = tile.guid && this.live.get(tile.guid);
            if (known) this.#update(tile, known);
        }
        if (this.#section.hidden && !opening) return;
        for (const generation of [...this.live.failed, ...this.live.running]) {
            if (!this.#dismissed.has(generation.guid)) this.add(generation);
        }
        this.#toggle();
    }

    /** @param {Generation} generation */
    add(generation) {
        const key = generation.idempotency_key;
        if (this.#tiles.some((tile) => tile.guid === generation.guid || (key && tile.asked?.key === key))) return;
        const tile = new GenerationTile(this, null);
        this.#append(tile);
        this.#update(tile, generation);
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

    /** @param {string} guid of a picture that was deleted */
    forget(guid) {
        for (const { generation } of this.#tiles) {
            if (generation?.images.some((image) => image.guid === guid)) {
                this.live.learn({ ...generation, images: generation.images.filter((image) => image.guid !== guid) });
            }
        }
    }

    /**
     * Have a picture made.
     * @param {Record<string, any>} body
     * @param {number} partialImages
     */
    begin(body, partialImages) {
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
    repeat(tile, asked) {
        if (tile.guid) this.#remember(tile.guid);
        tile.asked = asked;
        tile.generation = null;
        tile.problem = null;
        tile.show();
        return this.#send(tile);
    }

    /** @param {GenerationTile} tile */
    dismiss(tile) {
        const next = tile.element.nextElementSibling ?? tile.element.previousElementSibling;
        if (tile.guid) this.#remember(tile.guid);
        this.#remove(tile);
        /** @type {HTMLElement | null} */ (
            next?.querySelector("a, button") ?? document.querySelector("#gallery a")
        )?.focus();
    }

    /** @param {string} guid */
    #remember(guid) {
        this.#dismissed.add(guid);
        sessionStorage.setItem(DISMISSED, JSON.stringify([...this.#dismissed].slice(-200)));
    }

    /** @param {GenerationTile} tile */
    #append(tile) {
        tile.show();
        this.#tiles.push(tile);
        this.#row.append(tile.element);
        this.#toggle();
    }

    /** @param {GenerationTile} tile */
    #remove(tile) {
        if (tile.partial) URL.revokeObjectURL(tile.partial);
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
        tile.generation = generation;
        if (generation.state !== "running") tile.problem = null;
        tile.show();
        tile.tick();
        if (tile.state === before || !tile.asked) return;
        if (tile.state === "succeeded") say(`Picture ready: ${beginningOf(tile.prompt, 100)}`);
        if (tile.state === "failed") say(`Failed: ${generation.error?.detail ?? ""} ${costOf(generation.error?.cost)}`);
    }

    /** @param {GenerationTile} tile */
    async #send(tile) {
        const { key, body, partialImages } = /** @type {Asked} */ (tile.asked);
        const headers = { "Idempotency-Key": key, Prefer: "respond-async" };
        try {
            const json = partialImages ? { ...body, partial_images: partialImages } : body;
            const response = await ask("image", { method: "POST", json, headers });
            const answer = await response.json();
            const generation = response.status === 202 ? answer : await this.#generation(answer.generation);
            this.#follow(tile, generation);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            const running = error.name === "generation-running" && error.generation;
            if (running) this.#follow(tile, await this.#generation(running));
            else this.#fail(tile, error);
        }
    }

    /** @param {string} guid @returns {Promise<Generation>} */
    async #generation(guid) {
        return (await ask(`generation/${guid}`)).json();
    }

    /**
     * @param {GenerationTile} tile
     * @param {Generation} generation
     */
    #follow(tile, generation) {
        // Polling may have shown it already.
        for (const double of this.#tiles.filter((other) => other !== tile && other.guid === generation.guid))
            this.#remove(double);
        this.#update(tile, generation);
        this.live.learn(generation);
        this.live.soon();
        if (tile.asked?.partialImages && generation.state === "running") this.#watch(tile, generation.guid);
    }

    /**
     * @param {GenerationTile} tile
     * @param {Problem} problem
     */
    #fail(tile, problem) {
        tile.problem = problem;
        tile.show();
        say(`Failed: ${problem.message} ${costOf(problem.cost)}`);
        this.live.soon();
    }

    /**
     * Show unfinished pictures. If the stream breaks off, polling goes on.
     * @param {GenerationTile} tile
     * @param {string} guid
     */
    async #watch(tile, guid) {
        if (this.#streams >= STREAMS) return;
        this.#streams++;
        try {
            const response = await ask(`generation/${guid}`, { headers: { Accept: "text/event-stream" } });
            for await (const { event, data } of eventsOf(response)) {
                if (event === "partial") this.#showPartial(tile, JSON.parse(data));
                if (event === "end") this.live.learn(JSON.parse(data));
            }
        } catch {
            this.live.soon();
        } finally {
            this.#streams--;
        }
    }

    /**
     * @param {GenerationTile} tile
     * @param {{content_type: string, b64_json: string}} partial
     */
    #showPartial(tile, { content_type: type, b64_json: base64 }) {
        const before = tile.partial;
        const data = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        tile.partial = URL.createObjectURL(new Blob([data], { type }));
        const picture = tile.element.querySelector("img.partial");
        if (picture instanceof HTMLImageElement) Object.assign(picture, { src: tile.partial, hidden: false });
        if (before) URL.revokeObjectURL(before);
    }
}
