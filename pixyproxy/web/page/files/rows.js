// Justified rows: pictures in their own proportions, in rows that are exactly as wide as the page.

import { el } from "./dom.js";

/**
 * @typedef {{gap: number, height: number, square: number}} Layout
 *     CSS pixels between tiles and of a row; `square`: so many squares make a row, 0: tiles have their own proportions.
 * @typedef {{element: HTMLElement, link: HTMLElement, ratio: number, show: (width: number) => void}} Tile
 *     `show` has its picture loaded for a width in CSS pixels.
 * @typedef {{tiles: Tile[], gaps: number, sum: number, complete: boolean, place: (() => void) | null}} Row
 *     `gaps`: CSS pixels; the rest of the width divided by `sum` is the height; `place` sizes tiles without a size.
 */

/**
 * The layout of a page that is this wide.
 * @param {number} width CSS pixels
 * @returns {Layout}
 */
export function layoutFor(width) {
    return width < 600 ? { gap: 3, height: 0, square: 3 } : { gap: 6, height: width < 1000 ? 170 : 210, square: 0 };
}

/**
 * All rows but the last one are complete.
 * @param {Tile[]} tiles
 * @param {number} width CSS pixels
 * @returns {Row[]}
 */
export function rowsOf(tiles, width) {
    const { gap, height, square } = layoutFor(width);
    /** @type {Row[]} */
    const rows = [];
    let first = 0;
    let sum = 0;
    for (let next = 1; next <= tiles.length; next++) {
        sum += square ? 1 : (tiles[next - 1]?.ratio ?? 1);
        const count = next - first;
        let gaps = gap * (count - 1);
        const complete = square ? count === square : (width - gaps) / sum <= height;
        if (!complete && next < tiles.length) continue;
        if (!complete && square) gaps = gap * (square - 1);
        if (!complete) sum = square || (width - gaps) / height;
        /** @type {Row} */
        const row = { tiles: tiles.slice(first, next), gaps, sum, complete, place: null };
        row.place = () => place(row, width, square > 0);
        rows.push(row);
        [first, sum] = [next, 0];
    }
    return rows;
}

/**
 * Size the tiles of a row, by shares of the width: a narrower window needs no script.
 * @param {Row} row
 * @param {number} width CSS pixels
 * @param {boolean} square
 */
function place({ tiles, gaps, sum }, width, square) {
    for (const { element, ratio, show } of tiles) {
        const shown = square ? 1 : ratio;
        // A hundredth of a pixel less: the sum of rounded widths must not exceed the row.
        element.style.flexBasis = `calc((100% - ${gaps}px) * ${(shown / sum).toFixed(6)} - 0.01px)`;
        element.style.aspectRatio = String(shown);
        show(((width - gaps) / sum) * Math.max(shown, ratio));
    }
}

/** Rows whose height is known without their content. */
export class List {
    element;
    /** @type {Row[]} */
    rows = [];

    /** @param {string} heading its id */
    constructor(heading) {
        this.element = el("ol", { "aria-labelledby": heading });
    }

    get size() {
        return this.rows.reduce((count, { tiles }) => count + tiles.length, 0);
    }

    /**
     * Take these rows.
     * @param {Row[]} rows
     * @param {number} gap
     */
    hold(rows, gap) {
        this.rows = rows;
        let next = this.element.firstChild;
        let [widths, pixels] = [0, -gap];
        for (const { tiles, sum, gaps } of rows) {
            widths += 1 / sum;
            pixels += gap - gaps / sum;
            for (const { element } of tiles) {
                if (element === next) next = next.nextSibling;
                else this.element.insertBefore(element, next);
            }
        }
        this.element.style.height = `calc(${(100 * widths).toFixed(4)}cqw + ${pixels.toFixed(2)}px)`;
    }

    /** Give up the places of deleted pictures. */
    close() {
        for (const row of this.rows) row.tiles = row.tiles.filter(({ element }) => !element.matches(".gone"));
        for (const gone of this.element.querySelectorAll(".gone")) gone.remove();
    }

    /** Size its tiles; whether some had no size yet. */
    place() {
        const rows = this.rows.filter((row) => row.place);
        for (const row of rows) {
            row.place?.();
            row.place = null;
        }
        return rows.length > 0;
    }
}

/**
 * The proportions of a tile. Very wide and very narrow pictures are cropped.
 * @param {number} width
 * @param {number} height
 */
export function proportions(width, height) {
    return Math.min(3, Math.max(0.4, width / height));
}
