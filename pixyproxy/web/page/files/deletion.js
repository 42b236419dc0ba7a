// Deleting pictures, one after the other.

import { Problem, ask } from "./api.js";
import { say, tell } from "./dom.js";

/**
 * Delete pictures until one cannot be deleted; what happened is said.
 * @param {Set<string>} guids
 * @param {(guid: string) => void} gone called for each that does not exist any more
 */
export async function deleteImages(guids, gone) {
    let count = 0;
    tell("");
    for (const guid of guids) {
        try {
            await ask(`image/${guid}`, { method: "DELETE" });
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            if (error.name !== "image-not-found") {
                tell(`${error.message} ${guids.size - count} of ${guids.size} were not deleted.`);
                return;
            }
        }
        count++;
        gone(guid);
    }
    say(count === 1 ? "The picture is deleted." : `${count} pictures are deleted.`);
}
