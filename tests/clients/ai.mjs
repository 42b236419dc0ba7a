// What applications do with the AI SDK. BASE, KEY: the service. Prints JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";

const options = { baseURL: process.env.BASE, apiKey: process.env.KEY };
const providers = [createOpenAI(options).image, createOpenAICompatible({ name: "pixyproxy", ...options }).imageModel];
const seen = [];
for (const model of providers) {
    for (const n of [1, 2]) {
        const { images } = await generateImage({ model: model("gpt-image-2"), prompt: "two foxes, woodcut", n });
        seen.push(images.map((image) => [image.mediaType, image.base64]));
    }
}
console.log(JSON.stringify(seen));
