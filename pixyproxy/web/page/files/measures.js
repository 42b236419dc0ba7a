// Measures in words, for what is loaded when it is used: moments, durations, sizes, tokens.

import { dayOf } from "./format.js";

const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/**
 * Day and time of day.
 * @param {string} moment
 */
export function momentOf(moment) {
    return `${dayOf(moment)}, ${CLOCK.format(new Date(moment))}`;
}

/** @param {number | null} seconds */
export function duration(seconds) {
    if (seconds === null || seconds === undefined) return "–";
    return seconds < 10
        ? `${seconds.toFixed(1)} s`
        : seconds < 120
          ? `${Math.round(seconds)} s`
          : `${Math.round(seconds / 60)} min`;
}

/** @param {number} count */
export function bytes(count) {
    if (count < 1000) return `${count} B`;
    return count < 1e6 ? `${Math.round(count / 1000)} KB` : `${(count / 1e6).toFixed(1)} MB`;
}

/**
 * The tokens of an upstream's usage; null if it says none.
 * @param {Record<string, any> | null} usage
 */
export function tokens(usage) {
    return typeof usage?.total_tokens === "number" ? usage.total_tokens : null;
}

/** "image/png" as people call it. @param {string} contentType */
export function typeName(contentType) {
    return contentType.split("/").at(-1)?.toUpperCase().replace("WEBP", "WebP") ?? contentType;
}
