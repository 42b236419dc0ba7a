// The tile of one generation, from the click to its picture or its failure.

import { button, el, randomName } from "./dom.js";
import { beginningOf, costOf, elapsedSince } from "./format.js";
import { bodyLike } from "./body.js";
import { proportions } from "./rows.js";

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

export class GenerationTile {
    element = el("li");
    /** @type {Generation | null} */
    generation = null;
    /** @type {Problem | null} */
    problem = null;
    /** The newest unfinished picture. @type {string | null} */
    partial = null;
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

    show() {
        const state = this.state;
        const shown = [state, this.problem?.message, this.generation?.images.length].join();
        if (shown === this.#shown) return;
        this.#shown = shown;
        const [, width = 1, height = 1] =
            /^(\d+)x(\d+)$/.exec(this.asked?.body.size ?? this.generation?.request.size ?? "") ?? [];
        this.element.style.setProperty("--ratio", String(proportions(Number(width), Number(height)).ratio));
        this.element.className = state;
        const focused = this.element.contains(document.activeElement);
        this.element.replaceChildren(
            ...(state === "failed" ? this.#failure() : state === "succeeded" ? this.#picture() : this.#progress()),
        );
        if (focused) /** @type {HTMLElement | null} */ (this.element.querySelector("a, button"))?.focus();
    }

    #progress() {
        const picture = el("img", { class: "partial", alt: "", hidden: !this.partial, src: this.partial });
        const words = this.generation === null ? "Sending" : "Drawing";
        const who = this.mine ? "" : ` for ${this.generation?.caller}`;
        const time = el("span", { class: "time", "aria-hidden": "true" });
        const facts = el("p", { class: "facts" }, time, el("span", {}, `${words}${who}`));
        return [picture, el("p", { class: "prompt", dir: "auto" }, beginningOf(this.prompt, 120)), facts];
    }

    tick() {
        const time = this.element.querySelector(".time");
        if (time && this.generation) time.textContent = elapsedSince(this.generation.created_at);
    }

    #picture() {
        const [image, ...others] = this.generation?.images ?? [];
        if (!image)
            return [
                el("p", { class: "prompt", dir: "auto" }, beginningOf(this.prompt, 120)),
                el("p", { class: "facts" }, "Deleted since."),
            ];
        const picture = el("img", {
            alt: beginningOf(image.prompt),
            src: `image/${image.guid}/thumbnail?size=800`,
            decoding: "async",
            onerror: () => picture.classList.add("lost"),
        });
        const partial = this.partial ? el("img", { class: "under", alt: "", src: this.partial }) : null;
        const count = others.length ? el("span", { class: "badge" }, `+${others.length}`) : null;
        return [el("a", { href: `#p=${image.guid}`, class: "tile" }, partial, picture, count)];
    }

    #failure() {
        const recorded = this.generation?.error;
        const cost = this.problem ? this.problem.cost : recorded?.cost;
        const offline = this.problem?.name === "offline";
        const words = this.problem?.message ?? recorded?.detail ?? recorded?.title ?? "It failed.";
        const spent = offline ? "Try again: it uses the same key, so nothing is bought twice." : costOf(cost);
        const who = this.mine ? "" : `For ${this.generation?.caller}. `;
        return [
            button("×", () => this.owner.dismiss(this), { class: "dismiss", "aria-label": "Dismiss" }),
            el(
                "div",
                { class: "failure", tabIndex: 0, role: "group", "aria-label": "Failed" },
                el("p", { class: "prompt", dir: "auto" }, beginningOf(this.prompt, 60)),
                el("p", {}, words),
                el("p", { class: cost === "none" ? "" : "spent" }, who + spent),
                el("p", { class: "facts" }, this.#name()),
            ),
            el("div", { class: "buttons" }, ...this.#remedies(cost, offline)),
        ];
    }

    /** What names it in a log. */
    #name() {
        const request = this.problem?.requestId ?? this.generation?.upstream_request_id;
        return request ? `Request ${request}` : this.guid ? `Generation ${this.guid}` : "";
    }

    /**
     * @param {string | null | undefined} cost
     * @param {boolean} offline
     */
    #remedies(cost, offline) {
        if (!this.mine) return [];
        const again = this.again();
        const edit = button("Edit prompt", () => this.owner.editPrompt(this.prompt), { class: "quiet" });
        if (again === null) return [edit];
        if (cost === "none" || offline) return [button("Try again", () => this.owner.repeat(this, again)), edit];
        const fresh = { ...again, key: randomName() };
        return [button("Buy another", () => this.owner.repeat(this, fresh), { title: costOf(cost) }), edit];
    }

    /** What asks for the same again, under the same key; null if only its tab has what it edits. */
    again() {
        if (this.asked) return this.asked;
        const { prompt, inputs = [], ...parameters } = this.generation?.request ?? {};
        const body = bodyLike(String(prompt), parameters, inputs);
        return body && { key: this.generation?.idempotency_key ?? randomName(), body, partialImages: 0 };
    }
}
