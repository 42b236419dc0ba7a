// The tiles of the gallery: one of them is in the order of Tab, arrows go to the others.

import { el, pause } from "./dom.js";
import { averageColour, beginningOf } from "./format.js";
import { proportions } from "./rows.js";

/** @typedef {import("./api.js").Image} Image */
/** @typedef {import("./rows.js").Tile} Tile */

/** @type {Record<string, number>} */
const STEPS = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 };
/** Milliseconds before an image that failed is asked for again. */
const RETRIES = [3_000, 10_000, 30_000];
/** The longest sides of the thumbnails, in pixels. */
const [SMALL, LARGE] = [400, 800];
/** CSS pixels: tops of one row may differ by fractions. */
const SAME_ROW = 4;

/**
 * The tile of a picture: its place has the picture's proportions and average colour before its bytes come.
 * @param {Image} image
 * @returns {Tile}
 */
export function tileOf(image) {
    const picture = el("img", { alt: beginningOf(image.prompt), loading: "lazy", decoding: "async" });
    retryImage(picture);
    const link = el("a", { href: `#p=${image.guid}`, class: "tile", tabIndex: -1 }, picture);
    const element = el("li", { "data-guid": image.guid }, link);
    element.style.backgroundColor = averageColour(image.thumbhash);
    return { element, link, ratio: proportions(image.width, image.height), show: thumbnails(image, picture) };
}

/**
 * Shows an image's thumbnail: the small one, or the large one if that is nearer to the pixels of the screen. `srcset`
 * would do the same, but costs milliseconds for each thousand images whenever the window changes its width.
 * @param {Image} image
 * @param {HTMLImageElement} picture
 */
function thumbnails({ guid, width, height }, picture) {
    const longest = Math.max(width, height);
    const small = (width / longest) * SMALL;
    let shown = 0;
    return (/** @type {number} */ wide) => {
        const size = longest > SMALL && wide * devicePixelRatio > small * Math.SQRT2 ? LARGE : SMALL;
        if (size <= shown) return;
        shown = size;
        picture.src = `image/${guid}/thumbnail?size=${size}`;
    };
}

/**
 * Have an image asked for again, some seconds after it failed, as long as it is on the page. It is "lost" until then;
 * after the last try words stand in its place.
 * @param {HTMLImageElement} image
 */
export function retryImage(image) {
    let tries = 0;
    const words = el("span", { class: "words", "aria-hidden": "true" }, "No preview. Open it to see why.");
    image.addEventListener("load", () => {
        tries = 0;
        image.classList.remove("lost");
        words.remove();
    });
    image.addEventListener("error", async () => {
        const wait = RETRIES[tries++];
        image.classList.add("lost");
        if (wait === undefined) image.after(words);
        if (wait === undefined) return;
        const { src } = image;
        await pause(wait);
        // A list that is read anew has other tiles, and another picture may be here by now.
        if (src && image.isConnected && image.src === src) image.src = src;
    });
}

/**
 * Have arrow keys move the focus among the tiles in this element.
 * @param {HTMLElement} list
 */
export function moveByArrows(list) {
    list.addEventListener("focusin", (event) => {
        const link = event.target instanceof Element ? event.target.closest("a.tile") : null;
        if (link instanceof HTMLElement) rove(list, link);
    });
    list.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || !(event.target instanceof HTMLAnchorElement)) return;
        const links = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("a.tile")]);
        const index = links.indexOf(event.target);
        const step = STEPS[event.key];
        if (step === undefined || index < 0) return;
        event.preventDefault();
        const sideways = event.key === "ArrowRight" || event.key === "ArrowLeft";
        (sideways ? links[index + step] : inNextRow(links, index, step))?.focus();
    });
}

/** @type {WeakMap<HTMLElement, HTMLElement>} */
const reached = new WeakMap();

/** @param {HTMLElement} list */
export function roved(list) {
    return reached.get(list);
}

/**
 * Make this tile the one that Tab reaches.
 * @param {HTMLElement} list
 * @param {HTMLElement | null} link
 */
export function rove(list, link) {
    if (!link) return;
    Object.assign(reached.get(list) ?? {}, { tabIndex: -1 });
    reached.set(list, link);
    link.tabIndex = 0;
}

/**
 * The tile in the next row, up or down, that is nearest to this one.
 * @param {HTMLElement[]} links
 * @param {number} index
 * @param {number} step
 */
function inNextRow(links, index, step) {
    const from = links[index]?.getBoundingClientRect();
    let found;
    let [row, nearest] = [NaN, Infinity];
    for (let at = index + step; from && links[at]; at += step) {
        const { top, left, width } = /** @type {HTMLElement} */ (links[at]).getBoundingClientRect();
        if (Math.abs(top - from.top) < SAME_ROW) continue;
        if (Number.isNaN(row)) row = top;
        if (Math.abs(top - row) >= SAME_ROW) break;
        const distance = Math.abs(left + width / 2 - (from.left + from.width / 2));
        if (distance < nearest) [nearest, found] = [distance, links[at]];
    }
    return found;
}
