// The window's width or its screen changes: what is at its top stays there, and if need be rows are packed anew.

import { pause } from "./dom.js";
import { covered } from "./head.js";
import { layoutFor } from "./rows.js";

/** @typedef {import("./days.js").Days} Days */

/** Rows grow and shrink with the window by this factor before they are packed anew. */
const STRETCH = 1.28;
/** Lists before and after the top of the window that are sized at once. */
const NEAR = 2;

/**
 * From now on the width and the density of the screen may change.
 * @param {Days} days
 * @param {number} density device pixels of a CSS pixel that thumbnails were chosen for
 */
export function keepTop(days, density) {
    let width = days.element.clientWidth;
    let seen = topOf(days);
    const onScroll = () => {
        // Else the browser scrolls, since the page is shorter at another width.
        if (days.element.clientWidth === width) seen = topOf(days);
    };
    const onChange = () => {
        const now = days.element.clientWidth;
        if (!now) return;
        if (now !== width) restore(seen);
        width = now;
        // At more pixels thumbnails may be too small; larger ones than needed can stay.
        if (isOf(days.width, width) && devicePixelRatio <= density) return;
        density = Math.max(density, devicePixelRatio);
        packAnew(days, seen);
    };
    addEventListener("scroll", onScroll, { passive: true });
    new ResizeObserver(onChange).observe(days.element);
    watchDensity(onChange);
}

/** @param {() => void} onChange */
function watchDensity(onChange) {
    const changed = () => {
        onChange();
        watchDensity(onChange);
    };
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", changed, { once: true });
}

/** @typedef {{element: HTMLElement, part: number} | null} Seen a tile, and how much of its height is above the line */

/**
 * What is at the top of the window. Nothing, if all pictures are further down.
 * @param {Days} days
 * @returns {Seen}
 */
function topOf(days) {
    const line = covered();
    const lists = days.lists;
    const list = firstBelow(lists, line);
    const tile =
        list &&
        firstBelow(
            list.rows.flatMap(({ tiles }) => tiles),
            line,
        );
    if (!tile) return null;
    const { top, height } = tile.element.getBoundingClientRect();
    return list === lists[0] && top >= line ? null : { element: tile.element, part: (line - top) / height };
}

/**
 * The first one that ends below this line.
 * @template {{element: HTMLElement}} Boxed
 * @param {Boxed[]} boxes from top to bottom
 * @param {number} line
 */
function firstBelow(boxes, line) {
    let [begin, end] = [0, boxes.length];
    while (begin < end) {
        const middle = (begin + end) >> 1;
        if ((boxes[middle]?.element.getBoundingClientRect().bottom ?? 0) > line) end = middle;
        else begin = middle + 1;
    }
    return boxes[begin];
}

/** @param {Seen} seen */
function restore(seen) {
    if (!seen?.element.isConnected) return;
    const { top, height } = seen.element.getBoundingClientRect();
    scrollBy({ top: top + seen.part * height - covered(), behavior: "instant" });
}

/**
 * Whether rows that are packed for a width are good for another one.
 * @param {number} packed
 * @param {number} width
 */
function isOf(packed, width) {
    const [before, after] = [layoutFor(packed), layoutFor(width)];
    const same = before.square === after.square && before.height === after.height;
    return !packed || (same && Math.max(width / packed, packed / width) < STRETCH);
}

/**
 * @param {Days} days
 * @param {Seen} seen
 */
async function packAnew(days, seen) {
    const focused = document.activeElement;
    while (seen?.element.matches(".gone")) {
        const next = seen.element.nextElementSibling;
        seen = next instanceof HTMLElement ? { element: next, part: 0 } : null;
    }
    days.packAnew(days.element.clientWidth);
    const lists = days.lists;
    const at = lists.findIndex(({ element }) => seen && element.contains(seen.element));
    for (const list of lists.slice(Math.max(0, at - NEAR), Math.max(0, at) + NEAR + 1)) list.place();
    restore(seen);
    if (focused instanceof HTMLElement && focused !== document.activeElement) focused.focus({ preventScroll: true });
    for (const list of lists)
        list.element.addEventListener("contentvisibilityautostatechange", () => list.place(), { once: true });
    for (const list of lists) if (list.place()) await pause();
}
