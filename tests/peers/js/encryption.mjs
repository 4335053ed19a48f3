// An encrypted room: said in both directions, to several devices, after somebody came, and with a file.
import assert from "node:assert/strict";
import { EventType } from "matrix-js-sdk";
import { device, encryptedFile, encryptedRoom, openedFile, talk, untilDecrypted, untilSeen } from "./encrypted_people.mjs";
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
