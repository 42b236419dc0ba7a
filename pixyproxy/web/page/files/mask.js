// Painting a mask: what is painted is to change. The result is a PNG of the picture's size, transparent where painted.

import { button, el } from "./dom.js";
import { dataUrlOf } from "./sources.js";

const COLOUR = "rgb(255 120 60)";
const KEYS = "Drag over it; or move with the arrow keys, and press Space to paint, or hold Shift.";
const EARLIER = `The mask that you have painted counts until you use another one. ${KEYS}`;
const SIZES = { least: 0.01, usual: 0.06, most: 0.3 };

/** Strokes on a canvas that has the picture's pixels. */
class Painter {
    painted = false;
    #brush = 0;
    #x;
    #y;

    /**
     * @param {number} width
     * @param {number} height
     */
    constructor(width, height) {
        this.canvas = el("canvas", {
            width,
            height,
            tabIndex: 0,
            role: "img",
            "aria-label": "The mask over the picture",
            onpointerdown: (/** @type {PointerEvent} */ event) => this.#onDown(event),
            onpointermove: (/** @type {PointerEvent} */ event) => this.#onMove(event),
            onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event),
        });
        this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
        this.#x = width / 2;
        this.#y = height / 2;
    }

    /** @param {number} share of the picture's width */
    resize(share) {
        this.#brush = Math.max(2, share * this.canvas.width);
    }

    clear() {
        this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
        this.painted = false;
    }

    /** The mask as a data: URL. */
    async mask() {
        const { width, height } = this.canvas;
        const whole = el("canvas", { width, height });
        const context = /** @type {CanvasRenderingContext2D} */ (whole.getContext("2d"));
        context.fillRect(0, 0, width, height);
        context.globalCompositeOperation = "destination-out";
        context.drawImage(this.canvas, 0, 0);
        /** @type {Blob | null} */
        const blob = await new Promise((resolve) => {
            whole.toBlob(resolve, "image/png");
        });
        if (blob === null) throw new Error("The browser made no PNG.");
        return dataUrlOf(blob);
    }

    /** @param {PointerEvent} event */
    #onDown(event) {
        this.canvas.setPointerCapture(event.pointerId);
        [this.#x, this.#y] = this.#at(event);
        this.#lineTo(this.#x, this.#y);
    }

    /** @param {PointerEvent} event */
    #onMove(event) {
        if (event.buttons & 1) this.#lineTo(...this.#at(event));
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        const [right, down] = {
            ArrowLeft: [-1, 0],
            ArrowRight: [1, 0],
            ArrowUp: [0, -1],
            ArrowDown: [0, 1],
            " ": [0, 0],
        }[event.key] ?? [NaN, NaN];
        if (Number.isNaN(right)) return;
        event.preventDefault();
        event.stopPropagation();
        const [x, y] = [this.#x + (right * this.#brush) / 2, this.#y + (down * this.#brush) / 2];
        if (event.key === " " || event.shiftKey) this.#lineTo(x, y);
        [this.#x, this.#y] = [x, y];
        this.canvas.style.setProperty("--x", `${(100 * x) / this.canvas.width}%`);
        this.canvas.style.setProperty("--y", `${(100 * y) / this.canvas.height}%`);
    }

    /**
     * The pixel below a pointer.
     * @param {PointerEvent} event
     * @returns {[number, number]}
     */
    #at(event) {
        const { left, top, width, height } = this.canvas.getBoundingClientRect();
        return [
            ((event.clientX - left) / width) * this.canvas.width,
            ((event.clientY - top) / height) * this.canvas.height,
        ];
    }

    /**
     * @param {number} x
     * @param {number} y
     */
    #lineTo(x, y) {
        const { context } = this;
        Object.assign(context, { strokeStyle: COLOUR, lineWidth: this.#brush, lineCap: "round", lineJoin: "round" });
        context.beginPath();
        context.moveTo(this.#x, this.#y);
        context.lineTo(x, y);
        context.stroke();
        [this.#x, this.#y] = [x, y];
        this.painted = true;
    }
}

/**
 * Have a mask painted over a picture.
 * @param {{source: string, preview: string, width: number, height: number}} picture
 * @param {boolean} masked whether it has a mask
 * @returns {Promise<string | null | undefined>} a data: URL; null: no mask; undefined: nothing was changed
 */
export function paintMask({ source, preview, width, height }, masked) {
    const painter = new Painter(width, height);
    const original = preview.startsWith("blob:") ? preview : `image/${source}/content`;
    const picture = el("img", { src: original, alt: "", width, height });
    const size = el("input", {
        type: "range",
        min: String(SIZES.least),
        max: String(SIZES.most),
        step: "0.005",
        value: String(SIZES.usual),
        oninput: () => painter.resize(Number(size.value)),
    });
    return new Promise((resolve, reject) => {
        /** @type {string | null | undefined} */
        let result;
        const dialog = el("dialog", {
            class: "mask",
            "aria-labelledby": "mask-title",
            onclose: () => {
                dialog.remove();
                resolve(result);
            },
        });
        const words = el("p", { class: "facts", role: "status" }, masked ? EARLIER : KEYS);
        const finish = async (/** @type {boolean} */ used) => {
            if (used && !painter.painted) {
                words.textContent = `Nothing is painted yet. ${KEYS}`;
                painter.canvas.focus();
                return;
            }
            try {
                result = used ? await painter.mask() : null;
            } catch (error) {
                reject(error);
            }
            dialog.close();
        };
        dialog.append(
            el("h2", { id: "mask-title" }, "Paint what is to change"),
            el(
                "p",
                {},
                "Your prompt says what comes there. The rest of the picture stays, as far as the model keeps to it.",
            ),
            words,
            el("div", { class: "easel" }, picture, painter.canvas),
            el(
                "div",
                { class: "buttons" },
                el("label", {}, "Size of the brush", size),
                button("Start over", () => painter.clear()),
                button("Cancel", () => dialog.close()),
                masked ? button("Remove the mask", () => finish(false)) : null,
                button("Use this mask", () => finish(true), { class: "main" }),
            ),
        );
        painter.resize(SIZES.usual);
        document.body.append(dialog);
        dialog.showModal();
        painter.canvas.focus();
    });
}
