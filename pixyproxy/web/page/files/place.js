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
     * Keep which page is on screen, and where its beginning is.
     * @param {Filter} filter
     */
    keep(filter) {
        const shown = this.#starts.filter(({ element }) => element.isConnected);
        const start = shown.filter(({ element }) => topOf(element) <= 0).at(-1) ?? shown[0];
        const below = start ? -Math.round(topOf(start.element)) : 0;
        sessionStorage.setItem(NAME, JSON.stringify({ ...filter, cursor: start?.cursor ?? this.#cursor, below }));
    }

    /**
     * Scroll to where the person was; whether there is enough to scroll.
     * @param {number} below
     */
    scrollTo(below) {
        const [first] = this.#starts;
        if (!first || below === 0) return true;
        const wanted = topOf(first.element) + scrollY + below;
        scrollTo(0, wanted);
        return scrollY >= wanted - 1 || wanted < 0;
    }
}

/** @param {HTMLElement} element */
function topOf(element) {
    return element.getBoundingClientRect().top;
}
