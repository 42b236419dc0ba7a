// Elements, and what the page says to a screen reader. Text only ever becomes text: a prompt cannot become markup.

/**
 * An element with these properties and children. `class`, `aria-*`, `data-*` and `role` are attributes, `on*` are
 * listeners, everything else is a property of the element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, props = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
        if (value === null || value === undefined) continue;
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (/^(class|for|role|aria-.*|data-.*|popovertarget)$/.test(name))
            element.setAttribute(name, String(value));
        else Object.assign(element, { [name]: value });
    }
    element.append(...children.filter((child) => child !== null));
    return element;
}

/**
 * The element with this id, which index.html has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
    const found = document.getElementById(id);
    if (found === null) throw new Error(`index.html has no #${id}`);
    return found;
}

/**
 * A button.
 * @param {string} text
 * @param {(event: MouseEvent) => unknown} onclick
 * @param {Record<string, any>} [props]
 */
export function button(text, onclick, props = {}) {
    return el("button", { type: "button", onclick, ...props }, text);
}

/** The one live region. @type {HTMLElement | null} */
let region = null;

/**
 * Have a screen reader say this when it has a pause.
 * @param {string} text
 */
export function say(text) {
    region ??= byId("said");
    // What is outside of an open dialog cannot be perceived.
    const place = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
    if (region.parentElement !== place) place.append(region);
    // The same words again are said again only if the region changes.
    region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/**
 * Show and say something that concerns the whole page, until something else is told; nothing: hide it.
 * @param {string} words
 */
export function tell(words) {
    const banner = byId("banner");
    banner.textContent = words;
    banner.hidden = !words;
    if (words) say(words);
}

/**
 * Copy a text. Only secure contexts have a clipboard; elsewhere a selected text field is copied from. It is an error if
 * the browser refuses.
 * @param {string} text
 */
export async function copy(text) {
    if (navigator.clipboard) {
        await navigator.clipboard.writeText(text);
        return;
    }
    const focused = document.activeElement;
    const field = el("textarea", { value: text, class: "unseen", readOnly: true });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
    if (!copied) throw new Error("The browser does not let this page copy.");
}

/** 128 random bits in hexadecimal. `crypto.randomUUID` exists only in secure contexts. */
export function randomName() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join(
        "",
    );
}

/** Whether the person asked for less motion. */
export function motionReduced() {
    return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Wait.
 * @param {number} [milliseconds]
 * @returns {Promise<void>}
 */
export function pause(milliseconds = 0) {
    return new Promise((resolve) => {
        setTimeout(resolve, milliseconds);
    });
}

/** The styles of what is loaded when it is used. @type {Map<string, Promise<Event>>} */
const styles = new Map();

/** @param {string} name */
function loadStyle(name) {
    const loaded = new Promise((onload, onerror) => {
        const { href } = new URL(name, import.meta.url);
        document.head.append(el("link", { rel: "stylesheet", href, onload, onerror }));
    });
    styles.set(name, loaded);
    return loaded;
}

/**
 * A module that is loaded when it is used, with the style of all that are, and with one of its own; undefined if the
 * service has another version of it by now, which is told.
 * @template Module
 * @param {Promise<Module>} module
 * @param {string[]} own names of files
 */
export async function load(module, ...own) {
    try {
        await Promise.all(["late.css", ...own].map((name) => styles.get(name) ?? loadStyle(name)));
        return await module;
    } catch {
        tell("This page is of another version than the service. Load it again.");
        return undefined;
    }
}
