// What is known of a picture, in words.

import { el } from "./dom.js";
import { bytes, duration, momentOf, number, size, tokens, typeName } from "./format.js";

/** @typedef {import("./api.js").Image} Image */
/** @typedef {import("./api.js").Generation} Generation */

const SHOWN_OTHERWISE = ["model", "size", "output_format", "n", "revised_prompt"];

/**
 * What is known of a picture, as the parts of a description list.
 * @param {Image} image
 * @param {Generation | null} generation if it is known
 * @param {(guid: string) => unknown} show what shows another picture
 */
export function factsOf(image, generation, show) {
    const { answer = null, usage = null } = generation ?? {};
    const parameters = { ...image.parameters, ...answer };
    const others = Object.entries(parameters).filter(
        ([name, value]) => !SHOWN_OTHERWISE.includes(name) && typeof value !== "object",
    );
    const asked = others.map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
    if (parameters.size) asked.unshift(size(String(parameters.size)));
    const used = tokens(usage);
    /** @type {[string, (string | Node)[]][]} */
    const facts = [
        [
            "Picture",
            [`${image.width} × ${image.height} · ${typeName(image.content_type)} · ${bytes(image.size_bytes)}`],
        ],
        ["Model", [image.model]],
        ["Asked for", [asked.join(" · ")]],
        ["Made", [momentOf(image.created_at), generation ? ` in ${duration(generation.duration)}` : ""]],
        ["Key", [image.caller ?? ""]],
        ["Usage", [used === null ? "" : `${number(used)} tokens`]],
        ["Edited from", image.sources.flatMap((source, index) => [index ? ", " : "", sourceLink(source, show)])],
        ["Revised to", [typeof answer?.revised_prompt === "string" ? answer.revised_prompt : ""]],
    ];
    const shown = facts.filter(([, values]) => values.some((value) => value !== ""));
    return shown.map(([name, values]) => el("div", {}, el("dt", {}, name), el("dd", {}, ...values)));
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
