// Where the person is in the gallery: a reload begins with the page that is on screen.

/** @typedef {{query: string, mine: boolean}} Filter */

const NAME = "place";

export class Place {
    /** Where pages begin. @type {{cursor: string, element: HTMLElement}[]} */
    #starts = [];
    #cursor = "";

    /** What was kept. @returns {Filter & {cursor: string, below: number}} */
    static read() {
        return { query: "", mine: false, cursor: "", below: 0, ...JSON.parse(sessionStorage.getItem(NAME) ?? "{}") };
    }

    /** @param {string} cursor of the first page */
    begin(cursor) {
        this.#cursor = cursor;
        this.#starts = [];
    }

    /**
     * A page begins with this tile.
     * @param {string} cursor
     * @param {HTMLElement} element
     */
    add(cursor, element) {
        this.#starts.push({ cursor, element });
    }

    /**
     * Keep which page is on screen, and how far its beginning is above the window.
     * @param {Filter} filter
     */
    keep(filter) {
        const start = this.#starts.filter(({ element }) => element.isConnected && topOf(element) <= 0).at(-1);
        const below = start ? -Math.round(topOf(start.element)) : 0;
        sessionStorage.setItem(NAME, JSON.stringify({ ...filter, cursor: start?.cursor ?? this.#cursor, below }));
    }
}

/** @param {HTMLElement} element */
function topOf(element) {
    return element.getBoundingClientRect().top;
}
