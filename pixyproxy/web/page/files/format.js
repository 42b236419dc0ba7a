// Facts in words: days, numbers, colours, and what a problem means for the person who asked.

import { serverNow } from "./api.js";

const DAY = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const DAY_OF_YEAR = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", year: "numeric" });
const NUMBER = new Intl.NumberFormat("en");

/**
 * The day of a moment, for a heading: "Today", "Yesterday", "Friday, November 27".
 * @param {string} moment
 */
export function dayOf(moment) {
    const date = new Date(moment);
    const now = new Date(serverNow());
    const days = Math.round((startOfDay(now) - startOfDay(date)) / 86_400_000);
    if (days === 0) return "Today";
    if (days === 1) return "Yesterday";
    return (date.getFullYear() === now.getFullYear() ? DAY : DAY_OF_YEAR).format(date);
}

/** @param {Date} date */
function startOfDay(date) {
    return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/**
 * Seconds since a moment by the service's clock, as minutes and seconds.
 * @param {string} moment
 */
export function elapsedSince(moment) {
    return clockOf(serverNow() - Date.parse(moment));
}

/** Milliseconds as minutes and seconds. @param {number} milliseconds */
export function clockOf(milliseconds) {
    const seconds = Math.max(0, Math.floor(milliseconds / 1000));
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** @param {number} count */
export function number(count) {
    return NUMBER.format(count);
}

/** "1024x1536" as people write it. @param {string} value */
export function size(value) {
    return value.replace("x", " × ");
}

/**
 * What a failure has cost, as a sentence.
 * @param {string | null | undefined} cost
 */
export function costOf(cost) {
    if (cost === "none") return "Nothing was billed.";
    if (cost === "billed") return "It was billed.";
    if (cost === "unknown") return "It may have been billed: asking again buys a second picture.";
    return "";
}

/**
 * The beginning of a prompt, for names and announcements.
 * @param {string} prompt
 * @param {number} [length]
 */
export function beginningOf(prompt, length = 200) {
    const characters = [...prompt];
    return characters.length > length ? `${characters.slice(0, length - 1).join("")}…` : prompt;
}

/**
 * The average colour of a ThumbHash, which its first bytes hold (evanw.github.io/thumbhash): six bits each of
 * lightness, yellow-blue and red-green.
 * @param {string | null} thumbhash in base64
 */
export function averageColour(thumbhash) {
    if (!thumbhash) return "";
    const [first = 0, second = 0, third = 0] = Array.from(atob(thumbhash).slice(0, 3), (byte) => byte.charCodeAt(0));
    const header = first | (second << 8) | (third << 16);
    const lightness = (header & 63) / 63;
    const yellowBlue = ((header >> 6) & 63) / 31.5 - 1;
    const redGreen = ((header >> 12) & 63) / 31.5 - 1;
    const blue = lightness - (2 / 3) * yellowBlue;
    const red = (3 * lightness - blue + redGreen) / 2;
    const parts = [red, red - redGreen, blue].map((part) => Math.round(255 * Math.min(1, Math.max(0, part))));
    return `rgb(${parts.join(" ")})`;
}
