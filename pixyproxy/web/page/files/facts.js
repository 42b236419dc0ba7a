// What is known of a picture, in words.

import { el } from "./dom.js";
import { number, size } from "./format.js";
import { bytes, duration, momentOf, tokens, typeName } from "./measures.js";

/** @typedef {import("./api.js").Image} Image */
/** @typedef {import("./api.js").Generation} Generation */

const SAID_OTHERWISE = ["model", "output_format", "n", "revised_prompt"];

/**
 * What is known of a picture, as the parts of a description list.
 * @param {Image} image
 * @param {Generation | null} generation if it is known
 * @param {(guid: string) => unknown} show what shows another picture
 */
export function factsOf(image, generation, show) {
    const { answer = null, usage = null } = generation ?? {};
    const { parameters = {} } = image;
    const drawn = Object.entries(answer ?? {}).filter(([name, value]) => parameters[name] !== value);
    const used = tokens(usage);
    /** @type {[string, (string | Node)[]][]} */
    const facts = [
        [
            "Picture",
            [`${image.width} × ${image.height} · ${typeName(image.content_type)} · ${bytes(image.size_bytes)}`],
        ],
        ["Model", [image.model]],
        ["Asked for", [listed(Object.entries(parameters))]],
        ["Drawn with", [listed(drawn)]],
        ["Made", [momentOf(image.created_at), generation ? ` in ${duration(generation.duration)}` : ""]],
        ["Key", [image.caller ?? ""]],
        ["Usage", [used === null ? "" : `${number(used)} tokens`]],
        ["Cost", [money(generation)]],
        ["Edited from", image.sources.flatMap((source, index) => [index ? ", " : "", sourceLink(source, show)])],
        ["Revised to", [typeof answer?.revised_prompt === "string" ? answer.revised_prompt : ""]],
    ];
    const shown = facts.filter(([, values]) => values.some((value) => value !== ""));
    return shown.map(([name, values]) => el("div", {}, el("dt", {}, name), el("dd", {}, ...values)));
}

/**
 * What a generation cost, with all of its pictures. Nothing is said of one that cost nothing.
 * @param {Generation | null} generation
 */
function money(generation) {
    if (!generation) return "";
    if (!generation.cost) return "unknown";
    const { amount, basis } = generation.cost;
    if (amount === "0") return "";
    const count = generation?.images.length ?? 1;
    return `$${amount}${count > 1 ? ` for ${count} pictures` : ""}${basis === "estimate" ? " (estimated)" : ""}`;
}

/**
 * Parameters in words, without those that are said elsewhere.
 * @param {[string, any][]} parameters
 */
function listed(parameters) {
    const said = parameters.filter(([name, value]) => !SAID_OTHERWISE.includes(name) && typeof value !== "object");
    return said
        .map(([name, value]) => (name === "size" ? size(String(value)) : `${name.replaceAll("_", " ")} ${value}`))
        .join(" · ");
}

/**
 * @param {import("./api.js").Source} source
 * @param {(guid: string) => unknown} show
 */
function sourceLink(source, show) {
    const words = source.role === "image" ? "a picture" : `a ${source.role}`;
    const { guid } = source;
    if (!guid) return `${words} that was uploaded (${bytes(source.size_bytes)})`;
    const onclick = (/** @type {Event} */ event) => {
        event.preventDefault();
        show(guid);
    };
    return el("a", { href: `#p=${guid}`, onclick }, words);
}
