// The TypeScript SDK of MCP in two versions: v1 shakes hands, v2 speaks the revision of 2026 without a handshake.
const [{ Client }, { StreamableHTTPClientTransport }] =
    process.env.CLIENT === "@modelcontextprotocol/sdk"
        ? [
              await import("@modelcontextprotocol/sdk/client/index.js"),
              await import("@modelcontextprotocol/sdk/client/streamableHttp.js"),
          ]
        : Array(2).fill(await import("@modelcontextprotocol/client"));

const door = new URL(process.env.BASE.replace(/v1$/, "mcp"));
const transport = (key) =>
    new StreamableHTTPClientTransport(door, { requestInit: { headers: { Authorization: `Bearer ${key}` } } });
const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode: "auto" } });
await client.connect(transport(process.env.KEY));

const call = (name, args, options) =>
    client.callTool({ name, arguments: args }, ...(process.env.CLIENT.endsWith("sdk") ? [undefined] : []), options);
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const progress = [];
const drawn = await call("generate_image", { prompt: "two foxes, woodcut", inline_preview: true }, {
    onprogress: (moment) => progress.push(moment.message),
    resetTimeoutOnProgress: true,
});
const { guid } = drawn.structuredContent.images[0];
const edited = await call("edit_image", { prompt: "in the snow", sources: [guid] });
const listed = await call("list_images", { q: "foxes" });
const image = await call("get_image", { guid });
const generation = await call("get_generation", { guid: drawn.structuredContent.guid });
const mistake = await call("generate_image", { prompt: "x", colour: "red" });
await client.close();

let refused = null;
try {
    await new Client({ name: "test", version: "1" }).connect(transport("wrong"));
} catch (error) {
    refused = String(error.message ?? error);
}
console.log(JSON.stringify({ tools, progress, drawn, edited, listed, image, generation, mistake, refused }));
