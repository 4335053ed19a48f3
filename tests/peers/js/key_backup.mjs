// Secret storage and key backup: made on one device, and all that a new one needs to read what was said before.
import assert from "node:assert/strict";
import { ClientPrefix, Method } from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
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
import { converse, eventually, until } from "./people.mjs";

await converse(async (person) => {
    const keyring = new Keyring();
    const alice = await person("alice", keyring);
    const bob = await person("bob");
    const roomId = await encryptedRoom(bob, alice);
    await talk(roomId, "Before there was a backup", bob, alice);

    await makeIdentity(alice);
    const backedUp = until(alice, CryptoEvent.KeyBackupSessionsRemaining, (left) => left === 0);
    await makeSecretStorage(alice);
    await talk(roomId, "After", alice, bob);
    await backedUp;
    const total = (await alice.getCrypto().exportRoomKeys()).length;
    const { count } = await alice.http.authedRequest(Method.Get, "/room_keys/version", undefined, undefined, {
        prefix: ClientPrefix.V3,
    });
    assert.equal(count, total);

    const laptop = await person("alice", keyring);
    const check = await openSecrets(laptop);
    assert.ok(check.trustInfo.trusted && check.trustInfo.matchesDecryptionKey);
    const restored = await laptop.getCrypto().restoreKeyBackup();
    assert.deepEqual([restored.imported, restored.total], [total, total]);
    await eventually(() => bodies(laptop, roomId).includes("Before there was a backup"));
    await eventually(() => bodies(laptop, roomId).includes("After"));

    // What a device lacks it fetches from the backup by itself.
    const tablet = await person("alice", keyring);
    await openSecrets(tablet);
    await eventually(() => bodies(tablet, roomId).includes("Before there was a backup"));

    const { version } = await alice.getCrypto().getKeyBackupInfo();
    await alice.getCrypto().resetKeyBackup();
    const { backupInfo, trustInfo } = await alice.getCrypto().checkKeyBackupAndEnable();
    assert.notEqual(backupInfo.version, version);
    assert.ok(trustInfo.trusted);
    await alice.getCrypto().disableKeyStorage();
    assert.equal(await alice.getCrypto().getKeyBackupInfo(), null);
}, device);
