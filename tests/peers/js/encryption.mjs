// An encrypted room: said in both directions, to several devices, after somebody came, and with a file.
import assert from "node:assert/strict";
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { EventType, MsgType } from "matrix-js-sdk";
import { device, encryptedRoom, talk, untilDecrypted, untilSeen } from "./encrypted_people.mjs";
import { converse } from "./people.mjs";

await converse(async (person) => {
    const alice = await person("alice");
    const bob = await person("bob");
    const phone = await person("bob");
    const roomId = await encryptedRoom(alice, bob);

    for (const event of await talk(roomId, "Hello Bob", alice, bob, phone)) {
        assert.equal(event.getSender(), alice.getUserId());
        assert.equal(event.getSenderKey(), (await alice.getCrypto().getOwnDeviceKeys()).curve25519);
    }
    await talk(roomId, "Hello Alice", bob, alice, phone);
    await talk(roomId, "From my phone", phone, alice, bob);

    const carol = await person("carol");
    await alice.invite(roomId, carol.getUserId());
    await carol.joinRoom(roomId);
    await untilSeen(roomId, 3, alice, bob, carol);
    await talk(roomId, "Hello Carol", bob, alice, carol);

    const file = Buffer.from("what nobody else may read ".repeat(100));
    const heard = untilDecrypted(bob, "secret.txt");
    await alice.sendMessage(roomId, await encryptedFile(alice, "secret.txt", file));
    assert.deepEqual(await openedFile(bob, (await heard).getContent().file), file);

    await carol.leave(roomId);
    await untilSeen(roomId, 2, alice);
    await talk(roomId, "Carol is gone", alice, bob, phone);

    const raw = await alice.createMessagesRequest(roomId, null, 100, "b");
    assert.ok(raw.chunk.some((event) => event.type === EventType.RoomMessageEncrypted));
    assert.ok(raw.chunk.every((event) => event.type !== EventType.RoomMessage));
}, device);

async function encryptedFile(client, name, data) {
    const key = randomBytes(32);
    const iv = Buffer.concat([randomBytes(8), Buffer.alloc(8)]);
    const cipher = createCipheriv("aes-256-ctr", key, iv);
    const encrypted = Buffer.concat([cipher.update(data), cipher.final()]);
    const { content_uri: url } = await client.uploadContent(encrypted, { type: "application/octet-stream" });
    const jwk = { kty: "oct", key_ops: ["encrypt", "decrypt"], alg: "A256CTR", ext: true, k: key.toString("base64url") };
    const hashes = { sha256: unpadded(createHash("sha256").update(encrypted).digest()) };
    return { msgtype: MsgType.File, body: name, file: { v: "v2", url, key: jwk, iv: unpadded(iv), hashes } };
}

async function openedFile(client, file) {
    const url = client.mxcUrlToHttp(file.url, undefined, undefined, undefined, undefined, true, true);
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
    assert.equal(answer.status, 200);
    const encrypted = Buffer.from(await answer.arrayBuffer());
    assert.equal(unpadded(createHash("sha256").update(encrypted).digest()), file.hashes.sha256);
    const key = Buffer.from(file.key.k, "base64url");
    const decipher = createDecipheriv("aes-256-ctr", key, Buffer.from(file.iv, "base64"));
    return Buffer.concat([decipher.update(encrypted), decipher.final()]);
}

function unpadded(bytes) {
    return bytes.toString("base64").replace(/=+$/, "");
}
