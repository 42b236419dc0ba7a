// Edits with the openai package. CLIENT: its version's name; BASE, KEY: the service; PICTURE: a file. Prints JSON.
import { createReadStream, readFileSync } from "node:fs";
const { default: OpenAI, toFile } = await import(process.env.CLIENT);
const client = new OpenAI({ baseURL: process.env.BASE, apiKey: process.env.KEY, maxRetries: 0 });
const prompt = "two foxes, woodcut";
const path = process.env.PICTURE;
const stream = () => createReadStream(path);
const file = async () => toFile(readFileSync(path), "a.png", { type: "image/png" });
const drawn = await client.images.generate({ prompt });
const seen = {};

seen.file_first = await client.images.edit({ image: stream(), prompt });
seen.list_of_one = await client.images.edit({ image: [stream()], prompt });
seen.list_of_two = await client.images.edit({ image: [stream(), await file()], prompt, n: 2, size: "1024x1024" });
const overlays = { mask: await file(), markup: await file() };
seen.masked = await client.images.edit({ prompt, image: await file(), ...overlays, input_fidelity: "high" });
seen.stored = await client.images.edit({ image: drawn.data[0].pixyproxy.guid, prompt });
seen.events = [];
if (process.env.CLIENT !== "openai-4") { // it knows no streams of images
    for await (const event of await client.images.edit({ image: stream(), prompt, stream: true, partial_images: 1 })) {
        seen.events.push(event.type);
    }
}
seen.errors = [];
for (const call of [
    async () => client.images.edit({ image: await toFile(Buffer.alloc(5_000_000, "a text "), "a.png"), prompt }),
    async () => client.images.edit({ image: "https://elsewhere.example/a.png", prompt }),
    async () => client.images.edit({ image: stream(), prompt, n: 11 }),
]) {
    try {
        await call();
    } catch (error) {
        seen.errors.push([error.constructor.name, error.status, error.code, error.param]);
    }
}
console.log(JSON.stringify(seen));
