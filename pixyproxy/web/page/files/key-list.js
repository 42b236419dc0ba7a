// The list of keys, in a dialog, and the switch that WCAG 2.1.4 wants.

import { button, byId, el } from "./dom.js";
import { OFF } from "./keys.js";

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
    ["Delete", "Delete the open or focused picture, after a question"],
    ["?", "This list"],
];

/** Show the list of keys. */
export function showKeys() {
    // It may be opened from the menu, which closes.
    const from = document.activeElement?.closest("#account-menu") ? byId("account") : null;
    /** @type {HTMLInputElement} */
    const on = el("input", {
        type: "checkbox",
        checked: !localStorage.getItem(OFF),
        onchange: () => (on.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")),
    });
    const onclose = () => {
        dialog.remove();
        from?.focus();
    };
    /** @type {HTMLDialogElement} */
    const dialog = el(
        "dialog",
        { class: "keys", "aria-labelledby": "keys-title", onclose },
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
