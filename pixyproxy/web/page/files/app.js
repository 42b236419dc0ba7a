// Begins the page: who is logged in.

import { Problem, askJson } from "./api.js";
import { byId, el, pause, tell } from "./dom.js";
import { listenToKeys } from "./keys.js";
import { askToLogIn, logInByCode, logOut } from "./login.js";
import { Page } from "./page.js";

/** @typedef {import("./api.js").Session} Session */

/** @returns {Promise<Session>} */
async function logIn() {
    try {
        return (await logInByCode()) ?? (await askJson("session"));
    } catch (error) {
        if (!(error instanceof Problem)) throw error;
        return askToLogIn(error);
    }
}

/** Wait while a dialog shows a secret, or may show one at once: the card would cover what exists nowhere else. */
async function secretsKept() {
    while (document.querySelector("dialog.form[open]:is(.secret, [aria-busy])")) await pause(200);
}

async function start() {
    const page = new Page(await logIn());
    byId("show-keys").addEventListener("click", () => page.showKeys());
    byId("log-out").addEventListener("click", logOut);
    listenToKeys((event) => page.press(event));
    let asking = false;
    addEventListener("loggedout", async () => {
        if (asking) return;
        asking = true;
        await secretsKept();
        const detail = "The session has ended, or its key was revoked. What you typed is kept.";
        const session = await askToLogIn(new Problem({ type: "session-ended", detail }));
        asking = false;
        await page.resume(session);
    });
    addEventListener("hashchange", async () => {
        if (asking) return; // the card does it
        try {
            const session = await logInByCode();
            if (session) await page.resume(session);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            tell(error.message);
        }
    });
    await page.open();
}

start().catch((error) => {
    byId("main").replaceChildren(el("p", { class: "card" }, `The page cannot start: ${error.message}`));
});
