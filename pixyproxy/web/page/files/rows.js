// Justified rows: pictures in their own proportions, in rows that are exactly as wide as the page.

/**
 * @typedef {{gap: number, height: number, square: number}} Layout
 *     CSS pixels between tiles and of a row; `square`: so many squares make a row, 0: tiles have their own proportions.
 * @typedef {{element: HTMLElement, link: HTMLElement, image: HTMLImageElement, ratio: number, widest: number}} Tile
 *     `widest`: the width of the picture in pixels, divided by its longest side.
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
 * Lay out tiles in complete rows, by shares of the width: a narrower window needs no script.
 * @param {Tile[]} tiles
 * @param {number} width CSS pixels
 * @param {Layout} layout
 * @param {boolean} whole whether the last row is laid out even if it is not complete
 * @returns {number} how many tiles were laid out: the others wait until their row is complete
 */
export function layOut(tiles, width, layout, whole) {
    let first = 0;
    let ratios = 0;
    for (let index = 0; index < tiles.length; index++) {
        ratios += ratioOf(tiles[index], layout);
        const count = index + 1 - first;
        const gaps = layout.gap * (count - 1);
        const full = layout.square ? count === layout.square : (width - gaps) / ratios <= layout.height;
        if (!full) continue;
        for (const tile of tiles.slice(first, index + 1))
            place(tile, ratioOf(tile, layout) / ratios, gaps, width, layout);
        first = index + 1;
        ratios = 0;
    }
    if (!whole) return first;
    const rest = tiles.slice(first);
    const gaps = layout.gap * ((layout.square || rest.length) - 1);
    const height = Math.min(layout.height, (width - gaps) / Math.max(ratios, 1e-9));
    for (const tile of rest) {
        const share = layout.square ? 1 / layout.square : (ratioOf(tile, layout) * height) / (width - gaps);
        place(tile, share, gaps, width, layout);
    }
    return tiles.length;
}

/**
 * @param {Tile | undefined} tile
 * @param {Layout} layout
 */
function ratioOf(tile, layout) {
    return layout.square || tile === undefined ? 1 : tile.ratio;
}

/**
 * @param {Tile} tile
 * @param {number} share of the row's width without its gaps
 * @param {number} gaps CSS pixels of all gaps of the row
 * @param {number} width
 * @param {Layout} layout
 */
function place(tile, share, gaps, width, layout) {
    // A hundredth of a pixel less: the sum of rounded widths must not exceed the row.
    tile.element.style.flexBasis = `calc((100% - ${gaps}px) * ${share.toFixed(6)} - 0.01px)`;
    tile.element.style.aspectRatio = String(ratioOf(tile, layout));
    tile.image.sizes = `${Math.ceil((width - gaps) * share * Math.max(1, tile.ratio / ratioOf(tile, layout)))}px`;
}

/**
 * The proportions of a tile. Very wide and very narrow pictures are cropped.
 * @param {number} width
 * @param {number} height
 */
export function proportions(width, height) {
    return { ratio: Math.min(3, Math.max(0.4, width / height)), widest: width / Math.max(width, height) };
}
