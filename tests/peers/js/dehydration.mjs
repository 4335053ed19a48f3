// A dehydrated device: while its owner is signed in nowhere, it takes in what they will read with their next device.
import assert from "node:assert/strict";
import {
    bodies,
    device,
    encryptedRoom,
    Keyring,
    makeIdentity,
    makeSecretStorage,
    openSecrets,
    talk,
} from "./encrypted_people.mjs";
import { converse, eventually } from "./people.mjs";

await converse(async (person) => {
    const keyring = new Keyring();
    const alice = await person("alice", keyring);
    await makeIdentity(alice);
    await makeSecretStorage(alice);
    assert.ok(await alice.getCrypto().isDehydrationSupported());
    await alice.getCrypto().startDehydration();

    const bob = await person("bob");
    const roomId = await encryptedRoom(bob, alice);
    await eventually(async () => (await devicesOf(bob, alice)).some((one) => one.dehydrated));
    await alice.logout(true);
    await eventually(async () => (await devicesOf(bob, alice)).length === 1);
    await talk(roomId, "While you were out", bob);

    const laptop = await person("alice", keyring);
    await openSecrets(laptop);
    const [asleep] = await dehydrated(laptop);
    await laptop.getCrypto().startDehydration();
    await eventually(() => bodies(laptop, roomId).includes("While you were out"));
    // Another one sleeps in its place.
    await eventually(async () => {
        const found = await dehydrated(laptop);
        return found.length === 1 && found[0].deviceId !== asleep.deviceId;
    });
    await laptop.getCrypto().disableKeyStorage();
    await eventually(async () => (await dehydrated(laptop)).length === 0);
}, device);

async function devicesOf(client, other) {
    const known = await client.getCrypto().getUserDeviceInfo([other.getUserId()], true);
    return [...(known.get(other.getUserId())?.values() ?? [])];
}

async function dehydrated(client) {
    return (await devicesOf(client, client)).filter((one) => one.dehydrated);
}
