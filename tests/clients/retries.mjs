// A picture with the client's own retries, each at the next replica. CLIENT: openai or ai; KEY, PROMPT; REPLICAS: JSON,
// their addresses; TIMEOUT: of a try in ms, if there is one. Prints what the client got as JSON.
const { CLIENT, KEY, PROMPT, TIMEOUT } = process.env;
const replicas = JSON.parse(process.env.REPLICAS);
let turn = 0;
const takingTurns = (url, options) =>
    fetch(String(url).replace(replicas[0], replicas[turn++ % replicas.length]), options);

async function openai() {
    const { default: OpenAI } = await import("openai");
    const timeout = TIMEOUT ? { timeout: Number(TIMEOUT) } : {};
    const client = new OpenAI({ baseURL: `${replicas[0]}/v1`, apiKey: KEY, fetch: takingTurns, ...timeout });
    const { data } = await client.images.generate({ prompt: PROMPT, size: "32x16" });
    return data[0].b64_json;
}

async function ai() { // it counts no tries in a header: a key says which requests are one
    const { createOpenAI } = await import("@ai-sdk/openai");
    const { generateImage } = await import("ai");
    const provider = createOpenAI({ baseURL: `${replicas[0]}/v1`, apiKey: KEY, fetch: takingTurns });
    const headers = { "Idempotency-Key": PROMPT };
    const model = provider.image("gpt-image-2.5-flare");
    return (await generateImage({ model, prompt: PROMPT, size: "32x16", headers })).image.base64;
}

try {
    console.log(JSON.stringify({ picture: await { openai, ai }[CLIENT]() }));
} catch (error) {
    const { status, statusCode } = error.lastError ?? error; // the AI SDK wraps that of its last try
    console.log(JSON.stringify({ status: status ?? statusCode ?? null, message: error.message }));
}
