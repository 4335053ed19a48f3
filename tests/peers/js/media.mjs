// Pictures, files, voice messages and videos: sent as Element sends them, and fetched by those who see them.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { EventType, MsgType, RoomEvent } from "matrix-js-sdk";
import { converse, start, until } from "./people.mjs";

const PIXEL = Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "base64",
);
const SENT = [
    [MsgType.Image, "tee ü.png", "image/png", PIXEL, { info: { w: 1, h: 1, mimetype: "image/png", size: PIXEL.length } }],
    [MsgType.File, "notes.pdf", "application/pdf", randomBytes(200_000), { filename: "notes.pdf" }],
    [MsgType.Audio, "Voice message.ogg", "audio/ogg", randomBytes(50_000), {
        info: { duration: 2140, mimetype: "audio/ogg" },
        "org.matrix.msc1767.audio": { duration: 2140, waveform: [0, 256, 1024] },
        "org.matrix.msc3245.voice": {},
    }],
    [MsgType.Video, "film.mp4", "video/mp4", randomBytes(3_000_000), {
        info: { w: 640, h: 480, duration: 9000, mimetype: "video/mp4" },
    }],
];

async function fetched(client, mxc, options = {}, size = []) {
    const url = client.mxcUrlToHttp(mxc, ...[...size, undefined, undefined, undefined].slice(0, 3), true, true, true);
    const headers = { Authorization: `Bearer ${client.getAccessToken()}`, ...options };
    return fetch(url, { headers });
}

await converse(async (person) => {
    const alice = await person("alice");
    const bob = await person("bob");
    await start(bob);
    const { room_id: roomId } = await alice.createRoom({ preset: "public_chat" });
    await bob.joinRoom(roomId);

    const { "m.upload.size": most } = await alice.getMediaConfig(true);
    assert.ok(most >= 50 << 20);
    for (const [msgtype, name, type, data, more] of SENT) {
        const progress = [];
        const { content_uri: url } = await alice.uploadContent(new Blob([data], { type }), {
            name, type, progressHandler: (each) => progress.push(each),
        });
        const heard = until(bob, RoomEvent.Timeline, (event) => event.getContent().url === url);
        await alice.sendMessage(roomId, { msgtype, body: name, url, ...more });
        const [event] = await heard;
        assert.equal(event.getContent().msgtype, msgtype);

        const answer = await fetched(bob, event.getContent().url);
        assert.equal(answer.headers.get("content-type"), type);
        assert.match(answer.headers.get("content-disposition"), new RegExp(encodeURIComponent(name).slice(0, 4)));
        assert.deepEqual(Buffer.from(await answer.arrayBuffer()), data);
        const part = await fetched(bob, url, { Range: `bytes=${data.length - 10}-` });
        assert.equal(part.status, 206);
        assert.deepEqual(Buffer.from(await part.arrayBuffer()), data.subarray(-10));
        if (msgtype === MsgType.Image) {
            assert.equal((await fetched(bob, url, {}, [96, 96, "crop"])).headers.get("content-type"), "image/png");
        }
    }

    const { content_uri: face } = await alice.uploadContent(new Blob([PIXEL], { type: "image/png" }), { type: "image/png" });
    await alice.setAvatarUrl(face);
    assert.equal((await bob.getProfileInfo(alice.getUserId())).avatar_url, face);
    const stuck = until(bob, RoomEvent.Timeline, (event) => event.getType() === EventType.Sticker);
    await alice.sendStickerMessage(roomId, face, { w: 1, h: 1, mimetype: "image/png" }, "a dot");
    assert.equal((await stuck)[0].getContent().url, face);
});
