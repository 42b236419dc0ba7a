// The tile of one generation, from the click to its picture or its failure.

import { serverNow } from "./api.js";
import { button, el, randomName } from "./dom.js";
import { bodyLike } from "./purchase.js";
import { beginningOf, clockOf, costOf, elapsedSince } from "./format.js";
import { proportions } from "./rows.js";
import { retryImage } from "./tiles.js";

/** @typedef {import("./api.js").Generation} Generation */
/** @typedef {import("./api.js").Problem} Problem */
/**
 * @typedef {{key: string, body: Record<string, any>, partialImages: number}} Asked
 *     What this tab asked for, and the Idempotency-Key that it asks with.
 */
/**
 * @typedef {object} Owner What holds the tile.
 * @property {string} caller
 * @property {(tile: GenerationTile, asked: Asked) => unknown} repeat
 * @property {(tile: GenerationTile) => void} dismiss
 * @property {(prompt: string) => void} editPrompt
 */

/** Statuses of requests that are refused as they stand: before anything is begun. */
const REFUSED = [400, 401, 403, 404, 413, 415, 422];
const SAFE = "Trying again uses the same key: nothing is bought twice.";

export class GenerationTile {
    element = el("li", { tabIndex: -1 });
    /** @type {Generation | null} */
    generation = null;
    /** Why nothing is known to have begun. @type {Problem | null} */
    problem = null;
    /** What names the request in the service's log. @type {string | null} */
    requestId = null;
    /** The failed generation that is asked for again. @type {string | null} */
    replaced = null;
    watched = false;
    #waitsUntil = 0;
    /** The newest unfinished picture. @type {string | null} */
    #partial = null;
    #shown = "";

    /**
     * @param {Owner} owner
     * @param {Asked | null} asked
     */
    constructor(owner, asked) {
        this.owner = owner;
        this.asked = asked;
    }

    get guid() {
        return this.generation?.guid ?? null;
    }

    get mine() {
        return this.asked !== null || this.generation?.caller === this.owner.caller;
    }

    get prompt() {
        return String(this.generation?.request.prompt ?? this.asked?.body.prompt ?? "");
    }

    get state() {
        if (this.generation !== null && this.generation.state !== "running") return this.generation.state;
        if (this.problem !== null) return "failed";
        return this.generation === null ? "sending" : "running";
    }

    /**
     * What the service says of it.
     * @param {Generation} generation
     */
    take(generation) {
        this.generation = generation;
        this.problem = null;
        // Inputs of an edit may be large, and are needed no more.
        if (this.state === "succeeded" && this.asked) this.asked.body = { prompt: this.prompt };
        this.show();
        this.tick();
    }

    /** @param {Problem} problem */
    fail(problem) {
        this.problem = problem;
        this.show();
    }

    /**
     * Begin anew. Returns in how many milliseconds: a limit may say when it lets the key draw again.
     * @param {Asked} asked
     */
    askAgain(asked) {
        this.#waitsUntil = this.problem?.mayRepeatAt ?? 0;
        this.replaced = this.guid ?? this.replaced;
        this.asked = asked;
        this.generation = null;
        this.problem = null;
        this.watched = false;
        this.forgetPartial();
        this.show();
        return this.#waits;
    }

    /** Milliseconds until a limit ends. */
    get #waits() {
        return Math.max(0, this.#waitsUntil - serverNow());
    }

    /** @param {Blob} picture that is not finished */
    showPartial(picture) {
        this.forgetPartial();
        this.#partial = URL.createObjectURL(picture);
        const shown = this.element.querySelector("img.partial");
        if (shown instanceof HTMLImageElement) Object.assign(shown, { src: this.#partial, hidden: false });
    }

    forgetPartial() {
        if (this.#partial) URL.revokeObjectURL(this.#partial);
        this.#partial = null;
    }

    tick() {
        const time = this.element.querySelector(".time");
        if (time && this.#waits > 0) time.textContent = clockOf(this.#waits);
        else if (time && this.generation) time.textContent = elapsedSince(this.generation.created_at);
    }

    show() {
        const { state } = this;
        const shown = [
            state,
            this.#waits > 0,
            this.problem?.message,
            this.generation?.images.map(({ guid }) => guid),
        ].join();
        if (shown === this.#shown) return;
        this.#shown = shown;
        const size = String(this.asked?.body.size ?? this.generation?.request.size ?? "");
        const [, width = 1, height = 1] = /^(\d+)x(\d+)$/.exec(size) ?? [];
        if (state !== "succeeded" || !this.element.className) {
            this.element.style.setProperty("--ratio", String(proportions(Number(width), Number(height))));
        }
        this.element.className = state;
        const focused = this.element.contains(document.activeElement);
        const ended = state === "failed" ? () => this.#failure() : () => this.#picture();
        const parts = state === "failed" || state === "succeeded" ? ended() : this.#progress();
        this.element.replaceChildren(...parts);
        /** @type {HTMLElement} */
        const next = this.element.querySelector("a, button") ?? this.element;
        if (focused) next.focus();
    }

    #progress() {
        const picture = el("img", { class: "partial", alt: "", hidden: !this.#partial, src: this.#partial });
        const words = this.generation ? "Drawing" : this.#waits > 0 ? "Waiting to ask again" : "Sending";
        const who = this.mine ? "" : ` for ${this.generation?.caller}`;
        const time = el("span", { class: "time", "aria-hidden": "true" });
        const facts = el("p", { class: "facts" }, time, el("span", {}, `${words}${who}`));
        return [picture, el("p", { class: "prompt", dir: "auto" }, beginningOf(this.prompt, 120)), facts];
    }

    #picture() {
        const [image, ...others] = this.generation?.images ?? [];
        const prompt = el("p", { class: "prompt", dir: "auto" }, beginningOf(this.prompt, 120));
        if (!image) return [prompt, el("p", { class: "facts" }, "Deleted since.")];
        const picture = el("img", {
            alt: beginningOf(image.prompt),
            src: `image/${image.guid}/thumbnail?size=800`,
            decoding: "async",
            onload: () => this.forgetPartial(),
        });
        retryImage(picture);
        const partial = this.#partial ? el("img", { class: "under", alt: "", src: this.#partial }) : null;
        const count = others.length ? el("span", { class: "badge" }, `+${others.length}`) : null;
        return [el("a", { href: `#p=${image.guid}`, class: "tile" }, partial, picture, count)];
    }

    #failure() {
        const recorded = this.generation?.error;
        const cost = this.#cost;
        const words = this.problem?.message ?? recorded?.detail ?? recorded?.title ?? "It failed.";
        const spent = this.#isUnanswered ? SAFE : costOf(cost);
        const who = this.mine ? "" : `Asked for by ${this.generation?.caller}. `;
        return [
            button("×", () => this.owner.dismiss(this), { class: "dismiss", "aria-label": "Dismiss" }),
            el(
                "div",
                { class: "failure", tabIndex: 0, role: "group", "aria-label": "Failed" },
                el("p", { class: "prompt", dir: "auto" }, beginningOf(this.prompt, 60)),
                el("p", {}, words),
                el("p", { class: "facts" }, who + this.#name()),
            ),
            el("p", { class: cost === "none" ? "" : "spent" }, spent),
            el("div", { class: "buttons" }, ...this.#remedies()),
        ];
    }

    /** What the failure has cost. A request that was refused as it stood has bought nothing. */
    get #cost() {
        if (this.problem === null) return this.generation?.error?.cost;
        const { cost, status } = this.problem;
        return cost ?? (REFUSED.includes(status) ? "none" : null);
    }

    /** Whether the request may have begun something without our knowing it. */
    get #isUnanswered() {
        return this.problem !== null && this.#cost === null;
    }

    /** What names it in a log. */
    #name() {
        const request = this.problem?.requestId ?? this.generation?.upstream_request_id ?? this.requestId;
        return request ? `Request ${request}` : this.guid ? `Generation ${this.guid}` : "";
    }

    #remedies() {
        if (!this.mine) return [];
        const edit = button("Edit prompt", () => this.owner.editPrompt(this.prompt), { class: "quiet" });
        const again = this.#again();
        if (again === null) return [edit];
        const cost = this.#cost;
        const title = costOf(cost);
        if (again.key && (cost === "none" || this.#isUnanswered)) {
            const repeat = button("Try again", () => this.owner.repeat(this, again));
            const refused = this.generation?.error?.type?.endsWith("upstream-refused");
            return refused || REFUSED.includes(this.problem?.status ?? 0) ? [edit, repeat] : [repeat, edit];
        }
        const words = cost === "none" ? "Make it again" : "Buy another";
        return [button(words, () => this.owner.repeat(this, { ...again, key: randomName() }), { title }), edit];
    }

    /** What asks for the same again; without a key if it is not known. Null if only its tab has what it edits. */
    #again() {
        if (this.asked) return this.asked;
        const { prompt, inputs = [], ...parameters } = this.generation?.request ?? {};
        const body = bodyLike(String(prompt), parameters, inputs);
        const key = (parameters.n ?? 1) > 1 ? "" : (this.generation?.idempotency_key ?? ""); // of one picture
        return body && { key, body, partialImages: 0 };
    }
}
