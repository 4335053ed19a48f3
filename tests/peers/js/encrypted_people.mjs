// People whose clients encrypt, with the library's own Rust cryptography in WebAssembly; and what they do with it.
import assert from "node:assert/strict";
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { createClient, EventType, MatrixEventEvent, MsgType } from "matrix-js-sdk";
import { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { eventually, PASSWORD, start, until } from "./people.mjs";

// Keys of secret storage, of one person: whoever has one opens it.
export class Keyring {
    #keys = new Map();
    #master = null;

    // Try a key on whatever is to be opened.
    opensAll(key) {
        this.#master = key;
    }

    callbacks() {
        return {
            getSecretStorageKey: async ({ keys }) => {
                const ids = Object.keys(keys);
                const id = ids.find((one) => this.#keys.has(one)) ?? (this.#master === null ? undefined : ids[0]);
                return id === undefined ? null : [id, this.#keys.get(id) ?? this.#master];
            },
            cacheSecretStorageKey: (id, _, key) => this.#keys.set(id, key),
        };
    }
}

// Sign in with one more device, which encrypts; the first one makes the account.
export async function device(baseUrl, username, keyring = new Keyring()) {
    const account = createClient({ baseUrl });
    const session = (await account.isUsernameAvailable(username))
        ? await account.registerRequest({ username, password: PASSWORD, auth: { type: "m.login.dummy" } })
        : await account.loginRequest({
              type: "m.login.password",
              identifier: { type: "m.id.user", user: username },
              password: PASSWORD,
          });
    const client = createClient({
        baseUrl,
        userId: session.user_id,
        deviceId: session.device_id,
        accessToken: session.access_token,
        cryptoCallbacks: keyring.callbacks(),
        verificationMethods: ["m.sas.v1", "m.qr_code.show.v1", "m.qr_code.scan.v1", "m.reciprocate.v1"],
    });
    await client.initRustCrypto({ useIndexedDB: false });
    await start(client);
    await eventually(() => knows(client, client));
    return client;
}

// Show the password to whoever asks for it before the keys are taken.
export function bySigningInAgain(client) {
    return async (request) => {
        try {
            return await request(null);
        } catch (error) {
            const { session } = error.data;
            const identifier = { type: "m.id.user", user: client.getUserId() };
            return request({ type: "m.login.password", identifier, password: PASSWORD, session });
        }
    };
}

// Make the cross-signing keys of a person, on their first device.
export async function makeIdentity(client) {
    await client.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: bySigningInAgain(client) });
    assert.ok(await client.getCrypto().isCrossSigningReady());
}

// Open what the first device put into secret storage, on another one; return what is to be known of the key backup.
export async function openSecrets(client) {
    assert.ok(await client.getCrypto().userHasCrossSigningKeys(client.getUserId(), true));
    await client.getCrypto().bootstrapCrossSigning({});
    assert.ok(await client.getCrypto().isCrossSigningReady());
    await client.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
    return client.getCrypto().checkKeyBackupAndEnable();
}

// Put the secrets of the first device into secret storage, and begin a key backup; return the recovery key.
export async function makeSecretStorage(client) {
    const key = await client.getCrypto().createRecoveryKeyFromPassphrase("wonderland");
    await client.getCrypto().bootstrapSecretStorage({
        createSecretStorageKey: async () => key,
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    assert.ok(await client.getCrypto().isSecretStorageReady());
    return key.encodedPrivateKey;
}

export async function encryptedRoom(host, ...guests) {
    const { room_id: roomId } = await host.createRoom({
        preset: "private_chat",
        invite: guests.map((guest) => guest.getUserId()),
        initial_state: [
            { type: EventType.RoomEncryption, state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
        ],
    });
    for (const guest of guests) await guest.joinRoom(roomId);
    await untilSeen(roomId, 1 + guests.length, host, ...guests);
    return roomId;
}

// Return when everybody knows of so many members: who is known is who can read.
export async function untilSeen(roomId, count, ...clients) {
    await eventually(() =>
        clients.every((client) => {
            const room = client.getRoom(roomId);
            return room?.hasEncryptionStateEvent() && room.getJoinedMemberCount() === count;
        }),
    );
}

// Return when a text has come that was encrypted, and its event.
export async function untilDecrypted(client, body) {
    const [event] = await until(client, MatrixEventEvent.Decrypted, (one) => one.getContent().body === body);
    assert.equal(event.getWireType(), "m.room.encrypted");
    return event;
}

export async function talk(roomId, body, speaker, ...listeners) {
    const heard = listeners.map((listener) => untilDecrypted(listener, body));
    await speaker.sendMessage(roomId, { msgtype: MsgType.Text, body });
    return Promise.all(heard);
}

// Let two devices compare emoji; whoever is asked agrees to it, once they have heard of the device that asks.
export async function verify(asking, asked, ask) {
    await eventually(() => knows(asked, asking));
    const received = until(asked, CryptoEvent.VerificationRequestReceived, () => true);
    const near = await ask(asking.getCrypto());
    const [far] = await received;
    const ready = reaches(near, VerificationPhase.Ready);
    await far.accept();
    await ready;
    const farStarts = reaches(far, VerificationPhase.Started);
    const nearVerifier = await near.startVerification("m.sas.v1");
    const nearShows = shown(nearVerifier);
    const nearDone = nearVerifier.verify();
    await farStarts;
    const farShows = shown(far.verifier);
    const farDone = far.verifier.verify();
    const [nearSas, farSas] = await Promise.all([nearShows, farShows]);
    assert.equal(nearSas.sas.emoji.length, 7);
    assert.deepEqual(nearSas.sas.emoji, farSas.sas.emoji);
    assert.deepEqual(nearSas.sas.decimal, farSas.sas.decimal);
    await Promise.all([nearSas.confirm(), farSas.confirm()]);
    await Promise.all([nearDone, farDone]);
    await Promise.all([reaches(near, VerificationPhase.Done), reaches(far, VerificationPhase.Done)]);
}

async function knows(client, other) {
    const known = await client.getCrypto().getUserDeviceInfo([other.getUserId()], true);
    return known.get(other.getUserId())?.has(other.getDeviceId());
}

export async function reaches(request, phase) {
    if (request.phase < phase) await until(request, VerificationRequestEvent.Change, () => request.phase >= phase);
    assert.equal(request.phase, phase);
}

export async function shown(verifier) {
    const [callbacks] = await until(verifier, VerifierEvent.ShowSas, () => true);
    return callbacks;
}

// Return what a device has of the texts of a room, decrypted where it can be.
export function bodies(client, roomId) {
    const events = client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
    return events.map((event) => event.getContent().body);
}

// Upload what only those can read who are told its key; return the message that tells it.
export async function encryptedFile(client, name, data) {
    const key = randomBytes(32);
    const iv = Buffer.concat([randomBytes(8), Buffer.alloc(8)]);
    const cipher = createCipheriv("aes-256-ctr", key, iv);
    const encrypted = Buffer.concat([cipher.update(data), cipher.final()]);
    const { content_uri: url } = await client.uploadContent(encrypted, { type: "application/octet-stream" });
    const jwk = { kty: "oct", key_ops: ["encrypt", "decrypt"], alg: "A256CTR", ext: true, k: key.toString("base64url") };
    const hashes = { sha256: unpadded(createHash("sha256").update(encrypted).digest()) };
    return { msgtype: MsgType.File, body: name, file: { v: "v2", url, key: jwk, iv: unpadded(iv), hashes } };
}

// Fetch such a file, and open it.
export async function openedFile(client, file) {
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
