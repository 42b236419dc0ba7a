// Keys: what each does, a dialog that lists them, and a switch, as WCAG 2.1.4 wants it.

import { button, el } from "./dom.js";

const OFF = "keys-off";
const LIST = [
    ["/", "Search"],
    ["n", "Write a prompt"],
    ["Ctrl Enter", "Make"],
    ["← → ↑ ↓", "From a picture to others; newer and older picture"],
    ["Enter", "Open"],
    ["Esc", "Close"],
    ["c", "Copy the URL of the open picture"],
    ["p", "Copy its prompt"],
    ["d", "Download it"],
    ["e", "Use it as input"],
    ["Delete", "Delete it, after a question"],
    ["?", "This list"],
];

/**
 * Listen to single keys.
 * @param {Record<string, () => unknown>} actions of the page
 * @param {() => import("./picture.js").Picture | null} openPicture
 */
export function listenToKeys(actions, openPicture) {
    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
        const { target } = event;
        if (target instanceof HTMLElement && target.matches("input, textarea, select, canvas, [contenteditable]"))
            return;
        if (localStorage.getItem(OFF) && event.key.length === 1) return;
        const picture = openPicture();
        const done = picture
            ? picture.press(event.key)
            : !document.querySelector("dialog[open]") && event.key in actions;
        if (!done) return;
        event.preventDefault();
        if (!picture) actions[event.key]?.();
    });
}

/** Show the list of keys. */
export function showKeys() {
    /** @type {HTMLInputElement} */
    const on = el("input", {
        type: "checkbox",
        checked: !localStorage.getItem(OFF),
        onchange: () => (on.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")),
    });
    /** @type {HTMLDialogElement} */
    const dialog = el(
        "dialog",
        { class: "keys", "aria-labelledby": "keys-title", onclose: () => dialog.remove() },
        el("h2", { id: "keys-title" }, "Keyboard"),
        el(
            "dl",
            {},
            ...LIST.map(([key, words]) =>
                el("div", {}, el("dt", {}, el("kbd", {}, key ?? "")), el("dd", {}, words ?? "")),
            ),
        ),
        el("label", {}, on, "Single keys work"),
        el(
            "div",
            { class: "buttons" },
            button("Close", () => dialog.close(), { class: "main" }),
        ),
    );
    document.body.append(dialog);
    dialog.showModal();
}
