// People with matrix-js-sdk, and how to wait for what they hear.
import assert from "node:assert/strict";
import { ClientEvent, createClient, RoomEvent } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

logger.setLevel("error");

export const PASSWORD = "a good long password";
const PATIENCE_MS = 60_000;

export async function register(baseUrl, username) {
    const answer = await createClient({ baseUrl }).registerRequest({
        username,
        password: PASSWORD,
        auth: { type: "m.login.dummy" },
    });
    const { user_id: userId, device_id: deviceId, access_token: accessToken } = answer;
    return createClient({ baseUrl, userId, deviceId, accessToken, timelineSupport: true });
}

export async function start(client, options = {}) {
    const prepared = until(client, ClientEvent.Sync, (state) => state === "PREPARED" || state === "SYNCING");
    await client.startClient({ initialSyncLimit: 20, threadSupport: true, ...options });
    await prepared;
}

// Return when an event is emitted of which something is true.
export function until(emitter, event, wanted) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no ${event} came that was waited for`)), PATIENCE_MS);
        const listen = (...values) => {
            if (!wanted(...values)) return;
            clearTimeout(timer);
            emitter.off(event, listen);
            resolve(values);
        };
        emitter.on(event, listen);
    });
}

export function untilSaid(client, body) {
    return until(client, RoomEvent.Timeline, (event) => event.getContent().body === body);
}

export async function eventually(question) {
    const end = Date.now() + PATIENCE_MS;
    while (!(await question())) {
        assert.ok(Date.now() < end, `never came true: ${question}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

// Run a conversation with the homeserver that the command line names, and end whatever is left of it.
export async function converse(conversation, arrive = register) {
    const clients = [];
    try {
        await conversation(async (...who) => {
            const client = await arrive(process.argv[2], ...who);
            clients.push(client);
            return client;
        });
    } finally {
        for (const client of clients) client.stopClient();
    }
    process.exit(0);
}
