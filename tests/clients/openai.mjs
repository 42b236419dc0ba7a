// What applications do with the openai package. CLIENT: its version's name; BASE, KEY: the service. Prints JSON.
const { default: OpenAI } = await import(process.env.CLIENT);
const client = new OpenAI({ baseURL: process.env.BASE, apiKey: process.env.KEY, maxRetries: 0 });
const prompt = "two foxes, woodcut";
const seen = {};

seen.bare = await client.images.generate({ prompt });
seen.nulls = await client.images.generate({ prompt, model: null, n: null, size: null, quality: null, style: null, stream: null });
seen.all = await client.images.generate({
    prompt, model: "gpt-image-2", n: 1, size: "auto", quality: "hd", background: "auto", moderation: "low", style: "vivid",
    output_format: "webp", output_compression: 50, user: "u", safety_identifier: "s", response_format: "b64_json", stream: false,
});
seen.three = await client.images.generate({ prompt, n: 3, response_format: "url" });
seen.events = [];
for (const partial_images of process.env.CLIENT === "openai-4" ? [] : [0, 3]) { // version 4 knows no streams of images
    const names = [];
    for await (const event of await client.images.generate({ prompt, stream: true, partial_images })) {
        names.push([event.type, event.b64_json.length > 0, event.usage?.total_tokens ?? null]);
    }
    seen.events.push(names);
}
seen.errors = [];
const wrong = new OpenAI({ baseURL: process.env.BASE, apiKey: "sk-other", maxRetries: 0 });
for (const call of [
    () => client.images.generate({ prompt, n: 11 }),
    () => client.images.generate({ prompt, model: "dall-e-3" }),
    () => client.images.generate({ prompt, colour: "red" }),
    () => wrong.images.generate({ prompt }),
]) {
    try {
        await call();
    } catch (error) {
        const id = error.requestID ?? error.request_id;
        seen.errors.push([error.constructor.name, error.status, error.code, error.param, error.type, Boolean(id)]);
    }
}
seen.models = (await client.models.list()).data.map((model) => model.id);
console.log(JSON.stringify(seen));
