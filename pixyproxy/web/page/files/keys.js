// Single keys, which can be switched off; and arrows, where nothing has the focus.

import { covered } from "./head.js";

export const OFF = "keys-off";

/**
 * Listen to keys outside of fields.
 * @param {(event: KeyboardEvent) => unknown} press does what a key does; whether it is one of ours
 */
export function listenToKeys(press) {
    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
        const { target } = event;
        if (target instanceof HTMLElement && target.matches("input, textarea, select, canvas, [contenteditable]"))
            return;
        if (localStorage.getItem(OFF) && event.key.length === 1) return;
        if (press(event)) event.preventDefault();
    });
}

/** Give the focus to the first picture of the gallery that is in sight; whether there is one. */
export function focusFirstInSight() {
    const top = covered();
    const inSight = [...document.querySelectorAll("#gallery a.tile")].find((tile) => {
        const box = tile.getBoundingClientRect();
        return box.height > 0 && box.top >= top && box.top < innerHeight;
    });
    if (inSight instanceof HTMLElement) inSight.focus();
    return inSight !== undefined;
}
