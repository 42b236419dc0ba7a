// Logging in: by the code in the address, or by the key, typed once. Neither is kept by the page.

import { Problem, ask, askJson } from "./api.js";
import { el, tell } from "./dom.js";

/** @typedef {import("./api.js").Session} Session */

/**
 * Log in by the code in the fragment, and remove it from the address; null if there is none. A code that was
 * used already does not end the session that there is.
 * @returns {Promise<Session | null>}
 */
export async function logInByCode() {
    const code = /^#code=(.+)$/.exec(location.hash)?.[1];
    if (!code) return null;
    history.replaceState(null, "", "#");
    try {
        return await askJson("session", { method: "POST", json: { code } });
    } catch (error) {
        if (!(error instanceof Problem) || error.name !== "login-code") throw error;
        return askJson("session").catch(() => {
            throw error;
        });
    }
}

/**
 * Ask for the key until it is right, or until a code comes into the address. What is on the page stays.
 * @param {Problem} reason
 * @returns {Promise<Session>}
 */
export function askToLogIn(reason) {
    const key = el("input", {
        type: "password",
        name: "key",
        autocomplete: "current-password",
        required: true,
        spellcheck: false,
        "aria-describedby": "login-words",
    });
    const words = el(
        "p",
        { id: "login-words", role: "alert" },
        reason.name === "authentication" || (reason.status === 401 && reason.name !== "login-code")
            ? ""
            : reason.message,
    );
    return new Promise((resolve) => {
        const listening = new AbortController();
        /**
         * @param {Promise<Session | null>} answer
         * @param {string} [refusal] words for a 401
         */
        const logIn = async (answer, refusal) => {
            try {
                const session = await answer;
                if (!session) return;
                listening.abort();
                dialog.close();
                dialog.remove();
                resolve(session);
            } catch (error) {
                if (!(error instanceof Problem)) throw error;
                words.textContent = (error.status === 401 && refusal) || error.message;
                key.select();
            }
        };
        const submit = (/** @type {Event} */ event) => {
            event.preventDefault();
            const answer = askJson("session", { method: "POST", json: { key: key.value.trim() } });
            return logIn(answer, "This key is wrong, or it was revoked.");
        };
        addEventListener("hashchange", () => logIn(logInByCode()), listening);
        /** @type {HTMLDialogElement} */
        const dialog = el(
            "dialog",
            {
                class: "login",
                "aria-labelledby": "login-title",
                oncancel: (/** @type {Event} */ event) => event.preventDefault(),
                // A browser lets nobody keep a dialog open for ever: the second Esc closes it.
                onclose: () => dialog.isConnected && dialog.showModal(),
            },
            el(
                "form",
                { onsubmit: submit },
                el("h2", { id: "login-title" }, "PixyProxy"),
                el(
                    "p",
                    {},
                    "Every picture that you have drawn, kept in your own storage, at an address that does not expire.",
                ),
                words,
                // For password managers, which keep a name with each key.
                el("input", { type: "text", autocomplete: "username", value: "PixyProxy", hidden: true }),
                el("label", {}, "API key", key),
                el("button", { type: "submit", class: "main" }, "Log in"),
                el(
                    "p",
                    { class: "facts" },
                    "Or run ",
                    el("code", {}, "pixyproxy login"),
                    " where the service runs, and open the address that it prints.",
                ),
            ),
        );
        document.body.append(dialog);
        dialog.showModal();
        key.focus();
    });
}

/** End the session, here and on every replica, and forget what this tab kept. If that fails the page stays. */
export async function logOut() {
    try {
        await ask("session", { method: "DELETE" });
    } catch (error) {
        if (!(error instanceof Problem)) throw error;
        tell(`You are still logged in. ${error.message}`);
        return;
    }
    sessionStorage.clear();
    location.replace(location.pathname);
}
