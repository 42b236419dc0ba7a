// Requests to the service this page came from, and the problems that it answers with. All addresses are relative.

/**
 * @typedef {{role: string, guid: string | null, url: string | null, sha256: string, content_type: string,
 *     size_bytes: number}} Source
 * @typedef {{guid: string, prompt: string, filename: string, url: string, content_type: string, size_bytes: number,
 *     width: number, height: number, sha256: string, model: string, thumbhash: string | null, sources: Source[],
 *     created_at: string, generation?: string, caller?: string, parameters?: Record<string, any>}} Image
 * @typedef {{type?: string, title: string, status: number, detail: string, cost?: string | null}} RecordedProblem
 * @typedef {{guid: string, state: "running" | "succeeded" | "failed", request: Record<string, any>, images: Image[],
 *     usage: Record<string, any> | null, cost: {amount: string, basis: string} | null,
 *     answer: Record<string, any> | null, upstream_request_id: string | null,
 *     error: RecordedProblem | null, caller: string, duration: number | null, idempotency_key: string | null,
 *     created_at: string, updated_at: string}} Generation
 * @typedef {{caller: string, scopes: string[], demo: boolean, models: string[], model: string, quality: string | null,
 *     sizes: string[], qualities: string[], formats: string[], backgrounds: string[], max_prompt: number,
 *     max_sources: number, partial_images: number, max_generations: number, expires_at: string | null}} Session
 */

/** A problem that the service answered with (RFC 9457), or that it did not answer. */
export class Problem extends Error {
    /** @param {Record<string, any>} document */
    constructor(document) {
        super(wordsOf(document));
        /** The last part of its type, such as "upstream-refused"; "offline" if nothing answered. @type {string} */
        this.name =
            String(document.type ?? "")
                .split(":")
                .at(-1) ?? "";
        /** @type {number} */
        this.status = document.status ?? 0;
        /** What asking has cost: "none", "billed" or "unknown". @type {string | null} */
        this.cost = document.cost ?? null;
        /** @type {string | null} */
        this.requestId = document.request_id ?? null;
        /** The generation that it concerns. @type {string | null} */
        this.generation = document.generation ?? null;
        /** @type {{detail: string, pointer: string}[]} */
        this.errors = document.errors ?? [];
        this.members = document;
        /** Seconds. @type {number} */
        this.retryAfter = document.retryAfter ?? 0;
        /** When a limit ends; 0: there is none. */
        this.mayRepeatAt = this.status === 429 ? serverNow() + 1000 * this.retryAfter : 0;
    }
}

/**
 * What a problem says: the broken rules, if it names them.
 * @param {Record<string, any>} document
 */
function wordsOf({ errors = [], detail, title }) {
    const rules = errors.map((/** @type {{detail: string, pointer: string}} */ each) =>
        `${each.pointer.replace(/^[#?]\/?/, "")} ${each.detail}`.trim(),
    );
    return rules.length ? rules.join("; ") : detail || title || "The service did not say what is wrong.";
}

/** The service's clock, less ours, in milliseconds: elapsed times are the server's. */
let clockAhead = 0;

/** The service's time, in milliseconds since 1970. */
export function serverNow() {
    return Date.now() + clockAhead;
}

/** @param {Response} response */
function readClock(response) {
    const date = Date.parse(response.headers.get("Date") ?? "");
    // Date has whole seconds: it is up to a second behind.
    if (!Number.isNaN(date) && Math.abs(date + 500 - serverNow()) > 1000) clockAhead = date + 500 - Date.now();
}

/**
 * Ask the service. `Problem` for everything that is not a success.
 * @param {string} path
 * @param {{method?: string, json?: unknown, headers?: Record<string, string>, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>}
 */
export async function ask(path, { method = "GET", json, headers = {}, signal } = {}) {
    let response;
    try {
        response = await fetch(path, {
            method,
            headers: json === undefined ? headers : { "Content-Type": "application/json", ...headers },
            body: json === undefined ? undefined : JSON.stringify(json),
            signal,
            redirect: "error",
        });
    } catch (error) {
        if (signal?.aborted) throw error;
        throw new Problem({ type: "offline", detail: "The service does not answer." });
    }
    readClock(response);
    if (response.ok) return response;
    const document = await response.json().catch(() => ({ title: `The service answered ${response.status}.` }));
    const retryAfter = Number(response.headers.get("Retry-After")) || 0;
    if (response.status === 401 && path !== "session") {
        dispatchEvent(new Event("loggedout"));
        document.detail = "The session has ended, or its key was revoked. Log in, and try again.";
    }
    throw new Problem({ ...document, status: response.status, retryAfter });
}

/**
 * The JSON of an answer. `Problem` of type "offline" if it is none, or was cut off.
 * @param {Response} response
 * @returns {Promise<any>}
 */
export async function jsonOf(response) {
    try {
        return await response.json();
    } catch (error) {
        if (error instanceof DOMException && error.name === "AbortError") throw error;
        throw somethingElse();
    }
}

/**
 * Ask the service for JSON. `Problem` for everything that is not a success.
 * @param {string} path
 * @param {Parameters<typeof ask>[1]} [options]
 * @returns {Promise<any>}
 */
export async function askJson(path, options) {
    return jsonOf(await ask(path, options));
}

/** Something before the service may have answered in its place. */
function somethingElse() {
    return new Problem({ type: "offline", detail: "The service answered with something else." });
}

/**
 * A page of a list, and the address of the next one, if there is one.
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<{items: any[], next: string | null}>}
 */
export async function askPage(path, signal) {
    const response = await ask(path, { signal });
    const items = await jsonOf(response);
    if (!Array.isArray(items)) throw somethingElse();
    const next = /[?&]cursor=([^&>]+)[^>]*>; *rel="next"/.exec(response.headers.get("Link") ?? "");
    return {
        items,
        next: next && withParameter(path, "cursor", decodeURIComponent(next[1] ?? "")),
    };
}

/**
 * The first page from here that has items: a page of a search may be empty and still have a next one.
 * @param {string} path
 * @param {number} most pages that are read
 * @param {AbortSignal} signal
 * @returns {Promise<{items: any[], next: string | null, cursor: string}>} `cursor` of the page
 */
export async function askFilledPage(path, most, signal) {
    const cursor = new URLSearchParams(path.split("?")[1]).get("cursor") ?? "";
    const { items, next } = await askPage(path, signal);
    signal.throwIfAborted();
    if (items.length || next === null || most <= 1) return { items, next, cursor };
    return askFilledPage(next, most - 1, signal);
}

/**
 * @param {string} path
 * @param {string} name
 * @param {string} value
 */
function withParameter(path, name, value) {
    const [place, query] = path.split("?");
    const parameters = new URLSearchParams(query);
    parameters.set(name, value);
    return `${place}?${parameters}`;
}

/**
 * The path with these parameters; those that are empty are left out.
 * @param {string} path
 * @param {Record<string, string | number | null>} parameters
 */
export function pathWith(path, parameters) {
    const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
    return `${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

/**
 * The events of a stream (WHATWG HTML, server-sent events), as far as this service uses them.
 * @param {Response} response
 * @returns {AsyncGenerator<{event: string, data: string}>}
 */
export async function* eventsOf(response) {
    if (response.body === null) return;
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    /** @type {string[]} */
    let pieces = [];
    try {
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            // A partial image is one long line in many chunks: they are joined once, at the end of the event.
            let text = decoder.decode(value, { stream: true });
            if (pieces.at(-1)?.endsWith("\n")) text = `${pieces.pop()}${text}`; // two chunks may share the empty line
            const blocks = text.split("\n\n");
            for (const block of blocks.slice(0, -1)) {
                const lines = [...pieces, block].join("").split("\n");
                pieces = [];
                const event =
                    lines
                        .find((line) => line.startsWith("event:"))
                        ?.slice(6)
                        .trim() ?? "message";
                const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
                yield { event, data: data.join("\n") };
            }
            pieces.push(blocks.at(-1) ?? "");
        }
    } finally {
        reader.cancel().catch(() => undefined);
    }
}
