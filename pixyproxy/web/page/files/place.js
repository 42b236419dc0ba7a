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
        let [begin, end] = [0, shown.length];
        while (end - begin > 1) {
            const middle = (begin + end) >> 1;
            if (shown[middle] && isAbove(shown[middle].element)) begin = middle;
            else end = middle;
        }
        const start = shown[begin];
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

/** Whether a tile begins above the window; one far away is not laid out for this. @param {HTMLElement} element */
function isAbove(element) {
    const list = element.parentElement?.getBoundingClientRect();
    return !!list && list.top <= 0 && (list.bottom <= 0 || topOf(element) <= 0);
}

/** @param {HTMLElement} element */
function topOf(element) {
    return element.getBoundingClientRect().top;
}
